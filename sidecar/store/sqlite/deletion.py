"""How a conversation is deleted from SQLite's tables: marked, and then in steps that hold up no other write.

Rule: what stands in the index of a message goes before it, by whole segments; messages go before the
parts that they refer to, and the row of the conversation goes last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from sidecar.conversation.tree import HASH_SIZE
from sidecar.store.postings import SEGMENT
from sidecar.store.sqlite.kept_requests import delete_requests
from sidecar.store.sqlite.nodes import forget
from sidecar.store.sqlite.running_responses import delete_running
from sidecar.store.sqlite.search import drop_segments

__all__ = ["DELETED", "begin_deletion", "delete_portion"]

_MARK_AS_DELETED = """
    UPDATE conversation SET id = 'deleted:' || number, tenant = x'', "key" = NULL
    WHERE id = :id AND tenant != x'' AND (:unless_after IS NULL OR updated_at <= :unless_after)
    RETURNING number"""
DELETED = "SELECT number FROM conversation WHERE tenant = x''"
# In row order: deleting rows at random makes SQLite move others between pages, which leaves copies behind.
_DELETE_SOME = """
    DELETE FROM {0} WHERE number IN (SELECT number FROM {0} WHERE conversation = ? ORDER BY number LIMIT ?)"""
_NEXT = "SELECT number, length(body), id, digest FROM message WHERE conversation = ? LIMIT ?"
_NEXT_PARTS = "SELECT number, length(bytes) FROM part WHERE conversation = ? ORDER BY number LIMIT ?"
_HASHES = "SELECT hash FROM echo WHERE conversation = ?"

_DELETE_BATCH = 200  # rows deleted in one transaction
_DELETE_BATCH_SIZE = 4 << 20  # and their bytes, all of which are overwritten
_DELETE_SEGMENTS = 8  # and of the index, each of 200 kB


def begin_deletion(values: Mapping[str, object], connection: sqlite3.Connection) -> tuple[bool, int | None]:
    """Did it exist, and what is its row number if some of it is left? A short one is deleted at once."""
    expired = connection.execute(_MARK_AS_DELETED, values).fetchone()
    if expired is None:
        return False, None
    delete_running(connection, str(values["id"]))
    return True, expired[0] if delete_portion(expired[0], connection) else None


def delete_portion(conversation: int, connection: sqlite3.Connection) -> bool:
    """Delete one batch of its rows, and finally itself; returns whether anything is left."""
    numbers: list[tuple[int]] = []
    hashes: list[bytes] = []
    segments = set[int]()
    size, is_all = 0, True
    for number, length, id, digest in connection.execute(_NEXT, (conversation, _DELETE_BATCH)):
        numbers.append((number,))
        segments.add(number // SEGMENT)
        hashes += id[:HASH_SIZE], digest
        size += length
        is_all = size <= _DELETE_BATCH_SIZE and len(segments) < _DELETE_SEGMENTS
        if not is_all:
            break
    drop_segments(connection, sorted(segments))
    forget(connection, conversation, hashes)
    connection.executemany("DELETE FROM message WHERE number = ?", numbers)
    if not is_all or len(numbers) == _DELETE_BATCH:
        return True
    if _delete_some_parts(connection, conversation) or delete_requests(connection, conversation):
        return True
    for table in ("exchange", "thread"):
        if (
            connection.execute(_DELETE_SOME.format(table), (conversation, _DELETE_BATCH)).rowcount
            == _DELETE_BATCH
        ):
            return True
    forget(connection, conversation, [hash for (hash,) in connection.execute(_HASHES, (conversation,))])
    for table in ("echo", "summary", "system_prompt", "tip"):
        connection.execute(f"DELETE FROM {table} WHERE conversation = ?", (conversation,))
    connection.execute("DELETE FROM conversation WHERE number = ?", (conversation,))
    return False


def _delete_some_parts(connection: sqlite3.Connection, conversation: int) -> bool:
    """Delete one batch of them, each of which may be megabytes; returns whether any may be left."""
    numbers: list[tuple[int]] = []
    size = 0
    for number, length in connection.execute(_NEXT_PARTS, (conversation, _DELETE_BATCH)):
        numbers.append((number,))
        size += length
        if size > _DELETE_BATCH_SIZE:
            break
    connection.executemany("DELETE FROM part WHERE number = ?", numbers)
    return bool(numbers)
