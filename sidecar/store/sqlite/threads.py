"""What roots are known by, in SQLite's table.

Rule: a client can begin roots in one conversation without end, and the ones used last must be found all the
same; but nearly all conversations have one or two, and an index by age would be written with every turn. So
it holds only those of crowded conversations, which have more than are looked at without an index.
"""

from __future__ import annotations

import sqlite3

from sidecar.conversation.records import Thread
from sidecar.store.threads import THREAD, row_of, thread_of

__all__ = ["add_thread", "find_threads", "replace_thread"]

#: So many roots of a conversation are looked at one by one.
_FEW = 64
FIND_NUMBER = "SELECT number FROM conversation WHERE id = ?"
# Of a crowded conversation every row says so; without the index these are too many to be counted each time.
FIND_CROWD = "SELECT is_crowded FROM thread WHERE conversation = ? LIMIT 1"
FIND_FULL = f"SELECT is_crowded FROM thread WHERE conversation = ? LIMIT 1 OFFSET {_FEW - 1}"
FIND_FEW = f"""
    SELECT {", ".join(THREAD)} FROM thread INDEXED BY thread_by_root WHERE conversation = ?
    ORDER BY updated_at DESC, root DESC LIMIT ?"""
FIND_LAST = f"""
    SELECT {", ".join(THREAD)} FROM thread WHERE conversation = ? AND is_crowded
    ORDER BY updated_at DESC, root DESC LIMIT ?"""
# Plain `?` alone: the early releases of Python 3.12 take numbered ones for names, and warn of each.
# The same as `joined`, without a look at what is there.
ADD_TO_THREAD = """
    UPDATE thread SET head = coalesce(?, head), system = ?, model = coalesce(?, model), tools = ?,
        is_answered = max(is_answered, ?), is_thin = max(is_thin, ?), is_whole = max(is_whole, ?),
        updated_at = ?
    WHERE conversation = ? AND root = ?"""
ADD_IN_PLACE = """
    UPDATE thread SET head = ?, system = ?, model = ?, tools = ?, is_answered = ?, is_thin = ?,
        is_whole = ?, updated_at = ?
    WHERE conversation = ? AND root = ?"""
ADD_THREAD = f"""
    INSERT INTO thread (conversation, {", ".join(THREAD)}, is_crowded) VALUES ({", ".join("?" * 11)})"""
ADD_CROWD = "UPDATE thread SET is_crowded = 1 WHERE conversation = ?"


def add_thread(connection: sqlite3.Connection, conversation: int, thread: Thread) -> None:
    """Add what a request told of a root to what is known of it."""
    root, *values = row_of(thread)
    if not connection.execute(ADD_TO_THREAD, (*values, conversation, root)).rowcount:
        _begin(connection, conversation, root, values)


def replace_thread(connection: sqlite3.Connection, conversation: int, thread: Thread) -> None:
    """Put it in the place of what was known of its root."""
    root, *values = row_of(thread)
    if not connection.execute(ADD_IN_PLACE, (*values, conversation, root)).rowcount:
        _begin(connection, conversation, root, values)


def find_threads(connection: sqlite3.Connection, conversation: str, limit: int) -> list[Thread]:
    """The ones updated last, the newest first."""
    found = connection.execute(FIND_NUMBER, (conversation,)).fetchone()
    if found is None:
        return []
    query = FIND_LAST if connection.execute(FIND_CROWD, found).fetchone() == (1,) else FIND_FEW
    return [thread_of(conversation, row) for row in connection.execute(query, (*found, limit))]


def _begin(connection: sqlite3.Connection, conversation: int, root: bytes, values: list[object]) -> None:
    """Add the row of a root that has none."""
    full = connection.execute(FIND_FULL, (conversation,)).fetchone()
    if full == (0,):  # with this one it is crowded
        connection.execute(ADD_CROWD, (conversation,))
    connection.execute(ADD_THREAD, (conversation, root, *values, full is not None))
