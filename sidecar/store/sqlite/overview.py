"""What is told of conversations to whoever looks at them, read on a connection that no request waits for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sidecar.conversation.exchange_record import exchange_id
from sidecar.conversation.overview import MAX_FIRST, Outline, Overview, Overviews, Spent, Stem
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.store.exchanges import EXCHANGE, exchange_from_row, readable, spent_of
from sidecar.store.parts import HEAD_SIZE, size_of
from sidecar.store.sqlite.nodes import NODE, node_of

__all__ = ["messages", "overview", "overviews", "spent", "stems"]

_NEWER_THAN_ALL = 1 << 62
_SPENT_AT_ONCE = 5000

Look = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]

_TOTAL = "SELECT count(*) FROM conversation WHERE tenant != x''"
# There is no index of these times, which every request would have to keep up, so few must be left to sort. As
# many as are wanted, of those begun last, were used no earlier than `edge`, so all that are wanted were not.
_USED_LAST = """
    WITH candidate AS NOT MATERIALIZED (
        SELECT number, newest, id, tenant, "key", created_at, updated_at FROM conversation
        WHERE tenant != x'' AND (:at IS NULL OR (updated_at, id) < (:at, :id))),
    edge (at) AS (
        SELECT min(updated_at) FROM (
            SELECT updated_at FROM (
                SELECT updated_at FROM candidate ORDER BY number DESC LIMIT 20 * :limit)
            ORDER BY updated_at DESC LIMIT :limit))
    SELECT * FROM candidate WHERE updated_at >= (SELECT at FROM edge)
    ORDER BY updated_at DESC, id DESC LIMIT :limit"""
_ONE = """
    SELECT number, newest, id, tenant, "key", created_at, updated_at FROM conversation
    WHERE tenant != x'' AND id = ?"""
_NAMED = """
    SELECT number, newest, id, tenant, "key", created_at, updated_at FROM conversation
    WHERE tenant != x'' AND "key" = ? ORDER BY updated_at DESC LIMIT 1"""
# Along the index of the ids alone.
_COUNT = "SELECT count(*), min(number) FROM message WHERE conversation = ?"
_SIZE = f"SELECT substr(body, 1, {HEAD_SIZE}), length(body) FROM message WHERE number = ?"
_FIRST = f"SELECT {NODE} FROM message WHERE number = ?"
_OTHER_TIPS = "SELECT count(*) FROM tip WHERE conversation = ?"
_EXCHANGES = "SELECT count(*), count(error) FROM exchange WHERE conversation = ?"
_NEWEST = f"SELECT {', '.join(EXCHANGE)} FROM exchange WHERE conversation = ? ORDER BY id DESC LIMIT ?"
_STEMS = f"""
    SELECT id, parent, role, source, state, created_at, model, finish_reason,
        substr(body, 1, {HEAD_SIZE}), length(body)
    FROM message WHERE conversation = (SELECT number FROM conversation WHERE id = ?) ORDER BY number"""
_NUMBER = "SELECT number FROM conversation WHERE id = ?"
_MESSAGE = f"SELECT number, {NODE} FROM message WHERE conversation = ? AND id = ?"

# Along the index of exchanges, conversation by conversation. The last one seen goes on behind `id`.
_SPENT = f"""
    SELECT c.number, c.id, c.tenant, c.created_at, {", ".join(f"e.{each}" for each in EXCHANGE)}
    FROM conversation c CROSS JOIN exchange e ON e.conversation = c.number
    WHERE c.number <= :number AND c.tenant != x'' AND e.id >= :begin
        AND e.id < CASE WHEN c.number = :number THEN :id ELSE :end END
    ORDER BY c.number DESC, e.id DESC LIMIT :limit"""


def overviews(
    limit: int, before: tuple[float, str] | None, recent: int, connection: sqlite3.Connection
) -> Overviews:
    """The conversations that were used last, and so many of the newest exchanges of each."""
    at, id = before or (None, None)
    rows = connection.execute(_USED_LAST, {"at": at, "id": id, "limit": limit}).fetchall()
    total = connection.execute(_TOTAL).fetchone()[0]
    return Overviews(total, tuple(_overview(connection, row, recent) for row in rows))


def overview(name: str, connection: sqlite3.Connection) -> Overview | None:
    """What is told of the conversation of this id, or of this key."""
    row = connection.execute(_ONE, (name,)).fetchone() or connection.execute(_NAMED, (name,)).fetchone()
    return _overview(connection, row) if row is not None else None


def _overview(connection: sqlite3.Connection, row: Any, recent: int = 1) -> Overview:
    number, newest, id, tenant, key, created_at, updated_at = row
    messages, oldest = connection.execute(_COUNT, (number,)).fetchone()
    exchanges, errors = connection.execute(_EXCHANGES, (number,)).fetchone()
    branches = connection.execute(_OTHER_TIPS, (number,)).fetchone()[0] + (newest is not None)
    size = size_of(*connection.execute(_SIZE, (oldest,)).fetchone()) if messages else 0
    first, last, problem = None, None, ""
    done = connection.execute(_NEWEST, (number, recent)).fetchall()
    try:
        if 0 < size <= MAX_FIRST:
            first = node_of(connection, number, connection.execute(_FIRST, (oldest,)).fetchone())
        last = exchange_from_row(id, done[0]) if done else None
    except StoreUnavailable as error:
        problem = error.message
    counts = (messages, branches, exchanges, errors)
    earlier = tuple(readable(id, done[1:]))
    return Overview(id, tenant, key, created_at, updated_at, *counts, first, size, last, problem, earlier)


def stems(about: Conversation, connection: sqlite3.Connection) -> Outline:
    """The shape of its tree."""
    return Outline(about, tuple(map(_stem, connection.execute(_STEMS, (about.id,)))))


def _stem(row: tuple[Any, ...]) -> Stem:
    id, parent, role, source, state, created_at, model, finish_reason, head, length = row
    size = size_of(head, length)
    return Stem(id, parent, role, source, state, created_at, model, finish_reason, size)


def messages(id: str, nodes: Sequence[bytes], connection: sqlite3.Connection) -> list[Node]:
    """Those of these that are there, in the order in which they were recorded."""
    row = connection.execute(_NUMBER, (id,)).fetchone()
    if row is None:
        return []
    number = row[0]
    found = [connection.execute(_MESSAGE, (number, node)).fetchone() for node in dict.fromkeys(nodes)]
    rows = sorted((each for each in found if each), key=lambda row: row[0])
    return [node_of(connection, number, row[1:]) for row in rows]


async def spent(look: Look, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
    """The exchanges of this time; `look` reads beside requests."""
    last, first = exchange_id(end, b""), exchange_id(begin, b"")
    number, id = _NEWER_THAN_ALL, last
    while True:
        values = {"number": number, "id": id, "begin": first, "end": last, "limit": _SPENT_AT_ONCE}
        rows: list[Any] = await look(partial(_rows_of, values))
        if rows:
            yield await asyncio.to_thread(
                lambda found: [spent_of(row[1], row[2], row[3], row[4:]) for row in found], rows
            )
        if len(rows) < _SPENT_AT_ONCE:
            return
        number, id = rows[-1][0], rows[-1][4]


def _rows_of(values: Mapping[str, object], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(_SPENT, values).fetchall()
