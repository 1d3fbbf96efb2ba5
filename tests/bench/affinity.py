"""Chats side by side in front of several engines: what is cached where each stays on one, and in turn.

With `--kill` one engine, which has to be a process of this machine, ends in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.bench import played
from tests.bench.asking import Answer, unkept
from tests.bench.clients import Full
from tests.bench.engine import engine
from tests.bench.scenes import table
from tests.bench.started import sidecar

__all__ = ["main"]

_HEAD = ("how", "turns", "errors", "re-sent", "cached", "share", "turns that were cold", "first word, p50")
_NEWEST = 60  # tokens of a question
_MAX_TOKENS = 16


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench affinity", description=__doc__)
    parser.add_argument("--engines", nargs="*", default=[], help="addresses; else three are started")
    parser.add_argument("--chats", type=int, default=6)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", type=int, default=0, help="the process id of the first engine")
    given = parser.parse_args(arguments)
    async with AsyncExitStack() as stack:
        urls = list(given.engines)
        for number in range(0 if urls else 3):
            place = folder / f"engine{number}"
            place.mkdir()
            flags = ("-np", "4", "-c", "16384")
            urls.append(await stack.enter_async_context(engine(place, *flags, threads=1)))
        http = await stack.enter_async_context(unkept())
        rows = [await _row("in turn", http, urls, given)]
        print(*rows[-1], sep="   ", flush=True)
        targets = [{"name": "pool", "url": [f"{url}/v1" for url in urls], "models": ["*"]}]
        options = {"targets": json.dumps(targets), "trim.window_refresh": 0, "secret": "the same every time"}
        for name, pid in (("each on one", 0), ("the same, one engine is killed", given.kill)):
            if pid or name == "each on one":
                async with sidecar(urls[0], folder, options) as url:
                    rows.append(await _row(name, http, [url], given, pid))
                print(*rows[-1], sep="   ", flush=True)
    print(f"\n{table(_HEAD, rows)}\n")


async def _row(
    name: str,
    http: aiohttp.ClientSession,
    urls: Sequence[str],
    given: argparse.Namespace,
    pid: int = 0,
) -> list[str]:
    """A request goes to the next of `urls` each time."""
    chance, asked = random.Random(given.seed), 0
    clients = [
        Full(http, urls[0], played.system(f"{name} {at}"), id=f"{name} {at}", max_tokens=_MAX_TOKENS)
        for at in range(given.chats)
    ]
    for turn in range(given.turns):
        chance.shuffle(order := list(range(given.chats)))
        for at in order:
            client = clients[at]
            client.url, asked = urls[asked % len(urls)], asked + 1
            await client.say(played.question(100 * at + turn))
        if pid and turn == given.turns // 2:
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.2)
    return [name, *_found([client.answers for client in clients])]


def _found(chats: Sequence[Sequence[Answer]]) -> tuple[str, ...]:
    """Of all turns but the first: what was sent before, all but the newest question."""
    every = [each for chat in chats for each in chat]
    later = [each for chat in chats for each in chat[1:] if not each.error]
    resent = sum(each.prompt - _NEWEST for each in later)
    cached = sum(each.cached for each in later)
    cold = sum(each.cached < (each.prompt - _NEWEST) / 2 for each in later)
    return (
        str(len(every)),
        str(sum(bool(each.error) for each in every)),
        f"{resent:,}",
        f"{cached:,}",
        f"{cached / max(resent, 1):.1%}",
        str(cold),
        f"{statistics.median(each.first for each in later) * 1000:,.0f} ms",
    )
