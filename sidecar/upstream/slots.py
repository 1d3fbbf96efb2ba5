"""Which of the engine's cache slots a conversation is on.

Rule: a conversation stays on its slot until that belongs to the one that was longest silent, and a new one
needs it. So as many chats as there are slots never drive each other out; by a hash alone two chats would be
on one of two slots every other time. The hash tells where to begin, so that most chats come back to theirs
after a restart.
"""

from __future__ import annotations

from collections import OrderedDict

from sidecar.conversation.identity import slot_of

__all__ = ["Slots"]


class Slots:
    """So many slots, numbered from 0, and the conversations (by id) that were on them last."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._slots: OrderedDict[str, int] = OrderedDict()  # the one that was longest silent stands first

    def of(self, conversation: str) -> int:
        """The slot for a request of this conversation."""
        slot = self._slots.pop(conversation, None)
        if slot is None:
            slot = self._new(conversation)
        self._slots[conversation] = slot
        return slot

    def _new(self, conversation: str) -> int:
        if len(self._slots) == self._count:
            return self._slots.popitem(last=False)[1]
        taken, home = set(self._slots.values()), slot_of(conversation, self._count)
        return next(slot for at in range(self._count) if (slot := (home + at) % self._count) not in taken)
