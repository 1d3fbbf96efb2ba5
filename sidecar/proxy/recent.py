"""The last request of each conversation that is under way, to recognise the unchanged front of the next by.

Comparing bytes is a hundred times cheaper than reading and hashing them. Bounded by the memory that the
requests take, read as they are: of tiny messages that is a hundred times their bytes. The conversation that
was longest silent goes first. Nothing depends on it but speed: what is not held is read again.
"""

from __future__ import annotations

from collections import OrderedDict

from sidecar.conversation.request import ChatRequest

__all__ = ["Recent"]

_LONGEST_NAME = 256  # characters; a longer one is no model's


class Recent:
    """Requests by conversation id, which holds the tenant; at most `room` bytes of memory."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._taken = 0
        self._requests: OrderedDict[str, ChatRequest] = OrderedDict()

    def last(self, conversation: str | None) -> ChatRequest | None:
        """The last request of this conversation, if it is still held."""
        return self._requests.get(conversation) if conversation else None

    def keep(self, conversation: str | None, request: ChatRequest) -> None:
        """Hold this request in place of the one before it."""
        if conversation is None:
            return
        old = self._requests.pop(conversation, None)
        self._taken -= old.weight if old else 0
        weight = request.weight
        if weight > self._room or len(request.model or "") > _LONGEST_NAME:
            return  # nobody else's has to go for one that cannot be held, nor for one that no model answers
        self._taken += weight
        self._requests[conversation] = request
        while self._taken > self._room:
            _, silent = self._requests.popitem(last=False)
            self._taken -= silent.weight
