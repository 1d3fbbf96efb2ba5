"""Everything that a SQLite store does outside of requests: listing, deleting, backup, re-encryption.

Rules: deleted data is overwritten with zeros (`secure_delete`, also what `record` replaces), and is gone
from the write-ahead log once `purge` returns. From the first step of its deletion on, a conversation has
another id and no tenant, so that nobody finds half of it; the next `purge` completes a deletion that was
interrupted.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import astuple, replace

from sidecar.conversation.exchange_record import Exchange, packed
from sidecar.conversation.overview import Outline, Overview, Overviews, Spent
from sidecar.conversation.records import ConversationStats, Snapshot, Summary
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import SidecarError
from sidecar.store.exchanges import EXCHANGE, exchange_from_row, row_of
from sidecar.store.sqlite.client_keys import KeepingClientKeys
from sidecar.store.sqlite.deletion import DELETED, begin_deletion, delete_portion
from sidecar.store.sqlite.nodes import ADD_NEWEST, NODE, add_echoes, add_nodes, forget_all, node_of
from sidecar.store.sqlite.overview import messages, overview, overviews, spent, stems
from sidecar.store.sqlite.parts import delete_parts, keep_body
from sidecar.store.sqlite.running_responses import RunningResponses
from sidecar.store.sqlite.threads import replace_thread
from sidecar.store.sqlite.tip_cache import TipCache
from sidecar.store.sqlite.worker import Worker
from sidecar.store.threads import THREAD, thread_of, together

__all__ = ["ADD_EXCHANGE", "CONVERSATION", "Maintenance", "at_one_moment", "conversation_of"]

# In the order of the fields of `Conversation`.
CONVERSATION = 'id, tenant, "key", created_at, updated_at, tip, "full", system, weights'
_EXCHANGE = ", ".join(EXCHANGE)
ADD_EXCHANGE = f"""
    INSERT INTO exchange (conversation, {_EXCHANGE}) VALUES ({", ".join("?" * (1 + len(EXCHANGE)))})
    ON CONFLICT (conversation, id) DO NOTHING"""

_HELD = """
    SELECT number, id, tenant, "key", created_at, updated_at FROM conversation
    WHERE number > :last AND tenant != x'' AND (:tenant IS NULL OR tenant = :tenant)
    AND (:name IS NULL OR id = :name OR "key" = :name)
    ORDER BY number LIMIT :page"""
_COUNTED = f"""
    SELECT c.number, c.id, c.tenant, c."key", c.created_at, c.updated_at, count(m.number),
        total(length(m.body) + coalesce(length(m.usage), 0))
            + (SELECT total(length(p.bytes)) FROM part p WHERE p.conversation = c.number)
            + (SELECT total(length(e.detail)) FROM exchange e WHERE e.conversation = c.number)
            + (SELECT total(length(t.tools) + coalesce(length(t.system), 0)) FROM thread t
                WHERE t.conversation = c.number)
            + (SELECT total(length(k.bytes)) FROM kept_request k WHERE k.conversation = c.number)
    FROM ({_HELD}) c LEFT JOIN message m ON m.conversation = c.number GROUP BY c.number ORDER BY c.number"""
_WHOLE = f"SELECT number, {CONVERSATION} FROM conversation WHERE id = ? AND tenant != x''"
_NODES = f"SELECT {NODE} FROM message WHERE conversation = ? ORDER BY number"
_ECHOES = "SELECT hash, message FROM echo WHERE conversation = ? ORDER BY hash"
_FOUND_BY = """
    SELECT e.hash FROM echo e JOIN known_by k ON k.hash = e.hash AND k.conversation = e.conversation
    WHERE e.conversation = ? ORDER BY e.hash"""
_SYSTEM = "SELECT first, last FROM system_prompt WHERE conversation = ?"
_SUMMARIES = "SELECT hash, text, model, created_at FROM summary WHERE conversation = ? ORDER BY hash"
_EXCHANGES = f"SELECT {_EXCHANGE} FROM exchange WHERE conversation = ? ORDER BY id"
_THREAD = ", ".join(THREAD)
_THREADS = f"SELECT {_THREAD} FROM thread WHERE conversation = ? ORDER BY root"
_PUT = f"""
    INSERT INTO conversation ({CONVERSATION}) VALUES ({", ".join("?" * 9)})
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, "key" = excluded."key",
        created_at = excluded.created_at, updated_at = excluded.updated_at, tip = excluded.tip,
        "full" = excluded."full", system = excluded.system, weights = excluded.weights
    WHERE excluded.updated_at >= updated_at RETURNING number"""
_FIND_KEY = 'SELECT "key" FROM conversation WHERE id = ?'
_NAME = 'UPDATE conversation SET "key" = ? WHERE number = ?'
_PUT_SYSTEM = "INSERT OR REPLACE INTO system_prompt (conversation, first, last) VALUES (?, ?, ?)"
_PUT_SUMMARY = """
    INSERT INTO summary (conversation, hash, text, model, created_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (conversation, hash) DO NOTHING"""
_AMEND = """
    UPDATE exchange SET detail = ?
    WHERE conversation = (SELECT number FROM conversation WHERE id = ? AND tenant = ?) AND id = ?"""
_KNOWN_THREAD = f"SELECT {_THREAD} FROM thread WHERE conversation = ? AND root = ?"

T = TypeVar("T")

_PAGE_SIZE = 500  # conversations read at once
_COUNTED_PAGE_SIZE = 10  # the same, where their messages are counted as well
_LOCK_TIMEOUT = 60.0  # seconds that a checkpoint waits for readers
_LOCK_ATTEMPT = 0.05  # seconds of one attempt, during which others cannot write
_POLL_INTERVAL = 0.2  # seconds


class Maintenance(RunningResponses, KeepingClientKeys):
    """The part of `SQLiteStore` that serves commands and background jobs, not requests."""

    _file: str
    _writer: Worker
    _tips: TipCache
    _reader: Worker

    async def conversation_stats(
        self, *, tenant: bytes | None = None, name: str | None = None, sized: bool = True
    ) -> AsyncIterator[ConversationStats]:
        query, page = (_COUNTED, _COUNTED_PAGE_SIZE) if sized else (_HELD, _PAGE_SIZE)
        last = 0
        while True:
            values = {"last": last, "tenant": tenant, "name": name, "page": page}
            rows = await self._reader.do(partial(_rows, query, values))
            for row in rows:
                last = row[0]
                yield ConversationStats(*row[1:6], *map(int, row[6:]))
            if len(rows) < page:
                return

    async def overviews(
        self, *, limit: int = 50, before: tuple[float, str] | None = None, recent: int = 1
    ) -> Overviews:
        return await self._look(partial(at_one_moment, partial(overviews, limit, before, recent)))

    async def outline(self, conversation: str) -> Outline | None:
        return await self._look(partial(at_one_moment, partial(_outline, conversation)))

    async def messages(self, conversation: str, nodes: Sequence[bytes]) -> list[Node]:
        return await self._look(partial(at_one_moment, partial(messages, conversation, nodes)))

    def spent(self, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
        return spent(self._look, begin, end)

    async def overview(self, name: str) -> Overview | None:
        return await self._look(partial(overview, name))

    async def amend(self, tenant: bytes, exchange: Exchange) -> bool:
        values = (packed(exchange.detail), exchange.conversation, tenant, exchange.id)
        changed: int = await self._writer.do(lambda writer: writer.execute(_AMEND, values).rowcount)
        return changed > 0

    async def delete(self, conversation: str, *, unless_after: float | None = None) -> bool:
        values = {"id": conversation, "unless_after": unless_after}
        found, left = await self._change(partial(begin_deletion, values))
        if left is not None:
            await self._delete_expired(left)
        return found

    async def delete_learned(self) -> None:
        await self._writer.do(lambda writer: writer.execute("DELETE FROM learned"))

    async def purge(self, *, compact: bool) -> None:
        for (number,) in await self._reader.do(partial(_rows, DELETED, {})):
            await self._delete_expired(number)
        await self._beside(_compact if compact else _checkpoint)

    async def snapshot(self, conversation: str) -> Snapshot | None:
        return await self._reader.do(partial(at_one_moment, partial(_whole, conversation)))

    async def add_snapshot(self, whole: Snapshot) -> None:
        await self._change(partial(_put, whole))

    async def replace_snapshot(self, conversation: str, change: Callable[[Snapshot], Snapshot]) -> bool:
        return await self._change(partial(_rewrite, conversation, change))

    async def replace_secret(self, secret: bytes) -> None:
        await self._writer.do(lambda writer: writer.execute("UPDATE secret SET value = ?", (secret,)))
        self.secret = secret

    async def backup(self, file: str, progress: Callable[[float], None]) -> None:
        part = f"{file}.part"
        with _new_file(file), _new_file(part):
            size = await self._beside(_size)
            copying = asyncio.ensure_future(self._beside(partial(_copy, to=part)))
            try:
                while not (await asyncio.wait([copying], timeout=_POLL_INTERVAL))[0]:
                    progress(min(1.0, os.stat(part).st_size / size))
            finally:
                copying.cancel()
                await asyncio.wait([copying])
            copying.result()
            os.replace(part, file)

    async def _change(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a write that changes or deletes rows. The tip cache is cleared before and after it."""

        def change(connection: sqlite3.Connection) -> T:
            self._tips.clear()
            return job(connection)

        self._tips.clear()
        try:
            return await self._writer.do(change)
        finally:
            self._tips.clear()

    async def _delete_expired(self, number: int) -> None:
        while await self._writer.do(partial(delete_portion, number)):
            pass


@contextmanager
def _new_file(file: str) -> Iterator[None]:
    """Create this file, for its owner alone, and remove it again if the copy fails."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise SidecarError(f"{file} already exists and is not overwritten: name another file") from error
    try:
        yield
    except BaseException:
        if os.path.exists(file):
            os.unlink(file)
        raise


def conversation_of(row: Any) -> Conversation:
    """The conversation of a row of `number` and `CONVERSATION`."""
    _number, id, tenant, key, created_at, updated_at, tip, full, system, weights = row
    return Conversation(id, tenant, key, created_at, updated_at, tip, bool(full), system, weights)


def _rows(query: str, values: Mapping[str, object], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _size(connection: sqlite3.Connection) -> int:
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


def _checkpoint(connection: sqlite3.Connection) -> None:
    # Nobody can write while a checkpoint waits for readers, so each attempt is short.
    connection.execute(f"PRAGMA busy_timeout = {int(_LOCK_ATTEMPT * 1000)}")
    end = time.monotonic() + _LOCK_TIMEOUT
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > end:
            raise sqlite3.OperationalError("its write-ahead log cannot be truncated while others read")
        time.sleep(_POLL_INTERVAL)


def _compact(connection: sqlite3.Connection) -> None:
    # Rows that moved from one page to another may have left copies in the unused part of a page.
    connection.execute("VACUUM")
    _checkpoint(connection)


def _copy(connection: sqlite3.Connection, *, to: str) -> None:
    # Unlike SQLite's backup API it does not restart whenever something is written.
    connection.execute("VACUUM INTO ?", (to,))
    handle = os.open(to, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def at_one_moment(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    """Whatever is written meanwhile, the work sees nothing of it."""
    connection.execute("BEGIN")
    with connection:
        return work(connection)


def _outline(id: str, connection: sqlite3.Connection) -> Outline | None:
    row = connection.execute(_WHOLE, (id,)).fetchone()
    return stems(conversation_of(row), connection) if row else None


def _whole(id: str, connection: sqlite3.Connection) -> Snapshot | None:
    row = connection.execute(_WHOLE, (id,)).fetchone()
    if row is None:
        return None
    number, conversation = row[:1], conversation_of(row)
    nodes = [node_of(connection, row[0], each) for each in connection.execute(_NODES, number)]
    found_by: tuple[bytes, ...] = ()
    if conversation.key is not None:
        found_by = tuple(hash for (hash,) in connection.execute(_FOUND_BY, number))
    return Snapshot(
        conversation=conversation,
        nodes=tuple(nodes),
        echoes=tuple(connection.execute(_ECHOES, number)),
        system=connection.execute(_SYSTEM, number).fetchone(),
        summaries=tuple(Summary(*each) for each in connection.execute(_SUMMARIES, number)),
        exchanges=tuple(exchange_from_row(id, each) for each in connection.execute(_EXCHANGES, number)),
        threads=tuple(thread_of(id, each) for each in connection.execute(_THREADS, number)),
        found_by=found_by,
    )


def _put(whole: Snapshot, connection: sqlite3.Connection) -> None:
    about = whole.conversation
    held = connection.execute(_FIND_KEY, (about.id,)).fetchone()
    # A name that it has got stays, whichever of the two has it.
    key = held[0] if held is not None and held[0] is not None else about.key
    row = connection.execute(_PUT, astuple(replace(about, key=key))).fetchone()
    is_newer = row is not None
    if row is None:
        row = connection.execute(_WHOLE, (about.id,)).fetchone()
    number, is_known_by = row[0], key is None
    if held is not None and held[0] is None and key is not None:
        connection.execute(_NAME, (key, number))
        forget_all(connection, number)
    newest = connection.execute("SELECT newest FROM conversation WHERE number = ?", (number,)).fetchone()[0]
    _added, newest = add_nodes(connection, number, newest, whole.nodes, is_known_by=is_known_by)
    connection.execute(ADD_NEWEST, (newest, number))
    names = set(whole.found_by)
    add_echoes(connection, number, whole.echoes, is_known_by=is_known_by)
    named = [each for each in whole.echoes if each[0] in names]
    add_echoes(connection, number, named, is_known_by=True)
    if is_newer and whole.system is not None:
        connection.execute(_PUT_SYSTEM, (number, *whole.system))
    told = [(number, each.hash, each.text, each.model, each.created_at) for each in whole.summaries]
    connection.executemany(_PUT_SUMMARY, told)
    connection.executemany(ADD_EXCHANGE, [(number, *row_of(each)) for each in whole.exchanges])
    for thread in whole.threads:
        known = connection.execute(_KNOWN_THREAD, (number, thread.root)).fetchone()
        held = thread_of(whole.conversation.id, known) if known else None
        replace_thread(connection, number, together(held, thread))


def _rewrite(id: str, change: Callable[[Snapshot], Snapshot], connection: sqlite3.Connection) -> bool:
    row = connection.execute(_WHOLE, (id,)).fetchone()
    old = _whole(id, connection)
    if row is None or old is None:
        return False
    number, new = row[0], change(old)
    connection.execute(
        "UPDATE conversation SET tenant = ? WHERE number = ?", (new.conversation.tenant, number)
    )
    delete_parts(connection, number)
    connection.executemany(
        "UPDATE message SET body = ?, usage = ? WHERE conversation = ? AND id = ?",
        [(keep_body(connection, number, node), node.usage, number, node.id) for node in new.nodes],
    )
    if new.system is not None:
        connection.execute(_PUT_SYSTEM, (number, *new.system))
    connection.executemany(
        "UPDATE summary SET text = ? WHERE conversation = ? AND hash = ?",
        [(each.text, number, each.hash) for each in new.summaries],
    )
    connection.executemany(
        "UPDATE exchange SET detail = ? WHERE conversation = ? AND id = ?",
        [(packed(each.detail), number, each.id) for each in new.exchanges],
    )
    for each in new.threads:
        replace_thread(connection, number, each)
    return True
