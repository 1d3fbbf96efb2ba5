"""What is told of conversations to whoever looks at them: lists, and the shape of a tree without its words.

Rule: none of it grows with the length of what was said. What is large is told by its size alone.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.tree import Conversation, Node, Source, State

__all__ = ["MAX_FIRST", "Outline", "Overview", "Overviews", "Spent", "Stem"]

#: A first message of more bytes, as it is stored, is not read for a list.
MAX_FIRST = 64 << 10


class Overview(msgspec.Struct, frozen=True):
    """One conversation in a list.

    `branches` counts messages that nothing follows, `errors` the exchanges that did not end well. `first`:
    the message that was recorded first, None where there is none or it has more than `MAX_FIRST` bytes;
    `first_size`: those bytes. `last`: the exchange that began last, `earlier`: some that began before it, the
    newest first, without those that cannot be read. `problem`: why one of these two, which
    then is None, cannot be read: what is damaged in one hides no other.
    """

    id: str
    tenant: bytes
    key: str | None
    created_at: float
    updated_at: float
    messages: int = 0
    branches: int = 0
    exchanges: int = 0
    errors: int = 0
    first: Node | None = None
    first_size: int = 0
    last: Exchange | None = None
    problem: str = ""
    earlier: tuple[Exchange, ...] = ()


class Overviews(msgspec.Struct, frozen=True):
    """A page of a list, and how many conversations there are in all."""

    total: int
    conversations: tuple[Overview, ...]


class Spent(msgspec.Struct, frozen=True):
    """An exchange and whose it is. `begun`: when its conversation was (Unix seconds). `is_damaged`: its
    detail cannot be read, and is empty here."""

    tenant: bytes
    begun: float
    exchange: Exchange
    is_damaged: bool = False


class Stem(msgspec.Struct, frozen=True, gc=False):
    """A node without what it says; `size`: the bytes of that, as they are stored."""

    id: bytes
    parent: bytes | None
    role: str
    source: Source
    state: State
    created_at: float
    model: str | None
    finish_reason: str | None
    size: int


class Outline(msgspec.Struct, frozen=True):
    """The shape of a conversation's tree; `stems` in the order in which the messages were recorded."""

    conversation: Conversation
    stems: tuple[Stem, ...]
