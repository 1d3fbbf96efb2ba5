"""A chat request, once it has been read: who asks, about what, and what is known of its client by that."""

from __future__ import annotations

from typing import Literal

import msgspec

from sidecar.conversation.identity import Identity
from sidecar.conversation.tree import Chain
from sidecar.dialects.chat.request import ChatRequest

__all__ = ["ChatCall", "Mode"]

Mode = Literal["auto", "full", "append", "off"]


class ChatCall(msgspec.Struct, frozen=True):
    """A chat request, understood."""

    identity: Identity
    chain: Chain
    chat: ChatRequest
    mode: Mode
    is_task: bool
    #: Under which the upstream and the client know the conversation; None until one is found or made.
    conversation_id: str | None
    #: Does it show that its client sends the whole history?
    is_full: bool
    #: Could it be from a client that sends only what is new?
    may_append: bool
    #: Does it take part in a history at all?
    is_kept: bool
    #: May anything be cut from it, or from what is sent again after a refusal?
    may_be_cut: bool = True
    #: Does its client wait for a refusal for length, to compact the history by itself?
    awaits_refusal: bool = False

    @property
    def place_in_line(self) -> str | None:
        """The conversation to which requests have to be served one after another; None if this need not."""
        return self.conversation_id if self.may_append and self.is_kept else None
