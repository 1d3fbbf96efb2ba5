"""SQLite: one file, a thread that writes and a thread that reads.

Write-ahead log with `synchronous = FULL`: what `record` has returned for survives `kill -9` and a power cut.
A file that cannot be opened, or that a newer version wrote, stops the start; there is no fallback to memory.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.records import ConversationUpdate, Found, Summary, Thread
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.store.base import MAX_LEARNED
from sidecar.store.encrypted.cipher import refuse_encrypted
from sidecar.store.exchanges import EXCHANGE, LAST_EXCHANGE, exchange_from_row
from sidecar.store.migrations import migrate
from sidecar.store.sqlite.file_locks import FileLocks
from sidecar.store.sqlite.find import FIND_CONVERSATION, candidates, find, find_by_history, one
from sidecar.store.sqlite.maintenance import Maintenance, at_one_moment, conversation_of
from sidecar.store.sqlite.nodes import NODE, node_of
from sidecar.store.sqlite.record import record
from sidecar.store.sqlite.reopen import Reopener, ReopeningWorker
from sidecar.store.sqlite.threads import find_threads
from sidecar.store.sqlite.tip_cache import TipCache
from sidecar.store.sqlite.upgrade import upgrade_or_refuse

__all__ = ["SQLiteStore"]

_PATH = f"""
    WITH RECURSIVE line (number, parent, depth) AS (
        SELECT number, parent, 0 FROM message WHERE conversation = :conversation AND id = :id
        UNION ALL
        SELECT m.number, m.parent, depth + 1 FROM line
        JOIN message m ON m.conversation = :conversation AND m.id = line.parent
    )
    SELECT {NODE.replace("parent", "m.parent")}
    FROM line JOIN message m USING (number) ORDER BY depth DESC"""
_TREE = f"SELECT {NODE} FROM message WHERE conversation = ? ORDER BY number"
_SYSTEM = """
    SELECT first, last FROM system_prompt
    WHERE conversation = (SELECT number FROM conversation WHERE id = ?)"""
_FIND_EXCHANGES = f"""
    SELECT {", ".join(EXCHANGE)} FROM exchange
    WHERE conversation = (SELECT number FROM conversation WHERE id = ? AND tenant = ?)
    AND id < ? ORDER BY id DESC LIMIT ?"""
_FIND_EXCHANGE = f"""
    SELECT {", ".join(EXCHANGE)} FROM exchange
    WHERE conversation = (SELECT number FROM conversation WHERE id = ? AND tenant = ?) AND id = ?"""
_FIND_FRONTS = """
    SELECT number, hash FROM summary JOIN conversation ON number = conversation WHERE id = ?"""
_FIND_SUMMARY = "SELECT hash, text, model, created_at FROM summary WHERE conversation = ? AND hash = ?"
_ADD_SUMMARY = """
    INSERT INTO summary (conversation, hash, text, model, created_at)
    SELECT number, ?, ?, ?, ? FROM conversation WHERE id = ?
    ON CONFLICT (conversation, hash) DO NOTHING"""
# A value that is replaced gets a new number.
_SAVE_LEARNED = "INSERT OR REPLACE INTO learned (name, value) VALUES (?, ?)"
_DROP_OLDEST_LEARNED = """
    DELETE FROM learned
    WHERE number <= (SELECT number FROM learned ORDER BY number DESC LIMIT 1 OFFSET ?)"""
_LOAD_LEARNED = "SELECT name, value FROM learned ORDER BY number"

_HINTS = {
    sqlite3.SQLITE_BUSY: " (another process is writing to it: try again when it has finished)",
    sqlite3.SQLITE_CORRUPT: " (it is damaged: put a backup in its place, or set `store` to another file)",
    sqlite3.SQLITE_NOTADB: " (put a backup in its place, or set `store` to another file)",
}
T = TypeVar("T")

_LOCK_TIMEOUT = 5.0  # seconds to wait for another process's lock


class SQLiteStore(Maintenance):
    """A store in the SQLite file `file`, which is created if missing (its folder must exist). `shared`:
    other processes write to it as often as this one. `upgrades`: an older one is upgraded, not refused."""

    def __init__(self, file: str, *, secret: str = "", shared: bool = False, upgrades: bool = False) -> None:
        self._file = file
        self._upgrades = upgrades
        self.secret = secret.encode()
        self._given = self.secret
        self._reopener = Reopener()
        self._locks = FileLocks(f"{file}-turns", beside=file)
        self._tips = TipCache(file, self._locks)
        self._writer = self._worker("writer", self._connect_to_write, commits=True)
        self._reader = self._worker("reader", self._connect, commits=False)
        self._writer.begun = self._tips.begin
        if shared:
            self._writer.alone = self._locks.writing

    async def open(self) -> None:
        try:
            await self._writer.start()
            await self._reader.start()
        except sqlite3.Error as error:
            await self.close()
            raise StoreUnavailable(
                f"cannot open the store {self._file}: {error}{self._hint(error)}"
            ) from error
        self._reopener.is_wanted = True

    async def close(self) -> None:
        self._reopener.is_wanted = False
        await self._reopener.over()
        await self._writer.stop()
        await self._reader.stop()
        self._locks.close()

    async def check(self) -> None:
        if self._reopener.failed is not None:
            await self._reader.do(self._reopener.failed)
        self._locks.check()

    def waiting(self) -> tuple[int, int]:
        return self._reader.waiting, self._writer.waiting

    async def probe(self) -> None:
        await self._writer.do(_touch)

    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        return await self._read(lambda connection: find(connection, tenant, ids, hashes))

    def find_cached(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found | None:
        return self._tips.find(tenant, ids, hashes)

    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        return await self._read(lambda connection: find_by_history(connection, tenant, hashes))

    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        return await self._reader.do(lambda connection: candidates(connection, tenant, hashes, digests))

    async def path(self, conversation: str, node: bytes) -> list[Node]:
        def read(connection: sqlite3.Connection) -> list[Node]:
            found = connection.execute(FIND_CONVERSATION, (conversation,)).fetchone()
            if not found:
                return []
            values = {"conversation": found[0], "id": node}
            return [node_of(connection, found[0], row) for row in connection.execute(_PATH, values)]

        return await self._read(read)

    async def tree(self, conversation: str) -> list[Node]:
        def read(connection: sqlite3.Connection) -> list[Node]:
            found = connection.execute(FIND_CONVERSATION, (conversation,)).fetchone()
            rows = connection.execute(_TREE, found[:1]) if found else ()
            return [node_of(connection, found[0], row) for row in rows]

        return await self._read(read)

    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        row = await self._reader.do(lambda reader: reader.execute(_SYSTEM, (conversation,)).fetchone())
        return (row[0], row[1]) if row else None

    async def threads(self, conversation: str, limit: int = 64) -> list[Thread]:
        return await self._reader.do(lambda reader: find_threads(reader, conversation, limit))

    def cross_process_lock(self, name: str, wait: float) -> AbstractAsyncContextManager[bool]:
        return self._locks.hold(name, wait)

    async def record(self, update: ConversationUpdate) -> None:
        left = None
        try:
            left = await self._writer.do(lambda connection: record(connection, update, self._tips))
        finally:
            self._tips.keep(update.conversation.id, left)

    async def exchanges(
        self, tenant: bytes, conversation: str, *, limit: int = 100, before: bytes | None = None
    ) -> list[Exchange]:
        values = (conversation, tenant, before or LAST_EXCHANGE, limit)
        rows = await self._reader.do(lambda reader: reader.execute(_FIND_EXCHANGES, values).fetchall())
        return [exchange_from_row(conversation, row) for row in rows]

    async def exchange(self, tenant: bytes, conversation: str, id: bytes) -> Exchange | None:
        values = (conversation, tenant, id)
        row = await self._reader.do(lambda reader: reader.execute(_FIND_EXCHANGE, values).fetchone())
        return exchange_from_row(conversation, row) if row else None

    async def find_summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        return await self._reader.do(lambda connection: _summary(connection, conversation, hashes))

    async def add_summary(self, conversation: str, summary: Summary) -> None:
        values = (summary.hash, summary.text, summary.model, summary.created_at, conversation)
        await self._writer.do(lambda connection: connection.execute(_ADD_SUMMARY, values))

    async def save_learned(self, name: str, value: bytes) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SAVE_LEARNED, (name, value))
            connection.execute(_DROP_OLDEST_LEARNED, (MAX_LEARNED,))

        await self._writer.do(write)

    async def load_learned(self) -> dict[str, bytes]:
        return dict(await self._reader.do(lambda reader: reader.execute(_LOAD_LEARNED).fetchall()))

    async def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        where, values = ('AND (id = ? OR "key" = ?)', (name, name)) if name is not None else ("", ())
        query = f"SELECT id FROM conversation WHERE tenant != x'' {where} ORDER BY number"
        ids = await self._reader.do(lambda connection: connection.execute(query, values).fetchall())
        for (each,) in ids:
            row = await self._reader.do(partial(one, FIND_CONVERSATION, each))
            if row is not None:  # deleted meanwhile
                yield conversation_of(row[:-1])

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read what takes more than one query, all of it as it is at one moment."""
        return await self._reader.do(partial(at_one_moment, work))

    def _worker(
        self, name: str, connect: Callable[[], sqlite3.Connection], *, commits: bool
    ) -> ReopeningWorker:
        name = f"sidecar-store-{name}"
        return ReopeningWorker(name, connect, commits=commits, file=self._file, reopener=self._reopener)

    def _connect(self) -> sqlite3.Connection:
        # The worker begins transactions itself, one for each group of jobs.
        connection = sqlite3.connect(
            self._file, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        # No `mmap_size`: a read error in a mapped file raises SIGBUS, which ends the process.
        connection.execute("PRAGMA temp_store = MEMORY")  # reads work on a full disk
        return connection

    def _connect_to_write(self) -> sqlite3.Connection:
        self._tips.opened()
        _make_private(self._file)
        name = f"the store {self._file}"
        check = self.check_secret or partial(refuse_encrypted, name=name)
        upgrade_or_refuse(self._file, name, check, upgrades=self._upgrades)
        connection = self._connect()
        try:
            # First, so that a file of another program is left unchanged.
            migrate(connection, name, upgrades=False)
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            kept = _kept_secret(connection)
            check(kept)
            self.secret = self._given or kept
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                _touch(connection)  # detects a read-only file now, not at the first write
        except BaseException:
            connection.close()
            raise
        return connection

    def _hint(self, error: sqlite3.Error) -> str:
        if hint := _HINTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF):
            return hint
        folder = Path(self._file).parent
        if not folder.is_dir():
            return f" (the folder {folder} does not exist: make it, or set `store` to another file)"
        if Path(self._file).is_dir():
            return " (it is a folder: name a file in it)"
        for each in (folder, Path(self._file)):
            if each.exists() and not os.access(each, os.W_OK):
                return f" ({each} is not writable for this user)"
        return ""


def _make_private(file: str) -> None:
    """Create a missing file, for its owner alone; SQLite gives the files beside it the same mode."""
    with suppress(OSError):  # it exists already, or SQLite reports the error next
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite's busy timeout does not cover the lock that this takes, so we retry."""
    end = time.monotonic() + _LOCK_TIMEOUT
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _touch(connection: sqlite3.Connection) -> None:
    """Write without changing anything, which fails on a read-only file."""
    # There is always one, also where the settings have another that goes before it.
    connection.execute("UPDATE secret SET value = value")
    # SQLite writes no page for an UPDATE that changes nothing, but it does write a pragma.
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version}")


def _one(query: str, value: object, connection: sqlite3.Connection) -> Any:
    return connection.execute(query, (value,)).fetchone()


def _summary(connection: sqlite3.Connection, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
    # Hashes first: reading the texts of all summaries to find one would be expensive.
    known = {hash: number for number, hash in connection.execute(_FIND_FRONTS, (conversation,))}
    for hash in hashes:
        if hash in known:
            return Summary(*connection.execute(_FIND_SUMMARY, (known[hash], hash)).fetchone())
    return None


def _kept_secret(connection: sqlite3.Connection) -> bytes:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT value FROM secret").fetchone()
        if row is None:
            row = (secrets.token_bytes(32),)
            connection.execute("INSERT INTO secret (value) VALUES (?)", row)
    return bytes(row[0])
