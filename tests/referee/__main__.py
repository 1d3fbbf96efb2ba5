"""`python -m tests.referee [MINUTES] [--seed N]`: random clients against random upstreams.

The longer, the more chats.

Exit code 1 where anything was wrong; the seed repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from aiohttp import ClientSession, DummyCookieJar

from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream
from tests.referee.harm import harm

_STEPS = 60  # requests of one run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.referee", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--once", action="store_true", help="send nothing anew: is the first form right?")
    options = parser.parse_args(arguments)
    return asyncio.run(_run(options.minutes * 60, options.seed, once=options.once))


async def _run(seconds: float, seed: int, *, once: bool) -> int:
    end, runs, compared, faults = time.monotonic() + seconds, 0, 0, 0
    while not runs or time.monotonic() < end:
        found, some = await _one(seed + runs, once=once)
        runs, compared, faults = runs + 1, compared + some, faults + len(found)
        for fault in found:
            print(fault, flush=True)
    print(f"{runs} runs from --seed {seed}, {compared} requests compared, {faults} faults")
    return 1 if faults else 0


async def _one(seed: int, *, once: bool) -> tuple[list[str], int]:
    """One run against a sidecar of its own."""
    upstream = Upstream()
    await upstream.start()
    made = Settings.model_validate(
        {
            "upstream": upstream.url,
            "upstream_agent": once,
            "listen": "127.0.0.1:0",
            "store": "memory:",
            "retries": {"backoff": 0.01},
            "timeouts": {"shutdown": 0.2},
            "trim": {"window_refresh": 0},
        }
    )
    try:
        async with running(made) as url, ClientSession(cookie_jar=DummyCookieJar()) as http:
            return await harm(Sidecar(url, made, http), upstream, seed, _STEPS)
    finally:
        await upstream.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
