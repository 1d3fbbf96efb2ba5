"""Kill a working sidecar with `kill -9` again and again, and count what clients had seen and is gone.

The exit code is 1 if anything is lost, doubled or broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from pathlib import Path

from aiohttp import ClientSession

from tests.bench.filled import fill
from tests.crash.kill9 import CLIENTS, Rounds, Server
from tests.crash.upstream import Upstream

__all__ = ["main"]

_TOLD = 50  # a line after so many kills


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--longest", type=float, default=0.6, help="a round's load, in seconds (%(default)s)")
    parser.add_argument(
        "--api", choices=("chat", "responses"), default="chat", help="which the clients speak"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of the sidecar, all killed at once")
    parser.add_argument("--conversations", type=int, default=100_000, help="in the file whose start is timed")
    given = parser.parse_args(arguments)
    await _starts(folder, given.conversations)
    print(f"{CLIENTS} clients, seed {given.seed}", flush=True)
    rounds = Rounds(folder, given.seed, longest=given.longest, workers=given.workers, api=given.api)
    while (left := given.kills - rounds.summary.kills) > 0:
        await rounds.run(min(left, _TOLD))
        print(rounds.summary, flush=True)
    for fault in rounds.summary.faults:
        print(f"{fault.kind}: {fault.what}")
    if rounds.summary.faults:
        sys.exit(1)


async def _starts(folder: Path, conversations: int) -> None:
    """How long the sidecar takes until it serves: on a new file, and on a full one that was killed."""
    new = [await _start(folder / f"new-{number}.db") for number in range(5)]
    file = folder / "full.db"
    await fill(file, conversations)
    full = [await _start(file) for _ in range(6)][1:]  # the first finds nothing left behind
    for what, times in (("a new file", new), (f"{conversations:,} conversations, after kill -9", full)):
        print(f"start with {what}: {statistics.median(times):.2f} s, worst {max(times):.2f} s", flush=True)


async def _start(file: Path) -> float:
    """Start on this file, record something, be killed."""
    async with Upstream(random.Random(1)) as upstream, ClientSession() as http:
        server = Server(upstream, file)
        base = await server.start()
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        asked = (http.post(f"{base}/v1/chat/completions", json=body) for _ in range(20))
        for response in await asyncio.gather(*asked):
            assert (await response.json())["choices"]
        server.kill()
        await server.gone()
    return server.start_time
