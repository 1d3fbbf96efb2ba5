"""The index of what was said in SQLite's tables (see `postings`), written and read beside requests.

Rules: segment N holds the messages numbered from N times `SEGMENT` on, and is written once there are later
ones. Of a segment whose message is deleted, or about to be, nothing stays, and none of such a conversation
comes in. What is in no segment is looked through itself.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sidecar.prompt.search_words import Sought
from sidecar.store.parts import HEAD_SIZE, size_of
from sidecar.store.postings import (
    BUCKETS,
    LARGEST,
    SEGMENT,
    breathe,
    packed_segment,
    place_by_place,
    places_of,
    stamp_of,
    text_with,
    text_within,
    wanted_of,
)
from sidecar.store.searched import EVERYWHERE, Indexed, Looked, Where
from sidecar.store.sqlite.beside import Beside
from sidecar.store.sqlite.parts import read_body
from sidecar.store.sqlite.worker import Worker

__all__ = ["Searching", "drop_segments"]

#: A segment and what it is made of: the numbers and ids of its messages, and its rows.
_Segment = tuple[int, list[tuple[int, bytes]], list[tuple[int, bytes]]]

_NEWEST = "SELECT max(number) FROM message"
_OLDEST = "SELECT min(number) FROM message"
_WHOLE = "SELECT segment FROM search_segment WHERE stamp = ?"
_MEMBERS = """
    SELECT m.number, m.id FROM message m JOIN conversation c ON c.number = m.conversation
    WHERE m.number BETWEEN ? AND ? AND c.tenant != x'' ORDER BY m.number"""
_BODIES = f"""
    SELECT number, conversation, body FROM message
    WHERE number BETWEEN ? AND ? AND length(body) <= {LARGEST} ORDER BY number"""
_MESSAGE = f"""
    SELECT c.id, m.id, c.number, m.body FROM message m JOIN conversation c ON c.number = m.conversation
    WHERE m.number = ? AND c.tenant != x'' AND (? IS NULL OR c.tenant = ?)
    AND length(m.body) <= {LARGEST}"""
_NUMBERS = "SELECT number FROM message WHERE number BETWEEN ? AND ? ORDER BY number DESC"
_ROW = "SELECT keys FROM search_row WHERE number = ?"
_DROP = "DELETE FROM search_row WHERE number BETWEEN ? AND ?"
_HAS_ANY = "SELECT EXISTS (SELECT 1 FROM search_row), EXISTS (SELECT 1 FROM search_segment)"
_SIZE = "SELECT total(length(keys)) FROM search_row"


class Searching(Beside):
    """The segment of `SQLiteStore` that searches what was said."""

    _writer: Worker

    async def look_for(self, sought: Sought, where: Where = EVERYWHERE) -> Looked:
        return await self._look(partial(_look, self.secret, sought, where))

    async def index_more(self) -> bool:
        made = await self._look(partial(_next_segment, self.secret))
        if made is not None:
            await self._writer.do(partial(_put_segment, self.secret, made))
        return made is not None

    async def indexed(self, *, sized: bool = True) -> Indexed:
        return await self._look(partial(_indexed, self.secret, sized))

    async def drop_index(self) -> None:
        while await self._look(_has_any):
            await self._writer.do(_drop_some)


def _next_segment(secret: bytes, connection: sqlite3.Connection) -> _Segment | None:
    """The newest segment that is full and not there yet; None if there is none. Takes a tenth of a second."""
    newest, stamp = connection.execute(_NEWEST).fetchone()[0], stamp_of(secret)
    if newest is None:
        return None
    oldest = connection.execute(_OLDEST).fetchone()[0]
    there = {segment for (segment,) in connection.execute(_WHOLE, (stamp,))}
    for segment in range(newest // SEGMENT - 1, oldest // SEGMENT - 1, -1):
        if segment in there:
            continue
        first, last = segment * SEGMENT, segment * SEGMENT + SEGMENT - 1
        members = connection.execute(_MEMBERS, (first, last)).fetchall()
        texts = _texts(connection, first, last, {number for number, _id in members})
        return segment, members, packed_segment(secret, texts)
    return None


def _texts(
    connection: sqlite3.Connection, first: int, last: int, members: set[int]
) -> Iterator[tuple[int, str]]:
    for number, conversation, stored in connection.execute(_BODIES, (first, last)):
        if number in members:
            try:
                yield number - first, text_within(_body(connection, conversation, stored))
            except ValueError:  # what is damaged says nothing
                continue


def _body(connection: sqlite3.Connection, conversation: int, stored: bytes) -> bytes:
    """The body of a message; nothing where it is too large. Raises `ValueError` if it is damaged."""
    if size_of(stored[:HEAD_SIZE], len(stored)) > LARGEST:
        return b""
    return read_body(connection, conversation, stored)


def _put_segment(secret: bytes, made: _Segment, connection: sqlite3.Connection) -> bool:
    """Write a segment, unless one of its messages is gone or going meanwhile."""
    segment, members, rows = made
    first = segment * SEGMENT
    if connection.execute(_MEMBERS, (first, first + SEGMENT - 1)).fetchall() != members:
        return False
    drop_segments(connection, [segment])
    connection.executemany(
        "INSERT INTO search_row VALUES (?, ?)", [(segment * BUCKETS + bucket, keys) for bucket, keys in rows]
    )
    connection.execute("INSERT INTO search_segment VALUES (?, ?)", (segment, stamp_of(secret)))
    return True


def drop_segments(connection: sqlite3.Connection, segments: Sequence[int]) -> None:
    """Nothing of these stays."""
    for segment in segments:
        connection.execute(_DROP, (segment * BUCKETS, segment * BUCKETS + BUCKETS - 1))
        connection.execute("DELETE FROM search_segment WHERE segment = ?", (segment,))


def _has_any(connection: sqlite3.Connection) -> bool:
    return any(connection.execute(_HAS_ANY).fetchone())


def _drop_some(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM search_segment WHERE segment IN (SELECT segment FROM search_segment LIMIT 500)"
    )
    connection.execute(
        "DELETE FROM search_row WHERE number IN (SELECT number FROM search_row ORDER BY number LIMIT 500)"
    )


def _indexed(secret: bytes, sized: bool, connection: sqlite3.Connection) -> Indexed:
    """How far the index has come."""
    newest, oldest = (connection.execute(query).fetchone()[0] for query in (_NEWEST, _OLDEST))
    full = newest // SEGMENT - oldest // SEGMENT if newest is not None else 0
    segments = len(connection.execute(_WHOLE, (stamp_of(secret),)).fetchall())
    size = int(connection.execute(_SIZE).fetchone()[0]) if sized else None
    return Indexed(segments, full, size)


def _look(secret: bytes, sought: Sought, where: Where, connection: sqlite3.Connection) -> Looked:
    """What is found there."""
    end = time.monotonic() + where.seconds
    newest = connection.execute(_NEWEST).fetchone()[0]
    at = (newest if newest is not None else -1) + 1 if where.before is None else where.before
    found: list[tuple[str, bytes, str]] = []
    unreadable, begun = 0, time.monotonic()
    for number, is_one in _candidates(connection, secret, sought, at):
        row = (
            connection.execute(_MESSAGE, (number, where.tenant, where.tenant)).fetchone() if is_one else None
        )
        if row is not None:
            try:
                text = text_with(sought, _body(connection, row[2], row[3]))
            except ValueError:  # it is damaged
                unreadable, text = unreadable + 1, None
            if text is not None:
                found.append((row[0], row[1], text))
        if len(found) == where.limit or time.monotonic() > end:
            return Looked(tuple(found), number, unreadable)
        begun = breathe(begun)
    return Looked(tuple(found), None, unreadable)


def _candidates(
    connection: sqlite3.Connection, secret: bytes, sought: Sought, before: int
) -> Iterator[tuple[int, bool]]:
    """The numbers of the messages below this one that may have the words, the last first; and, without being
    one, the first number of each segment that was looked at."""
    oldest, wanted = connection.execute(_OLDEST).fetchone()[0] or 0, wanted_of(sought, secret)
    there = {segment for (segment,) in connection.execute(_WHOLE, (stamp_of(secret),))}
    for segment in range((before - 1) // SEGMENT, oldest // SEGMENT - 1, -1):
        first, last = segment * SEGMENT, min(before, segment * SEGMENT + SEGMENT) - 1
        if segment in there:
            places = _places(connection, segment, wanted) & (2 << last - first) - 1
            numbers = [first + place for place in place_by_place(places)]
        else:
            numbers = [number for (number,) in connection.execute(_NUMBERS, (first, last))]
        yield from ((number, True) for number in numbers)
        yield first, False


def _places(connection: sqlite3.Connection, segment: int, wanted: Sequence[tuple[int, int]]) -> int:
    """Where all of these are, a bit for each place."""
    places = -1
    for bucket, hash in wanted:
        row: Any = connection.execute(_ROW, (segment * BUCKETS + bucket,)).fetchone()
        places &= places_of(row[0], hash) if row is not None else 0
        if not places:
            break
    return places
