"""The index of what was said in PostgreSQL's tables (see `postings`), to which no request writes.

Rules: each process numbers the messages that it has recorded, and now and then those of all conversations
that have more than were numbered: so what a process that died has left is found again. All segments but the
newest are full; each is written once. Of a segment whose message is deleted nothing stays (`DELETE_INDEXED`),
and whoever writes one, or deletes, holds `LOCK`. What is in no segment is looked through itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sidecar.prompt.search_words import Sought
from sidecar.store.base import Store
from sidecar.store.postgres.database import LONG, Connection, Database
from sidecar.store.postgres.rows import body_of, number_of
from sidecar.store.postgres.statements import PARTS, SIZE
from sidecar.store.postings import (
    LARGEST,
    SEGMENT,
    packed_segment,
    place_by_place,
    places_of,
    stamp_of,
    text_with,
    text_within,
    wanted_of,
)
from sidecar.store.searched import EVERYWHERE, Indexed, Looked, Where

__all__ = ["DELETE_INDEXED", "DELETE_LEFT", "LOCK", "Searching"]

_HOUR = 3600.0
_WALKED, _NUMBERED, _AT_ONCE = 2_000, 5_000, 200  # conversations, messages, and conversations of one step
_MOST_NEW = 10_000  # conversations remembered as having new messages; what is forgotten the next walk finds
_FIRST_SEGMENTS, _MOST_SEGMENTS = 4, 64  # read at once
_CANDIDATES = 64

#: $1 a conversation that has been numbered. Held to the end of the transaction.
LOCK = "SELECT pg_advisory_xact_lock(7311439) FROM search_done WHERE conversation = $1"
_LOCK_WRITING = "SELECT pg_advisory_xact_lock(7311439)"
_LOCK_NUMBERS = "SELECT pg_advisory_xact_lock(7311438)"
#: Segments of a statement that deletes a conversation, $1.
DELETE_INDEXED = """
    hit AS (SELECT DISTINCT segment FROM search_message WHERE conversation = $1),
    unlisted AS (DELETE FROM search_segment p USING hit WHERE p.segment = hit.segment),
    unwritten AS (DELETE FROM search_row r USING hit WHERE r.segment = hit.segment),
    unnumbered AS (DELETE FROM search_message WHERE conversation = $1),
    undone AS (DELETE FROM search_done WHERE conversation = $1)"""
#: What a sidecar of before these tables has left of conversations that it deleted.
DELETE_LEFT = """
    WITH gone AS (
        SELECT segment, place FROM search_message s WHERE NOT EXISTS (
            SELECT FROM conversation c WHERE c.number = s.conversation AND c.born = s.born)),
    hit AS (SELECT DISTINCT segment FROM gone),
    unlisted AS (DELETE FROM search_segment p USING hit WHERE p.segment = hit.segment),
    unwritten AS (DELETE FROM search_row r USING hit WHERE r.segment = hit.segment),
    undone AS (DELETE FROM search_done d WHERE NOT EXISTS (
        SELECT FROM conversation c WHERE c.number = d.conversation AND c.born = d.born))
    DELETE FROM search_message s USING gone WHERE s.segment = gone.segment AND s.place = gone.place"""

_WALK = """
    SELECT c.number, c.born, c.positions > coalesce(d.positions, 0) AS has_more
    FROM (SELECT number, born, positions FROM conversation WHERE (born, number) > ($1, $2)
        ORDER BY born, number LIMIT $3) c
    LEFT JOIN search_done d ON d.conversation = c.number AND d.born = c.born ORDER BY c.born, c.number"""
_HOLD = "SELECT number FROM conversation WHERE number = ANY($1::uuid[]) ORDER BY number FOR KEY SHARE"
_NEW = """
    SELECT c.number, c.born, m.id, m.position
    FROM conversation c LEFT JOIN search_done d ON d.conversation = c.number AND d.born = c.born
    CROSS JOIN LATERAL (
        SELECT id, position FROM message m
        WHERE m.conversation = c.number AND m.position > coalesce(d.positions, 0) OFFSET 0) m
    WHERE c.number = ANY($1::uuid[]) ORDER BY c.number, m.position LIMIT $2"""
_LAST = "SELECT segment, place FROM search_message ORDER BY segment DESC, place DESC LIMIT 1"
_NUMBER = """
    INSERT INTO search_message (segment, place, conversation, born, id)
    SELECT * FROM unnest($1::int[], $2::smallint[], $3::uuid[], $4::bigint[], $5::bytea[])"""
_DONE = """
    INSERT INTO search_done (conversation, born, positions)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[])
    ON CONFLICT (conversation) DO UPDATE SET born = excluded.born, positions = excluded.positions"""

_ENDS = "SELECT min(segment), max(segment) FROM search_message"
_WHOLE = "SELECT segment FROM search_segment WHERE stamp = $1"
_MISSING = """
    SELECT each FROM generate_series($2::int, $3::int) AS each
    WHERE NOT EXISTS (SELECT FROM search_segment s WHERE s.segment = each AND s.stamp = $1)
    ORDER BY each DESC LIMIT 1"""
_MEMBERS = """
    SELECT s.place, s.conversation, s.id FROM search_message s
    JOIN conversation c ON c.number = s.conversation AND c.born = s.born
    WHERE s.segment = $1 ORDER BY s.place"""
_BODIES = f"""
    SELECT s.place, m.body, {PARTS.format("m")}
    FROM search_message s JOIN message m ON m.conversation = s.conversation AND m.id = s.id
    WHERE s.segment = $1 AND {SIZE.format("m")} <= {LARGEST} ORDER BY s.place"""
_DROP_ROWS = "DELETE FROM search_row WHERE segment = $1"
_PUT_ROWS = """
    INSERT INTO search_row (segment, bucket, keys) SELECT $1, * FROM unnest($2::smallint[], $3::bytea[])"""
_PUT_SEGMENT = """
    INSERT INTO search_segment (segment, stamp) VALUES ($1, $2)
    ON CONFLICT (segment) DO UPDATE SET stamp = excluded.stamp"""
_ROWS = """
    SELECT segment, bucket, keys FROM search_row
    WHERE segment BETWEEN $1 AND $2 AND bucket = ANY($3::smallint[])"""
_PLACES = "SELECT place FROM search_message WHERE segment = $1 AND place < $2 ORDER BY place DESC"
_MESSAGES = f"""
    SELECT s.segment * {SEGMENT} + s.place, c.id, s.id, m.body, {PARTS.format("m")}
    FROM unnest($1::int[], $2::smallint[]) AS asked (segment, place)
    JOIN search_message s ON s.segment = asked.segment AND s.place = asked.place
    JOIN conversation c ON c.number = s.conversation AND c.born = s.born
    JOIN message m ON m.conversation = s.conversation AND m.id = s.id
    WHERE ($3::bytea IS NULL OR c.tenant = $3) AND {SIZE.format("m")} <= {LARGEST}
    ORDER BY s.segment DESC, s.place DESC"""
_SIZE = "SELECT coalesce(sum(octet_length(keys)), 0)::bigint FROM search_row"
_DROP_SOME = """
    WITH hit AS (
        SELECT segment FROM search_segment UNION SELECT segment FROM search_message
        ORDER BY segment LIMIT 50),
    unlisted AS (DELETE FROM search_segment p USING hit WHERE p.segment = hit.segment),
    unwritten AS (DELETE FROM search_row r USING hit WHERE r.segment = hit.segment),
    unnumbered AS (DELETE FROM search_message m USING hit WHERE m.segment = hit.segment)
    SELECT count(*) FROM hit"""
_DROP_DONE = """
    DELETE FROM search_done
    WHERE conversation IN (SELECT conversation FROM search_done ORDER BY conversation LIMIT 10000)"""


class Searching(Store):
    """The segment of `PostgresStore` that searches what was said."""

    _database: Database

    def __init__(self) -> None:
        #: Conversations that this process has recorded something in, not numbered yet; None without an index.
        self.new: set[UUID] | None = None
        self._walked_to: tuple[int, UUID] | None = (-1, number_of(""))
        self._walked_at = 0.0

    def recorded(self, conversation: str) -> None:
        """This process has recorded something in it."""
        if self.new is not None and len(self.new) < _MOST_NEW:
            self.new.add(number_of(conversation))
        else:
            self._walked_to = self._walked_to or (-1, number_of(""))

    async def index_more(self) -> bool:
        if self.new is None:
            self.new = set()
        if self._walked_to is None and time.monotonic() > self._walked_at + _HOUR:
            self._walked_to = (-1, number_of(""))
        has_walked = self._walked_to is not None and await self._walk(self._walked_to)
        has_numbered = await self._number_new()
        return await self._write_segment() or has_walked or has_numbered

    async def _walk(self, after: tuple[int, UUID]) -> bool:
        rows = await self._ask(_WALK, *after, _WALKED)
        await self._number([number for number, _born, has_more in rows if has_more])
        is_over = len(rows) < _WALKED
        self._walked_to = None if is_over else (rows[-1][1], rows[-1][0])
        self._walked_at = time.monotonic()
        return not is_over

    async def _number_new(self) -> bool:
        taken = set[UUID]()
        while self.new and len(taken) < _AT_ONCE:
            taken.add(self.new.pop())
        await self._number(sorted(taken))
        return bool(taken)

    async def _number(self, conversations: Sequence[UUID]) -> None:
        """Number their messages that are not."""
        number = partial(_number, list(conversations))
        has_more = bool(conversations)
        while has_more:
            has_more = await self._database.run(number)

    async def _write_segment(self) -> bool:
        oldest, newest = (await self._ask(_ENDS))[0]
        if newest is None:
            return False
        missing = await self._ask(_MISSING, stamp_of(self.secret), oldest, newest - 1)
        if not missing:
            return False
        segment = missing[0][0]
        members = await self._ask(_MEMBERS, segment)
        bodies = await self._ask(_BODIES, segment)
        rows = await asyncio.to_thread(_cut, self.secret, {row[0] for row in members}, bodies)
        put = partial(_put, segment, stamp_of(self.secret), members, rows)
        await self._database.run(put)
        return True

    async def indexed(self, *, sized: bool = True) -> Indexed:
        oldest, newest = (await self._ask(_ENDS))[0]
        segments = len(await self._ask(_WHOLE, stamp_of(self.secret)))
        size = (await self._ask(_SIZE))[0][0] if sized else None
        return Indexed(segments, newest - oldest if newest is not None else 0, size)

    async def drop_index(self) -> None:
        while (await self._ask(_DROP_SOME))[0][0]:
            pass
        while await self._database.run(_executing(_DROP_DONE)) == "DELETE 10000":
            pass

    async def look_for(self, sought: Sought, where: Where = EVERYWHERE) -> Looked:
        if self.new:
            await self._number_new()
        end = time.monotonic() + where.seconds
        oldest, newest = (await self._ask(_ENDS))[0]
        if newest is None:
            return Looked((), None)
        there = {row[0] for row in await self._ask(_WHOLE, stamp_of(self.secret))}
        wanted = wanted_of(sought, self.secret)
        at = (newest + 1) * SEGMENT if where.before is None else where.before
        found: list[tuple[str, bytes, str]] = []
        count = _FIRST_SEGMENTS
        while at > oldest * SEGMENT:
            last = (at - 1) // SEGMENT
            first = max(oldest, last - count + 1)
            numbers = await self._numbers(first, last, there, wanted, at)
            count = min(2 * count, _MOST_SEGMENTS)
            for begin in range(0, len(numbers), _CANDIDATES):
                some = numbers[begin : begin + _CANDIDATES]
                for number, hit in await self._those(sought, some, where.tenant):
                    found.append(hit)
                    if len(found) == where.limit:
                        return Looked(tuple(found), number)
                if time.monotonic() > end:
                    return Looked(tuple(found), some[-1])
            at = first * SEGMENT
            if time.monotonic() > end:
                break
        return Looked(tuple(found), at if at > oldest * SEGMENT else None)

    async def _numbers(
        self, first: int, last: int, there: set[int], wanted: Sequence[tuple[int, int]], before: int
    ) -> list[int]:
        """The numbers below `before` of what may have the words in these segments, the last first."""
        buckets = sorted({bucket for bucket, _hash in wanted})
        rows = {(row[0], row[1]): row[2] for row in await self._ask(_ROWS, first, last, buckets)}
        found: list[int] = []
        for segment in range(last, first - 1, -1):
            below = min(SEGMENT, before - segment * SEGMENT)
            if segment not in there:
                found += [segment * SEGMENT + row[0] for row in await self._ask(_PLACES, segment, below)]
                continue
            places = (1 << below) - 1
            for bucket, hash in wanted:
                row = rows.get((segment, bucket))
                places &= places_of(row, hash) if row is not None else 0
            found += [segment * SEGMENT + place for place in place_by_place(places)]
        return found

    async def _those(
        self, sought: Sought, numbers: Sequence[int], tenant: bytes | None
    ) -> list[tuple[int, tuple[str, bytes, str]]]:
        """Those of these messages that have the words, each with its number."""
        segments, places = [each // SEGMENT for each in numbers], [each % SEGMENT for each in numbers]
        return await asyncio.to_thread(_having, sought, await self._ask(_MESSAGES, segments, places, tenant))

    async def _ask(self, query: str, *values: object) -> Any:
        return await self._database.run(lambda connection: connection.fetch(query, *values, timeout=LONG))


def _executing(query: str) -> Any:
    async def execute(connection: Connection) -> Any:
        return await connection.execute(query, timeout=LONG)

    return execute


def _having(sought: Sought, rows: Iterable[Any]) -> list[tuple[int, tuple[str, bytes, str]]]:
    told = ((row[0], row[1], row[2], text_with(sought, _body(row[3:]))) for row in rows)
    return [(number, (id, node, text)) for number, id, node, text in told if text is not None]


def _body(row: Sequence[Any]) -> bytes:
    """The body of a message, with its parts; nothing where it is damaged."""
    try:
        return body_of(row[0], row[1])
    except ValueError:
        return b""


def _cut(secret: bytes, members: set[int], bodies: Iterable[Any]) -> list[tuple[int, bytes]]:
    texts = ((row[0], text_within(_body(row[1:]))) for row in bodies if row[0] in members)
    return packed_segment(secret, texts)


async def _number(conversations: list[UUID], connection: Connection) -> bool:
    """Number the messages of these that are not; returns whether there may be more."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_LOCK_NUMBERS, timeout=LONG)
        # Nobody deletes one meanwhile: what is deleted afterwards sees the numbers.
        await connection.fetch(_HOLD, conversations, timeout=LONG)
        rows = await connection.fetch(_NEW, conversations, _NUMBERED, timeout=LONG)
        last = await connection.fetchrow(_LAST)
        begin = last[0] * SEGMENT + last[1] + 1 if last is not None else 0
        numbers = range(begin, begin + len(rows))
        places = ([each // SEGMENT for each in numbers], [each % SEGMENT for each in numbers])
        columns = [[row[at] for row in rows] for at in range(3)]
        await connection.execute(_NUMBER, *places, *columns, timeout=LONG)
        done = {row[0]: (row[1], row[3]) for row in rows}
        told = ([born for born, _ in done.values()], [positions for _, positions in done.values()])
        await connection.execute(_DONE, list(done), *told, timeout=LONG)
    return len(rows) == _NUMBERED


async def _put(
    segment: int, stamp: bytes, members: list[Any], rows: list[tuple[int, bytes]], connection: Connection
) -> None:
    """Write a segment, unless one of its messages is gone meanwhile."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_LOCK_WRITING, timeout=LONG)
        if await connection.fetch(_MEMBERS, segment, timeout=LONG) != members:
            return
        await connection.execute(_DROP_ROWS, segment)
        columns = ([bucket for bucket, _keys in rows], [keys for _bucket, keys in rows])
        await connection.execute(_PUT_ROWS, segment, *columns, timeout=LONG)
        await connection.execute(_PUT_SEGMENT, segment, stamp)
