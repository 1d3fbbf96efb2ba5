"""The values that stores keep and give back, besides messages: what all of them and their users speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sidecar.conversation.history import Conversation, Node

__all__ = ["Found", "Holding", "Summary", "Turn", "Whole"]


class Found(msgspec.Struct, frozen=True):
    """What is known of a conversation at the deepest stored place of a request.

    `nodes` maps the hash that was found to the nodes that read alike there, oldest first; it is empty
    if no hash was found. `is_tip`: nothing lies under the newest of them.
    """

    conversation: Conversation | None = None
    nodes: Mapping[bytes, Sequence[Node]] = msgspec.field(default_factory=dict)
    is_tip: bool = False


class Turn(msgspec.Struct, frozen=True):
    """What one request and its reply add to a conversation.

    `nodes`: parents before children. `echoes`: hashes under which the client will name a node, where
    they are not the node's own. `system`: the request's leading messages, a JSON array, or None. A
    conversation whose `tip` or `weights` is None keeps what it has.
    """

    conversation: Conversation
    nodes: tuple[Node, ...]
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: bytes | None = None


class Summary(msgspec.Struct, frozen=True):
    """What a model made of the front of a path; `hash` names that front."""

    hash: bytes
    text: str
    model: str
    created_at: float


class Holding(msgspec.Struct, frozen=True):
    """What one conversation takes up; `size` in bytes, of what was said and of reported usage."""

    id: str
    tenant: bytes
    key: str | None
    created_at: float
    updated_at: float
    messages: int = 0
    size: int = 0


class Whole(msgspec.Struct, frozen=True):
    """All that a store holds of one conversation. `nodes`: in the order in which they were recorded."""

    conversation: Conversation
    nodes: tuple[Node, ...] = ()
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: tuple[bytes, bytes] | None = None
    summaries: tuple[Summary, ...] = ()
