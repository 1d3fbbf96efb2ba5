"""Bodies in SQLite's tables: large parts in rows of their own, and all of it as `bodies` keeps it."""

from __future__ import annotations

import sqlite3

from sidecar.conversation.tree import Node
from sidecar.store.parts import assembled, name_of, parts_of, shell, shell_of
from sidecar.store.sqlite.bodies import SMALL, body_of, stored_body

__all__ = ["delete_parts", "keep_body", "read_body"]

FIND_PART = "SELECT bytes FROM part WHERE conversation = ? AND name = ?"
FIND_NAME = "SELECT 1 FROM part WHERE conversation = ? AND name = ?"
ADD_PART = "INSERT INTO part (conversation, name, bytes) VALUES (?, ?, ?)"
_DELETE_PARTS = "DELETE FROM part WHERE conversation = ?"


def keep_body(connection: sqlite3.Connection, conversation: int, node: Node, small: int = SMALL) -> bytes:
    """Add what parts of this message are not there yet: what its row is to hold of its body.

    `small`: so many bytes of it stay as they are.
    """
    cut = parts_of(node)
    if cut is None:
        return stored_body(node.body, small)
    names = [name_of(part) for part in cut.parts]
    for name, part in dict(zip(names, cut.parts, strict=True)).items():
        if connection.execute(FIND_NAME, (conversation, name)).fetchone() is None:
            connection.execute(ADD_PART, (conversation, name, stored_body(part)))
    return shell(len(node.body), cut.places, names, stored_body(cut.rest, small))


def read_body(connection: sqlite3.Connection, conversation: int, stored: bytes) -> bytes:
    """The body of which this was kept. Raises `ValueError` if something of it is damaged or missing."""
    held = shell_of(stored)
    if held is None:
        return body_of(stored)
    parts = {}
    for name in held.names:
        row = connection.execute(FIND_PART, (conversation, name)).fetchone() if name not in parts else None
        if row is not None:
            parts[name] = body_of(row[0])
    return assembled(held._replace(rest=body_of(held.rest)), parts)


def delete_parts(connection: sqlite3.Connection, conversation: int) -> None:
    """Of a conversation whose bodies are written anew."""
    connection.execute(_DELETE_PARTS, (conversation,))
