"""Requests as their clients sent them, in SQLite's table: each written behind its exchange."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from sidecar.store.kept_requests import superfluous
from sidecar.store.sqlite.search import Searching
from sidecar.store.sqlite.worker import Worker

__all__ = ["KeepingRequests", "delete_requests"]

_ADD = """
    INSERT INTO kept_request (conversation, exchange, bytes)
    SELECT e.conversation, e.id, ? FROM exchange e JOIN conversation c ON c.number = e.conversation
    WHERE c.id = ? AND c.tenant != x'' AND e.id = ?
    ON CONFLICT (conversation, exchange) DO NOTHING RETURNING conversation"""
_HELD = "SELECT exchange, length(bytes) FROM kept_request WHERE conversation = ? ORDER BY exchange DESC"
_DELETE = "DELETE FROM kept_request WHERE conversation = ? AND exchange = ?"
_FIND = """
    SELECT k.bytes FROM kept_request k JOIN conversation c ON c.number = k.conversation
    WHERE c.id = ? AND c.tenant = ? AND k.exchange = ?"""
_OLDEST = "SELECT number, length(bytes) FROM kept_request ORDER BY number LIMIT ?"
_OLDEST_OF = "SELECT number, length(bytes) FROM kept_request WHERE conversation = ? ORDER BY number LIMIT ?"

_AT_ONCE, _BYTES_AT_ONCE = 200, 4 << 20  # rows deleted in one transaction; all of their bytes are overwritten


class KeepingRequests(Searching):
    """The part of `SQLiteStore` that keeps them."""

    _writer: Worker

    async def keep_request(self, conversation: str, exchange: bytes, data: bytes, *, most: int) -> None:
        await self._writer.do(partial(_keep, conversation, exchange, data, most))

    async def kept_request(self, tenant: bytes, conversation: str, exchange: bytes) -> bytes | None:
        values = (conversation, tenant, exchange)
        row = await self._look(lambda connection: connection.execute(_FIND, values).fetchone())
        return row[0] if row else None

    async def drop_requests(self) -> None:
        # Nothing is written at every start where there is nothing: whoever writes then would be waited for.
        if await self._reader.do(lambda reader: reader.execute(_OLDEST, (1,)).fetchone()):
            while await self._writer.do(partial(_delete_some, _OLDEST, ())):
                pass


def delete_requests(connection: sqlite3.Connection, conversation: int) -> bool:
    """Delete one batch of those of a conversation; returns whether any may be left."""
    return _delete_some(_OLDEST_OF, (conversation,), connection)


def _keep(conversation: str, exchange: bytes, data: bytes, most: int, connection: sqlite3.Connection) -> None:
    row = connection.execute(_ADD, (data, conversation, exchange)).fetchone()
    if row is None:  # it is there already, or its exchange is not, since that was deleted meanwhile
        return
    gone = superfluous(connection.execute(_HELD, row).fetchall(), most)
    connection.executemany(_DELETE, [(row[0], each) for each in gone])


def _delete_some(query: str, values: Sequence[object], connection: sqlite3.Connection) -> bool:
    numbers: list[tuple[int]] = []
    size = 0
    for number, length in connection.execute(query, (*values, _AT_ONCE)).fetchall():
        numbers.append((number,))
        size += length
        if size > _BYTES_AT_ONCE:
            break
    connection.executemany("DELETE FROM kept_request WHERE number = ?", numbers)
    return bool(numbers)
