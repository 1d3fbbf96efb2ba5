"""A chat request, once it has been read: of which kind it is, who asks, and about what."""

from __future__ import annotations

from typing import Literal

import msgspec

from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.tree import Chain
from sidecar.dialects.base import Dialect, Request

__all__ = ["Call", "ChatCall", "Mode", "TaskCall", "UnrecordedCall", "brings_no_history"]

Mode = Literal["auto", "full", "append", "off"]


class TaskCall(msgspec.Struct, frozen=True):
    """A background task of a front end, such as a title: it leaves no trace in any history."""

    identity: Identity
    dialect: Dialect
    chat: Request
    conversation_id: str | None
    #: What `X-Sidecar-History` said of it, which changes nothing.
    mode: Mode


class UnrecordedCall(msgspec.Struct, frozen=True):
    """A request that goes as it came and is not kept: `X-Sidecar-History: off`."""

    identity: Identity
    dialect: Dialect
    chat: Request
    conversation_id: str | None
    mode: Mode = "off"


class ChatCall(msgspec.Struct, frozen=True):
    """A request about a conversation, or about a temporary chat of which nothing is kept."""

    identity: Identity
    dialect: Dialect
    chain: Chain
    chat: Request
    mode: Mode
    #: Under which the upstream and the client know the conversation; None until one is found or made.
    conversation_id: str | None
    #: Nothing in it alone shows that its client sends the whole history: it may rely on the store.
    brings_no_history: bool
    #: The client says that it sends this again, which it has sent before (`x-stainless-retry-count`).
    is_sent_again: bool = False
    #: May anything be cut from it, or from what is sent again after a refusal?
    may_be_cut: bool = True
    #: Does its client wait for a refusal for length, to compact the history by itself?
    awaits_refusal: bool = False

    @property
    def is_temporary(self) -> bool:
        """Nothing of it may be kept."""
        return self.identity.kind is Kind.TEMPORARY

    @property
    def is_named(self) -> bool:
        """It names a chat of its own: only into such a request anything may be put."""
        return self.identity.key is not None and self.identity.kind is Kind.CHAT


def brings_no_history(identity: Identity, chat: Request, mode: Mode) -> bool:
    """Does nothing in a request show that its client sends the whole history? It may rely on the store."""
    if identity.key is None or identity.kind is not Kind.CHAT or not chat.path.messages:
        return False
    if mode == "append":
        return True
    shows_history = chat.prefill or chat.last_answer or identity.sends_history
    return mode == "auto" and not shows_history and not identity.by_agent


def relies_on_calls(dialect: Dialect, chat: Request) -> bool:
    """Does a request bring results whose calls nothing but a stored line can hold, though it does not say
    where that is? Over an API that knows of conversations such a one is refused where there is none."""
    if not dialect.is_translated or chat.behind is not None or chat.conversation is not None:
        return False
    return bool(chat.path.messages) and chat.path.messages[0].role == "tool"


Call = TaskCall | UnrecordedCall | ChatCall
