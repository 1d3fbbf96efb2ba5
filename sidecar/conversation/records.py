"""The values that stores keep and give back of a conversation, besides its messages and exchanges.

What all stores and their users speak of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.tree import Conversation, Node

__all__ = [
    "ConversationStats",
    "ConversationUpdate",
    "Found",
    "Snapshot",
    "Summary",
    "Thread",
    "joined",
]


class Found(msgspec.Struct, frozen=True):
    """What is known of a conversation at the deepest stored place of a request.

    `nodes` maps the hash that was found to the nodes that read alike there, oldest first; it is empty
    if no hash was found. `is_tip`: nothing lies under the newest of them.
    """

    conversation: Conversation | None = None
    nodes: Mapping[bytes, Sequence[Node]] = msgspec.field(default_factory=dict)
    is_tip: bool = False


class Thread(msgspec.Struct, frozen=True):
    """What one root and the messages under it are known by: what one thin client talks.

    Of every root there is one; `joined` says what becomes of it when the root's next turn is recorded.
    """

    #: The root node's id.
    root: bytes
    #: The node behind which an append goes: its newest message that an upstream may see again.
    head: bytes | None = None
    #: The leading system messages (a JSON array), as last sent; None: none were sent.
    system: bytes | None = None
    #: As last asked for.
    model: str | None = None
    #: The names of the tools last sent; see `tools_of`.
    tools: tuple[str, ...] = ()
    #: It has a reply with a word or a finished call.
    is_answered: bool = False
    #: An append was answered in it.
    is_thin: bool = False
    #: A request held it, its final answer and a later question.
    is_whole: bool = False
    #: Unix seconds.
    updated_at: float = 0.0


def joined(old: Thread | None, new: Thread) -> Thread:
    """What is kept of a root once `new` has been recorded after `old`.

    `new` stands in place of `old`, with three exceptions: a `head` or `model` that it does not name stays as
    it was, and what was once answered, thin or whole remains so. A `system` of None is no exception: it
    says that none was sent.
    """
    if old is None:
        return new
    return replace(
        new,
        head=new.head if new.head is not None else old.head,
        model=new.model if new.model is not None else old.model,
        is_answered=new.is_answered or old.is_answered,
        is_thin=new.is_thin or old.is_thin,
        is_whole=new.is_whole or old.is_whole,
    )


class ConversationUpdate(msgspec.Struct, frozen=True):
    """What one request and its reply add to a conversation.

    `nodes`: parents before children. `echoes`: hashes under which the client will name a node, where
    they are not the node's own. `system`: the request's leading messages, a JSON array, or None. A
    conversation whose `tip` or `weights` is None keeps what it has, as does one that has a `key` where this
    has none, and its `updated_at` never goes back.
    `exchange` and `thread` are kept with them, the latter as `joined` says. `beside`: where an exchange comes
    without messages, one of its conversation, which may have been deleted meanwhile. `is_found_by_echo`: the
    conversation has a key, or takes it with this, and `find_by_history` finds it by these echoes alone.
    """

    conversation: Conversation
    nodes: tuple[Node, ...]
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: bytes | None = None
    exchange: Exchange | None = None
    thread: Thread | None = None
    beside: bytes | None = None
    is_found_by_echo: bool = False

    @property
    def after(self) -> bytes | None:
        """The message that it goes on from, which has to be there; None if it begins at a root."""
        if self.nodes:
            return self.nodes[0].parent
        return (self.exchange.parent if self.exchange else None) or self.beside


class Summary(msgspec.Struct, frozen=True):
    """What a model made of the front of a path; `hash` names that front."""

    hash: bytes
    text: str
    model: str
    created_at: float


class ConversationStats(msgspec.Struct, frozen=True):
    """What one conversation takes up; `size` in bytes: what was said, reported usage, exchanges' details,
    threads' prompts, requests that are kept."""

    id: str
    tenant: bytes
    key: str | None
    created_at: float
    updated_at: float
    messages: int = 0
    size: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """All that a store holds of one conversation. `nodes`: in the order in which they were recorded;
    `exchanges`: in the order in which they began; `threads`: in that of their roots' ids. `found_by`: of one
    that has a key the echoes by which `find_by_history` finds it; one that has none is found by all it holds.
    """

    conversation: Conversation
    nodes: tuple[Node, ...] = ()
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: tuple[bytes, bytes] | None = None
    summaries: tuple[Summary, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    threads: tuple[Thread, ...] = ()
    found_by: tuple[bytes, ...] = ()
