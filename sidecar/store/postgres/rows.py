"""Values of the domain as parameters of a statement, and rows as values of the domain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.records import Thread
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.store import exchanges, threads
from sidecar.store.exchanges import EXCHANGE
from sidecar.store.parts import assembled, name_of, parts_of, shell, shell_of
from sidecar.store.threads import THREAD

__all__ = [
    "CONVERSATION",
    "NODE",
    "NO_EXCHANGE",
    "NO_THREAD",
    "Parts",
    "arrays_of",
    "body_of",
    "conversation_of",
    "exchange_row",
    "keys_of",
    "node_of",
    "nodes_of",
    "number_of",
    "text",
    "thread_row",
    "tree_of",
    "without_parts",
]

#: In the order of the fields of `Conversation` and `Node`.
CONVERSATION = ("id", "tenant", "key", "created_at", "updated_at", "tip", '"full"', "system", "weights")
NODE = (
    "id",
    "parent",
    "digest",
    "exact",
    "role",
    "body",
    "source",
    "state",
    "created_at",
    "message_id",
    "model",
    "usage",
    "finish_reason",
)
_ID, _ROLE, _BODY = NODE.index("id"), NODE.index("role"), NODE.index("body")
#: In the place of the columns of an exchange.
NO_EXCHANGE = (None,) * len(EXCHANGE)
#: The same for a thread.
NO_THREAD = (None,) * len(THREAD)
_PERSON = b"sidecar/number"
_LARGE = 1 << 20  # bytes of parts whose hashes take a millisecond


class Parts(NamedTuple):
    """Large parts of messages by their names, and each name with a message that it belongs to."""

    named: dict[bytes, bytes]
    messages: list[tuple[bytes, bytes]]


def number_of(id: str) -> UUID:
    """The short name of a conversation, or of a lease: a hash of it."""
    data = id.encode("utf-8", "surrogatepass")
    return UUID(bytes=blake2b(data, digest_size=16, person=_PERSON).digest())


def text(value: str | None) -> str | None:
    """As PostgreSQL can keep it: without NUL, which may stand in the name of a model."""
    return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value


def arrays_of(nodes: Sequence[Node]) -> list[list[Any]]:
    """A column each, in the order of `NODE`."""
    return [
        [each.id for each in nodes],
        [each.parent for each in nodes],
        [each.digest for each in nodes],
        [each.exact for each in nodes],
        [text(each.role) for each in nodes],
        [each.body for each in nodes],
        [each.source for each in nodes],
        [each.state for each in nodes],
        [each.created_at for each in nodes],
        [text(each.message_id) for each in nodes],
        [text(each.model) for each in nodes],
        [each.usage for each in nodes],
        [text(each.finish_reason) for each in nodes],
    ]


def keys_of(nodes: Iterable[Node], echoes: Iterable[bytes]) -> list[bytes]:
    """By what a conversation with these is recognised."""
    keys = dict.fromkeys(echoes)
    for node in nodes:
        keys[node.hash] = None
        if node.source == "upstream":
            keys[node.digest] = None
    return list(keys)


def node_of(row: Sequence[Any], at: int = 0) -> Node:
    """The node whose columns begin at `at`, with its parts behind them. Raises `StoreUnavailable` if one is
    damaged or missing."""
    node, parts = Node(*row[at : at + len(NODE)]), row[at + len(NODE)]
    return _whole(node, parts)


async def nodes_of(rows: Sequence[Sequence[Any]], at: int = 0) -> list[Node]:
    """`node_of` for each of the rows; of large parts in a thread."""
    parts = at + len(NODE)
    if sum(len(part) for row in rows for part in row[parts] or ()) > _LARGE:
        return await asyncio.to_thread(_nodes_of, rows, at)
    return _nodes_of(rows, at)


def _nodes_of(rows: Sequence[Sequence[Any]], at: int) -> list[Node]:
    return [node_of(row, at) for row in rows]


async def tree_of(rows: Sequence[Sequence[Any]]) -> list[Node]:
    """The nodes of rows of which those without a role are parts; with many bytes of these in a thread. Raises
    `StoreUnavailable` if one is damaged or missing."""
    parts = {row[_ID]: row[_BODY] for row in rows if row[_ROLE] is None}
    nodes = [Node(*row) for row in rows if row[_ROLE] is not None]
    if sum(map(len, parts.values())) > _LARGE:
        return await asyncio.to_thread(_tree_of, nodes, parts)
    return _tree_of(nodes, parts)


def _tree_of(nodes: Sequence[Node], parts: dict[bytes, bytes]) -> list[Node]:
    return [_whole(node, parts) for node in nodes]


def _whole(node: Node, parts: Mapping[bytes, bytes] | Sequence[bytes] | None) -> Node:
    try:
        body = body_of(node.body, parts)
    except ValueError as error:
        raise StoreUnavailable(f"the body of b2:{node.id.hex()} is not what was written there") from error
    return node if body is node.body else replace(node, body=body)


def body_of(stored: bytes, parts: Mapping[bytes, bytes] | Sequence[bytes] | None) -> bytes:
    """The body that is kept like this, with parts by their names, or its own in the order of these. Raises
    `ValueError` if it is damaged."""
    held = shell_of(stored)
    if held is None:
        return stored
    if not isinstance(parts, Mapping):
        parts = dict(zip(sorted(set(held.names)), parts or (), strict=True))
    return assembled(held, parts)


def without_parts(nodes: Sequence[Node]) -> tuple[list[Node], Parts]:
    """These messages as their rows keep them, and their large parts."""
    kept: list[Node] = []
    parts = Parts({}, [])
    for node in nodes:
        found = parts_of(node)
        if found is None:
            kept.append(node)
            continue
        names = [name_of(part) for part in found.parts]
        parts.named.update(zip(names, found.parts, strict=True))
        parts.messages.extend((name, node.id) for name in names)
        kept.append(replace(node, body=shell(len(node.body), found.places, names, found.rest)))
    return kept, parts


def conversation_of(row: Sequence[Any]) -> Conversation:
    """The conversation whose columns a row begins with."""
    return Conversation(*row[: len(CONVERSATION)])


def exchange_row(exchange: Exchange) -> list[Any]:
    """The columns of an exchange."""
    return [text(each) if type(each) is str else each for each in exchanges.row_of(exchange)]


def thread_row(thread: Thread) -> list[Any]:
    """The columns of a thread."""
    return [text(each) if type(each) is str else each for each in threads.row_of(thread)]
