"""What is told of conversations to whoever looks at them: a round trip for each question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.overview import MAX_FIRST, Outline, Overview, Overviews, Spent, Stem
from sidecar.conversation.tree import Conversation
from sidecar.errors import StoreUnavailable
from sidecar.store.exchanges import EXCHANGE, exchange_from_row, readable, spent_of
from sidecar.store.postgres.database import LONG, Connection
from sidecar.store.postgres.rows import CONVERSATION, NODE, conversation_of, node_of, number_of
from sidecar.store.postgres.statements import PARTS, SIZE, nodes_of

__all__ = ["MESSAGES", "SPENT", "outline", "overview", "overviews", "spent_of_row"]

_TOTAL = "SELECT count(*) FROM conversation"
# $1 the most bytes of a first message.
_TOLD = f"""
    SELECT c.id, c.tenant, c.key, c.created_at, c.updated_at,
        counted.messages, counted.messages - counted.followed, done.exchanges, done.errors,
        {", ".join(f"first.{each}" for each in NODE)}, first.parts, first.size,
        {", ".join(f"last.{each}" for each in EXCHANGE)}
    FROM (%s) c
    CROSS JOIN LATERAL (
        SELECT count(*) AS messages, count(DISTINCT parent) AS followed
        FROM message m WHERE m.conversation = c.number) counted
    CROSS JOIN LATERAL (
        SELECT count(*) AS exchanges, count(error) AS errors
        FROM exchange e WHERE e.conversation = c.number AND e.born = c.born) done
    LEFT JOIN LATERAL (
        SELECT {", ".join(each for each in NODE if each != "body")},
            CASE WHEN {SIZE.format("m")} <= $1 THEN body END AS body,
            CASE WHEN {SIZE.format("m")} <= $1 THEN {PARTS.format("m")} END AS parts,
            {SIZE.format("m")} AS size
        FROM message m WHERE m.conversation = c.number ORDER BY position LIMIT 1) first ON true
    LEFT JOIN LATERAL (
        SELECT * FROM exchange e WHERE e.conversation = c.number AND e.born = c.born
        ORDER BY id DESC LIMIT 1) last ON true
    ORDER BY c.updated_at DESC, c.id COLLATE "C" DESC"""
# $2 how many, $3 and $4 the time and the id of the one before. Ids are compared by their bytes, whatever the
# database's language.
_USED_LAST = (
    _TOLD
    % """
        SELECT * FROM conversation
        WHERE $3::float8 IS NULL OR (updated_at, id COLLATE "C") < ($3::float8, $4::text COLLATE "C")
        ORDER BY updated_at DESC, id COLLATE "C" DESC LIMIT $2"""
)
#: $1 numbers of conversations, $2 how many.
_EARLIER = f"""
    SELECT c.number, {", ".join(f"e.{each}" for each in EXCHANGE)}
    FROM conversation c CROSS JOIN LATERAL (
        SELECT * FROM exchange e WHERE e.conversation = c.number AND e.born = c.born
        ORDER BY id DESC OFFSET 1 LIMIT $2) e
    WHERE c.number = ANY($1::uuid[]) ORDER BY c.number, e.id DESC"""
_ONE = _TOLD % "SELECT * FROM conversation WHERE number = $2"
_NAMED = _TOLD % "SELECT * FROM conversation WHERE key = $2 ORDER BY updated_at DESC LIMIT 1"
_ABOUT = f"SELECT {', '.join(CONVERSATION)} FROM conversation WHERE number = $1"
_STEMS = f"""
    SELECT id, parent, role, source, state, created_at, model, finish_reason, {SIZE.format("m")}
    FROM message m WHERE conversation = $1 ORDER BY position"""
#: $1 number, $2 ids.
MESSAGES = f"""
    SELECT {nodes_of("m")} FROM message m WHERE conversation = $1 AND id = ANY($2::bytea[])
    ORDER BY position"""
#: $1 and $2 the conversation seen last and $3 its exchange seen last, $4 to $5 the time, $6 how many.
SPENT = f"""
    SELECT c.id, c.tenant, c.created_at, c.born, c.number, {", ".join(f"e.{each}" for each in EXCHANGE)}
    FROM conversation c CROSS JOIN LATERAL (
        SELECT * FROM exchange e WHERE e.conversation = c.number AND e.born = c.born AND e.id >= $4
            AND e.id < CASE WHEN (c.born, c.number) = ($1::bigint, $2::uuid) THEN $3::bytea ELSE $5::bytea END
        ORDER BY e.id DESC LIMIT $6) e
    WHERE (c.born, c.number) <= ($1::bigint, $2::uuid)
    ORDER BY c.born DESC, c.number DESC, e.id DESC LIMIT $6"""
_EXCHANGE = 5  # where its columns begin
_NODE = 9  # where these columns begin
_SIZE = _NODE + len(NODE) + 1
_BODY = _NODE + NODE.index("body")


async def overviews(
    connection: Connection, limit: int, before: tuple[float, str] | None, recent: int
) -> Overviews:
    """The conversations that were used last, and so many of the newest exchanges of each."""
    rows = await connection.fetch(_USED_LAST, MAX_FIRST, limit, *(before or (None, None)), timeout=LONG)
    found = tuple(map(_overview, rows))
    if recent > 1:
        earlier = await _earlier(connection, found, recent - 1)
        found = tuple(replace(each, earlier=tuple(readable(each.id, earlier[each.id]))) for each in found)
    return Overviews(await connection.fetchval(_TOTAL, timeout=LONG), found)


async def _earlier(connection: Connection, found: Sequence[Overview], most: int) -> dict[str, list[Any]]:
    """The rows of so many exchanges of each of these before its last one."""
    named = {number_of(each.id): each.id for each in found}
    rows: dict[str, list[Any]] = {each.id: [] for each in found}
    for row in await connection.fetch(_EARLIER, list(named), most, timeout=LONG):
        rows[named[row[0]]].append(row[1:])
    return rows


async def overview(connection: Connection, name: str) -> Overview | None:
    """What is told of the conversation of this id, or of this key."""
    row = await connection.fetchrow(_ONE, MAX_FIRST, number_of(name), timeout=LONG)
    if row is None:
        row = await connection.fetchrow(_NAMED, MAX_FIRST, name, timeout=LONG)
    return _overview(row) if row is not None else None


def _overview(row: Any) -> Overview:
    id, tenant, key, created_at, updated_at, *counts = row[:_NODE]
    messages, branches, exchanges, errors = counts
    first = node_of(row, _NODE) if row[_BODY] is not None else None
    last, problem = None, ""
    try:
        last = exchange_from_row(id, row[_SIZE + 1 :]) if row[_SIZE + 1] is not None else None
    except StoreUnavailable as error:
        problem = error.message
    told = (messages, branches, exchanges, errors, first, row[_SIZE] or 0, last, problem)
    return Overview(id, tenant, key, created_at, updated_at, *told)


async def outline(connection: Connection, id: str) -> Outline | None:
    """The shape of its tree."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(_ABOUT, number_of(id))
        if row is None:
            return None
        about: Conversation = conversation_of(row)
        return Outline(
            about, tuple(Stem(*each) for each in await connection.fetch(_STEMS, number_of(id), timeout=LONG))
        )


def spent_of_row(row: Any) -> Spent:
    """An exchange, and whose it is, of a row of `SPENT`."""
    return spent_of(row[0], row[1], row[2], row[_EXCHANGE:])
