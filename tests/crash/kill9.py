"""`kill -9` again and again: one store, real processes, clients that chat over all of it.

Each round starts `sidecar serve` on the store of the round before, holds what it kept against what clients
saw finish, lets them chat, and kills the server: after a random time, or at the very moment at which a
client sees an end. `./dev bench crash` does this a thousand times, the tests a few.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession

from sidecar.export import as_json
from sidecar.store import make_store
from tests.crash.clients import Client
from tests.crash.ledger import Fault, Seen, faults
from tests.crash.responses import WAYS, ResponsesClient, told_again
from tests.crash.upstream import Upstream
from tests.proxy.process import clean_environment

CLIENTS = 12
RETIRED = 2  # this many conversations end in a round, as many begin


@dataclass
class Summary:
    """What came of the rounds; `starts` and `seconds` are wall-clock time."""

    kills: int = 0
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    seconds: float = 0.0
    #: How many responses were asked for by their ids.
    retrieved: int = 0

    def __str__(self) -> str:
        missing, doubled, broken = (
            sum(fault.kind == kind for fault in self.faults) for kind in ("missing", "doubled", "broken")
        )
        retrieved = f"{self.retrieved} told again, " if self.retrieved else ""
        return (
            f"kills {self.kills}, acknowledged replies {len(self.seen)}, {retrieved}lost {missing}, "
            f"doubled {doubled}, broken {broken}, start {statistics.median(self.starts):.2f} s "
            f"(worst {max(self.starts):.2f} s), {self.seconds:.0f} s in all"
        )


class Server:
    """`sidecar serve` as a process of its own, or as several."""

    def __init__(self, upstream: str, store: Path, *, workers: int = 1) -> None:
        self._arguments = ["serve", "--upstream", upstream, "--listen", "127.0.0.1:0"]
        self._arguments += ["--store", f"sqlite:///{store}", "--workers", str(workers)]
        self._is_killed = False
        #: From the call to the line that says that it serves, the interpreter's own start included.
        self.start_time = 0.0

    async def start(self) -> str:
        """Returns the address once it serves."""
        begun = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            # Log lines below "error" are of no interest: clients that vanish are what this is about.
            env={
                **clean_environment(),
                "SIDECAR_LOGS__LEVEL": "error",
                "SIDECAR_TRIM__WINDOW_REFRESH": "0",
                "SIDECAR_RESPONSES__UPSTREAM": "translate",
            },
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        self.start_time = time.monotonic() - begun
        found = re.search(r"http://127\.0\.0\.1:\d+", line.decode())
        assert found, f"the server did not start: {line!r}"
        return found[0]

    def kill(self) -> None:
        # Once: a second signal would find the process gone and take its exit code from the event loop.
        if not self._is_killed:
            self._is_killed = True
            pid = self._process.pid
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self._process.kill()  # first, or it would start others
            for each in map(int, workers):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)

    async def gone(self) -> None:
        assert await self._process.wait() == -9, "it was we who ended it"


class Rounds:
    """One store and the clients that chat over it, round after round.

    `longest`: of a round, in seconds. `api`: `chat` or `responses`.
    """

    def __init__(
        self, folder: Path, seed: int, *, longest: float = 1.0, workers: int = 1, api: str = "chat"
    ) -> None:
        self.summary = Summary()
        self._api = api
        self._workers = workers
        self.store = folder / "sidecar.db"
        self._longest = longest
        self._chance = random.Random(seed)
        self._clients: list[Client] = []
        self._begun = 0
        self._checked = 0
        self._server: Server | None = None
        self._ends_left = 0

    async def run(self, rounds: int) -> Summary:
        """So many more rounds, and then a look at everything."""
        begun = time.monotonic() - self.summary.seconds
        async with Upstream(self._chance) as upstream:
            for _ in range(rounds):
                self._clients = self._clients[RETIRED:]
                while len(self._clients) < CLIENTS:
                    self._clients.append(self._client())
                await self._round(Server(upstream, self.store, workers=self._workers))
                self.summary.kills += 1
            last = Server(upstream, self.store)
            await self.check(await last.start(), everything=True)
            last.kill()
            await last.gone()
        self.summary.seconds = time.monotonic() - begun
        return self.summary

    def _client(self) -> Client:
        self._begun += 1
        key = f"chat-{self._begun}"
        if self._api == "responses":
            way = WAYS[self._begun % len(WAYS)]
            return ResponsesClient(key, way, chance=self._chance, notify=self._saw)
        return Client(key, full=self._begun % 2 == 0, chance=self._chance, notify=self._saw)

    def _saw(self, seen: Seen) -> None:
        self.summary.seen.append(seen)
        self._ends_left -= 1
        if self._ends_left == 0 and self._server is not None:
            self._server.kill()

    async def _round(self, server: Server) -> None:
        base = await server.start()
        self.summary.starts.append(server.start_time)
        # While the server holds the store open: this must not tidy up what a kill left behind.
        await self.check(base, everything=False)
        at_an_end = self._chance.random() < 0.5
        self._server, self._ends_left = server, self._chance.randrange(1, 60) if at_an_end else 0
        async with ClientSession() as http:
            chats = asyncio.gather(*(client.talk(http, base) for client in self._clients))
            patience = 2 * self._longest if at_an_end else self._chance.uniform(0.02, self._longest)
            await asyncio.wait([chats], timeout=patience)
            server.kill()
            await chats
        await server.gone()

    async def check(self, base: str, *, everything: bool) -> None:
        """Everything seen by now has to be in the store, and nothing in it may be half there."""
        seen = self.summary.seen if everything else self.summary.seen[self._checked :]
        async with ClientSession() as http:
            self.summary.faults += await told_again(http, base, seen)
        self.summary.retrieved += sum(each.response is not None for each in seen)
        names = [None] if everything else sorted({each.key for each in seen})
        store, lines = make_store(str(self.store)), []
        await store.open()
        try:
            for name in names:
                async for each in store.conversations(name):
                    lines.append(json.loads(as_json(each, await store.tree(each.id))))
        finally:
            await store.close()
        self.summary.faults += faults(seen, lines)
        self._checked = len(self.summary.seen)
        if everything:
            with closing(sqlite3.connect(self.store)) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                self.summary.faults.append(Fault("broken", f"the file: {found}"))
