"""What a turn makes the SQLite store write: pages of the log, and processor time of the thread that writes.

Chats take turns in any order, as they do on a server: nearly every page that a turn needs is another one. The
pages repeat exactly with one version of SQLite; the times are those of this machine.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference, Exchange, Sent, exchange_id
from sidecar.conversation.records import ConversationUpdate, Thread
from sidecar.conversation.tree import Conversation, Node
from sidecar.store import SQLiteStore
from tests.bench.scenes import table
from tests.store.trees import chat, question, reply, talk, update

__all__ = ["exchange_of", "measure"]

_FRAME, _HEADER = 4096 + 24, 32  # bytes of a page in the log, and before the first
_SYSTEM = b'[{"role":"system","content":"%s"}]' % (b"You are a helpful assistant. " * 10)
_LONG = 200, 2_000  # messages of a long chat, and characters of each


async def measure(folder: Path, chats: int, turns: int) -> None:
    """Print it for chats with and without an id, in groups as under load and one by one."""
    rows = []
    for key in ("chat", None):
        file = folder / f"written-{key}.db"
        written = _Written(SQLiteStore(str(file)), file, key)
        await written.begin(chats)
        rows += [await written.turns(16, turns), await written.turns(1, turns // 8), await written.long(4)]
        await written.store.close()
        print(_largest(file, key))
        file.unlink()
    head = ["written", "µs of CPU", "pages", "KiB"]
    print(f"\n{table(head, rows)}\n", flush=True)


class _Written:
    """A store of many chats, each of which gets a turn now and then."""

    def __init__(self, store: SQLiteStore, file: Path, key: str | None) -> None:
        self.store, self._log, self._key = store, Path(f"{file}-wal"), key
        self._chance, self._number = random.Random(1), 0
        self._tips: dict[str, tuple[Node, Node]] = {}  # each with its root

    async def begin(self, chats: int) -> None:
        await self.store.open()
        ids = [f"conv_{self._chance.getrandbits(128):032x}" for _ in range(chats)]
        for start in range(0, chats, 128):
            await asyncio.gather(*(self.store.record(self._turn(id)) for id in ids[start : start + 128]))
        await self.store.purge(compact=False)
        # Else the log begins anew in between, and its size says nothing.
        await self.store._writer.do(_never_checkpoint)

    async def turns(self, group: int, turns: int) -> list[str]:
        groups = [
            [self._turn(id) for id in self._chance.sample(sorted(self._tips), group)]
            for _ in range(turns // group)
        ]
        return await self._measured(f"a turn, in groups of {group}", groups)

    async def long(self, group: int) -> list[str]:
        """Chats of which nothing was stored."""
        count, length = _LONG
        texts = [f"{number} {'so it is ' * (length // 9)}" for number in range(count)]
        groups = []
        for _ in range(8):
            new = [f"conv_{self._chance.getrandbits(128):032x}" for _ in range(group)]
            groups.append([update(self._talk(id, None), *chat(*texts)) for id in new])
        return await self._measured(f"a chat of {count} messages, in groups of {group}", groups)

    async def _measured(self, what: str, groups: list[list[ConversationUpdate]]) -> list[str]:
        pages, spent = self._pages(), await self._spent()
        for group in groups:
            await asyncio.gather(*map(self.store.record, group))
        count = sum(map(len, groups))
        each = (await self._spent() - spent) / 1000 / count, (self._pages() - pages) / count
        who = "with an id" if self._key else "without"
        return [f"{what}, {who}", f"{each[0]:,.0f}", f"{each[1]:,.2f}", f"{each[1] * _FRAME / 1024:,.1f}"]

    async def _spent(self) -> int:
        spent: int = await self.store._writer.do(lambda _connection: time.thread_time_ns())
        return spent

    def _pages(self) -> float:
        return (os.stat(self._log).st_size - _HEADER) / _FRAME if self._log.exists() else 0

    def _talk(self, id: str, tip: bytes | None) -> Conversation:
        return talk(id, key=self._key and f"{self._key} {id}", tip=tip, full=True)

    def _turn(self, id: str) -> ConversationUpdate:
        self._number += 1
        at = float(self._number)
        tip, root = self._tips.get(id, (None, None))
        ask = question(f"and then, {at}? {'so it is ' * 20}", tip, at=at)
        answer = reply("so it is " * 60, ask, nonce=self._number, at=at, model="gpt-4o-mini")
        root = root or ask
        self._tips[id] = answer, root
        known = Thread(root.id, answer.id, _SYSTEM, "gpt-4o-mini", ("search",), True, False, True, at)
        about = replace(self._talk(id, answer.id), updated_at=at)
        done, system = exchange_of(id, ask, answer, self._number), _SYSTEM if tip is None else None
        return update(about, ask, answer, exchange=done, thread=known, system=system)


def exchange_of(id: str, ask: Node, answer: Node, number: int) -> Exchange:
    """As a usual request leaves it."""
    detail = Detail(
        replies=(answer.id,),
        answered_by="gpt-4o-mini-2024-07-18",
        finish="stop",
        head_ms=412,
        first_token_ms=640,
        cached_tokens=12032,
        estimated_tokens=12650,
        system=b"system..",
        tools=b"tools...",
        difference=Difference(23, "new"),
        sent=Sent("client"),
    )
    began = exchange_id(1_764_000_000_000 + 700 * number, b"abcd")
    return Exchange(began, id, ask.id, "continue", "gpt-4o-mini", 200, 12345, 321, 5432, None, detail)


def _never_checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    connection.execute("BEGIN")


def _largest(file: Path, key: str | None) -> str:
    """The tables and indexes of the file that are larger than a few pages."""
    with closing(sqlite3.connect(file)) as connection:
        try:
            sizes = connection.execute("SELECT name, count(*) FROM dbstat GROUP BY name ORDER BY 2 DESC")
            told = ", ".join(f"{name} {pages}" for name, pages in sizes if pages > 3)
        except sqlite3.OperationalError:  # this SQLite was built without it
            told = "not known"
    return f"pages of a file of chats {'with an id' if key else 'without'}: {told}"
