"""Two sidecars on one PostgreSQL, and `kill -9` of either or of the database, at any moment.

Clients go to whichever sidecar comes next, with no regard for where their chat was before; several of them
add to one conversation at once. What a client saw finish has to be in the database, whole and once.
`./dev bench replicas` does this for long, the tests for some seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout

from sidecar.export import as_json
from sidecar.store import make_store
from tests.crash.clients import Client, Refused
from tests.crash.ledger import Fault, Seen, faults
from tests.crash.upstream import Upstream
from tests.proxy.process import clean_environment
from tests.store.postgres import Server

__all__ = ["Replicas", "Summary"]

#: 503: the store cannot be used; 409: another append takes too long.
_LATER = re.compile(r"(503|409) ")
_PATIENCE = 60.0  # seconds for one answer, and for what is under way at the end


@dataclass
class Summary:
    """What came of it. `gaps`: between one acknowledged reply and the next, of all clients; seconds."""

    kills: Counter[str] = field(default_factory=Counter)
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    refused: int = 0
    longest_gap: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        lost, doubled, broken = (
            sum(fault.kind == kind for fault in self.faults) for kind in ("missing", "doubled", "broken")
        )
        return (
            f"kills: {self.kills['replica']} of replicas, {self.kills['database']} of the database; "
            f"acknowledged replies {len(self.seen)}, lost {lost}, doubled {doubled}, broken {broken}; "
            f"refused {self.refused}, longest time without a reply {self.longest_gap:.1f} s, "
            f"{self.seconds:.0f} s in all"
        )


class Replica:
    """`sidecar serve` as a process of its own; what it says goes to a file."""

    def __init__(self, upstream: str, store: str, folder: Path) -> None:
        self._arguments = ("serve", "--upstream", upstream, "--listen", "127.0.0.1:0", "--store", store)
        self._log = folder / "replicas.log"
        self._process: asyncio.subprocess.Process | None = None
        #: Where it serves; None while it does not.
        self.url: str | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sidecar", *self._arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={
                    **clean_environment(),
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    "SIDECAR_TRIM__WINDOW_REFRESH": "0",
                    # Else what a client sees finish while the store is away is its own to keep.
                    "SIDECAR_HISTORY__IF_STORE_FAILS": "refuse",
                },
            )
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"a replica did not start: {line!r}, {self._log.read_text()[-2000:]}"
        self.url = found[0]

    async def kill(self) -> None:
        process, self._process, self.url = self._process, None, None
        if process is not None:
            process.kill()
            assert await process.wait() == -9, "it was we who ended it"


class Roamer(Client):
    """A client that goes to any replica; `sender` tells apart those that add to one conversation."""

    def __init__(self, key: str, sender: int, **about) -> None:
        super().__init__(key, **about)
        self._numbers = itertools.count(1_000_000 * sender)

    async def roam(
        self,
        http: ClientSession,
        where: Callable[[], str | None],
        refused: Callable[[], None],
        over: asyncio.Event,
    ) -> None:
        """Ask again and again, until it is over; the last answer is waited for."""
        while not over.is_set():
            await asyncio.sleep(self._chance.uniform(0.0, 0.05))
            url = where()
            if url is None:
                continue
            before, new = self._next()
            self._unanswered = new
            try:
                reply = await self._ask(http, url, [*before, *new] if self._full else new)
            except Refused as error:
                if not _LATER.match(str(error)):
                    raise
                refused()
                continue
            if reply is not None:
                self._unanswered = []
                self._path = [*before, *new, reply]
                self._notify(Seen(self._key, (*before, *new), reply, whole=self._full))


class _Upstream(Upstream):
    """Where several add at once, results of tools would go behind their calls, beside what came meanwhile."""

    def may_call(self, last: dict) -> bool:
        return super().may_call(last) and "of crowd-" not in json.dumps(last["content"])


class Replicas:
    """Two replicas, a database on `server`, and clients."""

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        self.summary = Summary()
        self._server = server
        self._folder = folder
        self._chance = random.Random(seed)
        self._last_seen = 0.0
        self._store = ""

    async def run(
        self, victims: Sequence[str], *, replies: int = 10, alone: int = 6, crowds: int = 2
    ) -> Summary:
        """Kill these, each a `replica` or the `database`, or none (""), each after about so many replies.

        `alone` clients have a chat of their own; `crowds` are conversations to which three add at once.
        """
        begun, before = time.monotonic(), len(self.summary.seen)
        self._store = self._server.url(await self._server.database(), lease=2, retry=20)
        async with _Upstream(self._chance) as upstream:
            replicas = [Replica(upstream, self._store, self._folder) for _ in range(2)]
            try:
                await asyncio.gather(*(each.start() for each in replicas))
                await self._chat(replicas, victims, replies, alone, crowds)
            finally:
                await asyncio.gather(*(each.kill() for each in replicas))
        self.summary.faults += faults(self.summary.seen[before:], await self.lines())
        self.summary.seconds += time.monotonic() - begun
        return self.summary

    async def _chat(
        self, replicas: list[Replica], victims: Sequence[str], replies: int, alone: int, crowds: int
    ) -> None:
        clients = [self._client(f"own-{number}", 0, full=number % 2 == 0) for number in range(alone)]
        for number in range(crowds):
            clients += [self._client(f"crowd-{number}", sender, full=False) for sender in range(3)]
        over = asyncio.Event()
        self._last_seen = time.monotonic()
        async with (
            ClientSession(timeout=ClientTimeout(total=_PATIENCE)) as http,
            asyncio.TaskGroup() as group,
        ):
            for each in clients:
                where = partial(_any_of, replicas, self._chance)
                group.create_task(each.roam(http, where, self._refused, over))
            for victim in victims:
                await self._seen(self._chance.randrange(1, 2 * replies))
                await self._kill(victim, replicas)
            over.set()

    async def _seen(self, more: int) -> None:
        """Wait until clients have seen so many more replies, and then for any moment of the next."""
        enough = len(self.summary.seen) + more
        async with asyncio.timeout(_PATIENCE):
            while len(self.summary.seen) < enough:
                await asyncio.sleep(0.01)
        await asyncio.sleep(self._chance.uniform(0.0, 0.05))

    async def _kill(self, victim: str, replicas: list[Replica]) -> None:
        self.summary.kills[victim] += 1
        if victim == "database":
            self._server.kill()
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
            self._server.start()
        elif victim:
            replica = self._chance.choice(replicas)
            await replica.kill()
            await replica.start()

    def _client(self, key: str, sender: int, *, full: bool) -> Roamer:
        return Roamer(key, sender, full=full, chance=self._chance, notify=self._saw)

    def _saw(self, seen: Seen) -> None:
        now = time.monotonic()
        self.summary.longest_gap = max(self.summary.longest_gap, now - self._last_seen)
        self._last_seen = now
        self.summary.seen.append(seen)

    def _refused(self) -> None:
        self.summary.refused += 1

    async def lines(self) -> list[dict]:
        """All that is in the database, as `sidecar export` tells it."""
        store = make_store(self._store)
        await store.open()
        try:
            return [
                json.loads(as_json(each, await store.tree(each.id))) async for each in store.conversations()
            ]
        finally:
            await store.close()


def _any_of(replicas: list[Replica], chance: random.Random) -> str | None:
    return chance.choice(replicas).url
