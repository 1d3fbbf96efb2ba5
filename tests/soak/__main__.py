"""`python -m tests.soak [MINUTES] [--seed N]`: exit code 1 where anything was lost, or is wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ClientSession

from sidecar.export import as_json
from sidecar.store import make_store
from tests.crash.clients import Client
from tests.crash.ledger import Fault, Seen, faults
from tests.crash.responses import told_again
from tests.e2e.openwebui.server import Api, open_webui, sidecar, start_open_webui
from tests.e2e.program import Program, free_ports
from tests.proxy.process import clean_environment
from tests.referee import __main__ as referee
from tests.soak.house import KILLS, Outages, Readings, disturb, read_on
from tests.soak.talkers import AGENTS, Life, agent, web_chat
from tests.soak.upstream import FaultyUpstream

_OF_EACH, _WEB = 3, 4  # agents of each kind, and chats in Open WebUI, at a time
_USERS = 2
_CALM = 20.0  # seconds after the last client has left
_LEAKED = 25  # open files more than at the start, once nobody is there
_GROWN, _LONG = 1.25, 3600  # of memory, from the middle of the last life to its end; judged in runs as long
_REFEREE = 1 / 20  # of the time, and this many seconds at most
_LONGEST_REFEREE = 300.0


class Soak:
    """One run of so many seconds."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self._folder, self._seconds = folder, seconds
        self._chance = random.Random(seed)
        self._seed = seed
        self._seen: list[Seen] = []
        self._uncertain = 0
        self._life = Life(self._chance, self._saw)
        self._outages, self._readings = Outages(), Readings()
        self._store = folder / "sidecar.db"
        self._begun = 0
        self._faults: list[Fault] = []

    def _saw(self, seen: Seen) -> None:
        # Who sends only what is new is promised that it is kept, whatever the store does.
        if seen.whole and self._outages.hold(time.monotonic()):
            self._uncertain += 1
        else:
            self._seen.append(seen)

    async def run(self) -> None:
        """Let them chat, and look at what is there."""
        self._upstream = upstream = FaultyUpstream(self._chance)
        async with upstream as url:
            port, web_port = free_ports(2)
            own = sidecar(self._folder, port, urlsplit(url).port or 0)
            own.environment["SIDECAR_LOGS__LEVEL"] = "error"
            web_folder = self._folder / "open-webui"
            web_folder.mkdir()
            web = open_webui(web_folder, web_port, port, "template headers")
            await own.start()
            self._told("the sidecar serves; Open WebUI is started")
            await start_open_webui(web)
            try:
                await self._lived(own, port, web_port)
            finally:
                await web.kill()
                await own.stop()
        await self._checked()

    async def _lived(self, own: Program, port: int, web_port: int) -> None:
        base, web = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{web_port}"
        api = Api(web)
        admin = await api.admin()
        await admin.get("/api/models")
        users = [await api.user(admin, f"user{number}") for number in range(_USERS)]
        self._at_rest = self._readings.take(own.running.pid, self._store)
        self._from = time.monotonic()
        reading = asyncio.create_task(read_on(own, self._store, self._readings))
        async with ClientSession() as http:

            async def next_agent(kind: str) -> Client:
                self._begun += 1
                return agent(kind, f"{kind}-{self._begun}", self._life)

            chats = [
                asyncio.create_task(self._talk(http, base, partial(next_agent, kind)))
                for kind in AGENTS
                for _ in range(_OF_EACH)
            ]
            chats += [
                asyncio.create_task(self._talk(http, web, partial(web_chat, users[at % _USERS], self._life)))
                for at in range(_WEB)
            ]
            telling = asyncio.create_task(self._tell())
            await disturb(self._seconds, own, self._store, self._outages, self._told)
            await asyncio.sleep(max(0.0, self._from + self._seconds - time.monotonic()))
            self._life.is_over.set()
            await asyncio.gather(*chats)
            self._to = time.monotonic()
            telling.cancel()
            await asyncio.sleep(_CALM)
            self._faults += await told_again(http, base, self._seen)
        reading.cancel()
        self._left = self._readings.take(own.running.pid, self._store)

    async def _talk(self, http: ClientSession, base: str, begin: Callable[[], Awaitable[Client]]) -> None:
        while not self._life.is_over.is_set():
            client = await begin()
            await client.talk(http, base)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 10)
            now = self._readings[-1]
            self._told(
                f"{len(self._seen):,} replies seen, {self._life.unsaid:,} that came to nothing;"
                f" {now.memory / 1e6:.0f} MB, {now.files} files open, {now.disk / 1e6:.1f} MB on disk"
            )

    def _told(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)

    async def _checked(self) -> None:
        store, lines = make_store(str(self._store)), []
        await store.open()
        try:
            async for each in store.conversations(None):
                lines.append(json.loads(as_json(each, await store.tree(each.id))))
        finally:
            await store.close()
        self._faults += faults(self._seen, lines, is_disturbed=True)
        with closing(sqlite3.connect(self._store)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            self._faults.append(Fault("broken", f"the file: {found}"))
        command = (sys.executable, "-m", "sidecar", "verify", "--store", f"sqlite:///{self._store}")
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            self._faults.append(Fault("broken", f"sidecar verify: {done.stdout[-500:]}{done.stderr[-500:]}"))

    def verdict(self) -> int:
        """Print it; returns the exit code."""
        rest = min(_LONGEST_REFEREE, self._seconds * _REFEREE)
        compared = referee.run(rest, self._seed)
        for line in (*self._of_replies(), *self._of_upstream()):
            print(line)
        print(
            f"referee: {compared.tried:,} requests of random clients compared, {len(compared.faults)} faults"
        )
        wrong = [*self._of_what_it_took(), *compared.faults]
        wrong += [f"{each.kind}: {each.what}" for each in self._faults]
        wrong += [f"not strict: {rule}, {times} times" for rule, times in self._upstream.refused.items()]
        for each in wrong[:100]:
            print(f"WRONG  {each}")
        return 1 if wrong else 0

    def _of_replies(self) -> Iterator[str]:
        kinds = Counter(fault.kind for fault in self._faults)
        yield f"\n--seed {self._seed}, {self._seconds / 60:g} minutes, {self._begun:,} chats of agents"
        yield f"{KILLS} kills, {len(self._outages)} outages of the store"
        web = sum("node" in each.message for each in self._seen)
        yield f"acknowledged replies {len(self._seen):,}, {web:,} of them in Open WebUI"
        yield f"of them lost {kinds['missing']}, doubled {kinds['doubled']}, broken {kinds['broken']}"
        yield f"{self._uncertain:,} more during outages, to clients that hold their history themselves"

    def _of_upstream(self) -> Iterator[str]:
        asked, spoilt = self._upstream.asked, self._upstream.spoilt
        yield f"requests upstream {asked:,}, answered badly {spoilt.total():,}: {dict(spoilt)}"
        yield f"of them a strict backend would have refused {self._upstream.refused.total():,}"

    def _of_what_it_took(self) -> Iterator[str]:
        """Print what it took; gives what is too much."""
        first, last, parts = self._at_rest, self._left, self._seconds / 8
        assert first is not None
        assert last is not None
        middle, end = (
            self._readings.memory(self._from + at * parts, self._from + (at + 1) * parts) for at in (5, 7)
        )
        most = max(each.memory for each in self._readings), max(each.files for each in self._readings)
        print(
            f"memory {first.memory / 1e6:.0f} MB at rest, {middle:.0f} MB in the middle of the last life and"
            f" {end:.0f} MB at its end, most {most[0] / 1e6:.0f} MB"
        )
        print(f"open files {first.files} at rest, most {most[1]}, {last.files} once nobody was there")
        print(f"disk {last.disk / 1e6:.1f} MB, {last.disk / max(1, len(self._seen)):,.0f} bytes a reply")
        if self._seconds >= _LONG and end > middle * _GROWN:
            yield "memory grows"
        if last.files > first.files + _LEAKED:
            yield "files stay open"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev soak", description="Chat for hours, through faults of all kinds."
    )
    parser.add_argument("minutes", nargs="?", type=float, default=120.0, help="%(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sidecar-soak-") as folder:
        soak = Soak(Path(folder), options.minutes * 60, options.seed)
        asyncio.run(soak.run())
        return soak.verdict()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
