"""Which conversation a request belongs to, in the file's tables: by its id, or by what it re-sends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.conversation.records import Found
from sidecar.conversation.tree import Node
from sidecar.store.base import MAX_ALIKE, MAX_CANDIDATES
from sidecar.store.sqlite.maintenance import CONVERSATION, conversation_of
from sidecar.store.sqlite.nodes import NODE, is_tip, node_of
from sidecar.store.sqlite.record import alike

__all__ = ["FIND_CONVERSATION", "candidates", "find", "find_by_history", "one"]

#: A conversation by its id: its number in this file, its values, the number of its newest message.
FIND_CONVERSATION = f"SELECT number, {CONVERSATION}, newest FROM conversation WHERE id = ?"
_FIND_NODES = f"SELECT {NODE} FROM message WHERE conversation = ? AND id BETWEEN ? AND ? ORDER BY number"
_FIND_NODE = f"SELECT {NODE} FROM message WHERE conversation = ? AND id = ?"
_FIND_ECHO = "SELECT message FROM echo WHERE conversation = ? AND hash = ?"
_FIND_NUMBERED = "SELECT id, tenant, updated_at, newest FROM conversation WHERE number = ?"
_FIND_SIZE = "SELECT count(*) FROM message WHERE conversation = ?"
# The newest conversation, older than a given one, that is known by a hash.
_FIND_HOLDER = "SELECT max(conversation) FROM known_by WHERE hash = ? AND conversation < ?"
_NEWER_THAN_ALL = 1 << 62


def find(connection: sqlite3.Connection, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
    """As `Store.find`."""
    for each in ids:
        row = connection.execute(FIND_CONVERSATION, (each,)).fetchone()
        if row is not None and row[2] == tenant:
            break
    else:
        return Found()
    number, newest, conversation = row[0], row[-1], conversation_of(row[:-1])
    for hash in hashes:
        nodes = _named(connection, number, hash)
        if nodes:
            return Found(conversation, {hash: nodes}, is_tip(connection, number, newest, nodes[-1].id))
    return Found(conversation)


def _named(connection: sqlite3.Connection, conversation: int, hash: bytes) -> list[Node]:
    nodes = [
        node_of(connection, conversation, row)
        for row in connection.execute(_FIND_NODES, (conversation, *alike(hash)))
    ]
    if not nodes:
        echo = connection.execute(_FIND_ECHO, (conversation, hash)).fetchone()
        if echo is not None:
            nodes = [
                node_of(connection, conversation, row)
                for row in connection.execute(_FIND_NODE, (conversation, echo[0]))
            ]
    return nodes


def _holders(connection: sqlite3.Connection, hash: bytes, most: int) -> Iterator[int]:
    """The row numbers of the newest `most` conversations that are known by this hash or digest."""
    below = _NEWER_THAN_ALL
    for _ in range(most):
        below = connection.execute(_FIND_HOLDER, (hash, below)).fetchone()[0]
        if below is None:
            return
        yield below


def find_by_history(connection: sqlite3.Connection, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
    """As `Store.find_by_history`."""
    for hash in hashes:
        found = []
        for number in _holders(connection, hash, MAX_ALIKE):
            id, owner, updated_at, newest = one(_FIND_NUMBERED, number, connection)
            answers = _named(connection, number, hashes[-1])
            if owner == tenant and any(each.source == "upstream" for each in answers):
                last = _named(connection, number, hash)[-1].id
                found.append((is_tip(connection, number, newest, last), updated_at, number, str(id)))
        if found:
            return max(found)[-1]
    return None


def candidates(
    connection: sqlite3.Connection, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
) -> dict[str, int]:
    """As `Store.candidates`."""
    numbers: set[int] = set()
    for each in (*hashes, *digests):
        holders = list(_holders(connection, each, MAX_CANDIDATES + 1))
        if len(holders) <= MAX_CANDIDATES:
            numbers.update(holders)
    found: dict[str, int] = {}
    for number in sorted(numbers, reverse=True):
        id, owner, _updated_at, _newest = one(_FIND_NUMBERED, number, connection)
        if owner == tenant:
            found[id] = one(_FIND_SIZE, number, connection)[0]
    return found


def one(query: str, value: object, connection: sqlite3.Connection) -> Any:
    """The one row of a query with one value, or None."""
    return connection.execute(query, (value,)).fetchone()
