"""Nodes in SQLite's tables, and what is kept so that they are found.

Rules: `known_by` lists each hash that was recorded while its conversation had no key, and so may be asked for
by what it holds; and the echo of a name that it was given later. A tip, which nothing follows, is the
conversation's `newest` or stands in `tip`: so a turn at the tip that was recorded last, which is nearly every
one, writes no index but that of the ids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.tree import HASH_SIZE, Node, stored_values
from sidecar.errors import StoreUnavailable
from sidecar.store.parts import LARGE
from sidecar.store.sqlite.bodies import SMALL
from sidecar.store.sqlite.parts import keep_body, read_body

__all__ = ["ADD_NEWEST", "FIND_PARENT", "NODE", "add_echoes", "add_nodes", "forget", "is_tip", "node_of"]

#: In the order of the fields of `Node`.
NODE = (
    "id, parent, digest, exact, role, body, source, state, created_at, "
    "message_id, model, usage, finish_reason"
)
# Not OR IGNORE, which would also skip a new message that violates a constraint.
ADD_NODE = f"""
    INSERT INTO message (conversation, {NODE}) VALUES ({", ".join("?" * 14)})
    ON CONFLICT (conversation, id) DO NOTHING"""
ADD_ECHO = "INSERT OR REPLACE INTO echo (conversation, hash, message) VALUES (?, ?, ?)"
ADD_KNOWN_BY = "INSERT INTO known_by (hash, conversation) VALUES (?, ?) ON CONFLICT DO NOTHING"
DROP_KNOWN_BY = "DELETE FROM known_by WHERE hash = ? AND conversation = ?"
_HASHES_AND_DIGESTS = f"SELECT substr(id, 1, {HASH_SIZE}), digest FROM message WHERE conversation = ?"
_ECHOED = "SELECT hash FROM echo WHERE conversation = ?"
FIND_PARENT = "SELECT 1 FROM message WHERE conversation = ? AND id = ?"
FIND_TIP = "SELECT 1 FROM tip WHERE conversation = ? AND message = ?"
ADD_TIP = "INSERT INTO tip (conversation, message) VALUES (?, ?) ON CONFLICT DO NOTHING"
DROP_TIP = "DELETE FROM tip WHERE conversation = ? AND message = ?"
ADD_NEWEST = "UPDATE conversation SET newest = ? WHERE number = ?"


def node_of(connection: sqlite3.Connection, conversation: int, row: Sequence[Any]) -> Node:
    """The node of a row of `NODE`. Raises `StoreUnavailable` if its body is damaged."""
    node = Node(*row)
    try:
        body = read_body(connection, conversation, node.body)
    except ValueError as error:
        raise StoreUnavailable(f"the body of b2:{row[0].hex()} is not what was written there") from error
    return node if body is node.body else replace(node, body=body)


def add_nodes(
    connection: sqlite3.Connection,
    conversation: int,
    newest: bytes | None,
    nodes: Sequence[Node],
    *,
    is_known_by: bool,
    is_line: bool = False,
    small: int = SMALL,
) -> tuple[int, bytes | None]:
    """Add those that are not there yet: how many these are, and the tip that is the newest now.

    `newest`: the one before. `is_known_by`: the conversation is asked for by what it holds. `is_line`: each
    of them is the parent of the next. `small`: so many bytes of a body stay as they are.
    """
    added = []
    for node in nodes:
        if len(node.body) > LARGE and connection.execute(FIND_PARENT, (conversation, node.id)).fetchone():
            continue  # its parts would be nobody's, if it was recorded before there were any
        body = keep_body(connection, conversation, node, small)
        values = stored_values(node if body is node.body else replace(node, body=body))
        if connection.execute(ADD_NODE, (conversation, *values)).rowcount:
            added.append(node)
    if is_known_by:
        connection.executemany(ADD_KNOWN_BY, _keys(conversation, nodes))
    if not added:
        return 0, newest
    if is_line and len(added) == len(nodes) and nodes[0].parent == newest:
        return len(nodes), nodes[-1].id  # as nearly always: no other is left, and none is gone on from
    ids, followed = {node.id for node in added}, {node.parent for node in added}
    now = added[-1].id  # children come after parents, so nothing follows the last one
    left = ids - followed - {now}
    if newest is not None and newest not in followed:
        left.add(newest)
    gone_on = followed - ids - {None, newest}
    if gone_on:
        connection.executemany(DROP_TIP, [(conversation, id) for id in gone_on])
    if left:
        connection.executemany(ADD_TIP, [(conversation, id) for id in left])
    return len(added), now


def add_echoes(
    connection: sqlite3.Connection,
    conversation: int,
    echoes: Iterable[tuple[bytes, bytes]],
    *,
    is_known_by: bool,
) -> None:
    """Add other hashes by which nodes are named, each with its node."""
    rows = [(conversation, hash, node) for hash, node in echoes]
    connection.executemany(ADD_ECHO, rows)
    if is_known_by:
        connection.executemany(ADD_KNOWN_BY, [(hash, conversation) for _, hash, _node in rows])


def is_tip(connection: sqlite3.Connection, conversation: int, newest: bytes | None, node: bytes) -> bool:
    """Does nothing follow this node?"""
    return node == newest or connection.execute(FIND_TIP, (conversation, node)).fetchone() is not None


def forget(connection: sqlite3.Connection, conversation: int, hashes: Iterable[bytes]) -> None:
    """A conversation that is being deleted is no longer known by these."""
    connection.executemany(DROP_KNOWN_BY, [(hash, conversation) for hash in hashes])


def forget_all(connection: sqlite3.Connection, conversation: int) -> None:
    """A conversation that has taken a key is no longer known by anything that it holds."""
    for held in (_HASHES_AND_DIGESTS, _ECHOED):
        for keys in connection.execute(held, (conversation,)).fetchall():
            forget(connection, conversation, keys)


def _keys(conversation: int, nodes: Sequence[Node]) -> list[tuple[bytes, int]]:
    keys = [(node.id[:HASH_SIZE], conversation) for node in nodes]
    return keys + [(node.digest, conversation) for node in nodes if node.source == "upstream"]
