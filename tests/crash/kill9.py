"""A reply that a client saw finish survives `kill -9`: real processes, killed at random points.

    .venv/bin/python -m tests.crash.kill9 --rounds 100

Each round starts `sidecar serve` on the store of the round before, lets clients chat, exports while they
do, and kills the server: after a random time, or at the very moment at which a client sees an end. The
last line is the summary; the exit code is 1 if anything was missing, doubled or broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession

from tests.crash.clients import Client
from tests.crash.ledger import Fault, Seen, faults
from tests.crash.upstream import Upstream

CLIENTS = 12
RETIRED = 2  # this many conversations end in a round, as many begin


@dataclass
class Summary:
    """What came of the rounds; `seconds` is wall-clock time."""

    rounds: int = 0
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        missing, doubled, broken = (
            sum(fault.kind == kind for fault in self.faults) for kind in ("missing", "doubled", "broken")
        )
        return (
            f"rounds {self.rounds}, replies seen finished {len(self.seen)}, missing {missing}, "
            f"doubled {doubled}, broken {broken}, seconds {self.seconds:.1f}"
        )


class Server:
    """`sidecar serve` as a process of its own."""

    def __init__(self, upstream: str, store: Path) -> None:
        self._arguments = ["serve", "--upstream", upstream, "--listen", "127.0.0.1:0", *_on(store)]
        self._is_killed = False

    async def start(self) -> str:
        """Returns the address once it serves."""
        self._process = await _sidecar(*self._arguments, output=sys.stderr.fileno())
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        found = re.search(r"http://127\.0\.0\.1:\d+", line.decode())
        assert found, f"the server did not start: {line!r}"
        return found[0]

    def kill(self) -> None:
        # Once: a second signal would find the process gone and take its exit code from the event loop.
        if not self._is_killed:
            self._is_killed = True
            self._process.kill()

    async def gone(self) -> None:
        assert await self._process.wait() == -9, "it was we who ended it"


class Rounds:
    """One store and the clients that chat over it, round after round."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.summary = Summary()
        self._store = folder / "sidecar.db"
        self._chance = random.Random(seed)
        self._clients: list[Client] = []
        self._begun = 0
        self._server: Server | None = None
        self._ends_left = 0

    async def run(self, rounds: int) -> Summary:
        begun = time.monotonic()
        async with Upstream(self._chance) as upstream:
            for _ in range(rounds):
                self._clients = self._clients[RETIRED:]
                while len(self._clients) < CLIENTS:
                    self._clients.append(self._client())
                await self._round(Server(upstream, self._store))
                self.summary.rounds += 1
        await self._check()
        with closing(sqlite3.connect(self._store)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        self.summary.seconds = time.monotonic() - begun
        return self.summary

    def _client(self) -> Client:
        self._begun += 1
        key = f"chat-{self._begun}"
        return Client(key, full=self._begun % 2 == 0, chance=self._chance, notify=self._saw)

    def _saw(self, seen: Seen) -> None:
        self.summary.seen.append(seen)
        self._ends_left -= 1
        if self._ends_left == 0 and self._server is not None:
            self._server.kill()

    async def _round(self, server: Server) -> None:
        base = await server.start()
        at_an_end = self._chance.random() < 0.5
        self._server, self._ends_left = server, self._chance.randrange(1, 60) if at_an_end else 0
        async with ClientSession() as http:
            chats = asyncio.gather(*(client.talk(http, base) for client in self._clients))
            check = asyncio.ensure_future(self._check())
            await asyncio.wait([chats], timeout=2 if at_an_end else self._chance.uniform(0.02, 1.0))
            server.kill()
            await chats
        await server.gone()
        await check

    async def _check(self) -> None:
        """Everything seen by now has to be in an export that begins now."""
        seen = list(self.summary.seen)
        process = await _sidecar("export", *_on(self._store), output=asyncio.subprocess.PIPE)
        out, error = await process.communicate()
        if process.returncode:
            self.summary.faults.append(Fault("broken", f"the export failed: {error.decode()}"))
        else:
            self.summary.faults += faults(seen, out.decode())


def _on(store: Path) -> list[str]:
    return ["--store", f"sqlite:///{store}"]


async def _sidecar(*arguments: str, output: int) -> asyncio.subprocess.Process:
    """Its log lines below "error" are of no interest: clients that vanish are what this is about."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sidecar", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=output,
        env={**environment, "SIDECAR_LOGS__LEVEL": "error", "SIDECAR_TRIM__WINDOW_REFRESH": "0"},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        summary = asyncio.run(Rounds(Path(folder), arguments.seed).run(arguments.rounds))
    for fault in summary.faults:
        print(f"{fault.kind}: {fault.what}")
    print(summary)
    return 1 if summary.faults else 0


if __name__ == "__main__":
    sys.exit(main())
