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
from tests.fuzz.process import Findings
from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream
from tests.referee.harm import SESSION, harm

_STEPS = 60  # requests of one run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.referee", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--once", action="store_true", help="send nothing anew: is the first form right?")
    options = parser.parse_args(arguments)
    found = run(options.minutes * 60, options.seed, once=options.once)
    for fault in found.faults:
        print(fault)
    print(f"--seed {options.seed}: {found.tried} requests compared, {len(found.faults)} faults")
    return 1 if found.faults else 0


def run(seconds: float, seed: int, *, once: bool = False) -> Findings:
    """Let clients talk for so long, at least for one run; `tried` are the requests that were compared."""
    end, found = time.monotonic() + seconds, Findings()
    while not found.tried or time.monotonic() < end:
        faults, compared = asyncio.run(_one(seed, once=once))
        found.tried += compared
        found.faults += faults
        seed += 1
    return found


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
            "session": {"headers": [SESSION]},
        }
    )
    try:
        async with running(made) as url, ClientSession(cookie_jar=DummyCookieJar()) as http:
            return await harm(Sidecar(url, made, http), upstream, seed, _STEPS)
    finally:
        await upstream.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
