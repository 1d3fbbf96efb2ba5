"""Where the conversations stand that this process recorded last: the usual turn is found without asking.

Rule: what is at hand is never other than what the file would say. So it is dropped as a whole when another
process has written (each that writes puts a stamp of its own into the file beside the store), when another
file has come under the name, and when this process deletes or replaces anything. What others did may be a
moment old before it is noticed; who must not miss it asks the store.

A tip is held only if no other message of its conversation reads like it, so that its hash alone names it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from sidecar.conversation.records import Found
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.store.sqlite.file_locks import FileLocks

__all__ = ["CachedTip", "TipCache"]

_MAX_SIZE = 16 << 20  # bytes of messages that are held
_OVERHEAD = 1024  # bytes that a conversation takes besides; its ids are short
_COPIES = 2  # once a request has read the body, what it says is held a second time
_PER_CHARACTER = 4  # bytes that one takes at most
_STAMP_INTERVAL = 0.02  # seconds between two looks at the stamp


class CachedTip(msgspec.Struct, frozen=True):
    """How a turn left its conversation, in the era in which it was recorded."""

    conversation: Conversation
    tip: Node
    era: object


class TipCache:
    """The tips of conversations; used by the event loop, and by the writing thread where it is said."""

    def __init__(self, file: str, turns: FileLocks, room: int = _MAX_SIZE) -> None:
        self._file = file
        self._turns = turns
        self._stamp = secrets.token_bytes(turns.STAMP)
        #: Another object after every event that makes what is held doubtful; None while that cannot be told.
        self._era: object | None = None
        self._held: OrderedDict[str, CachedTip] = OrderedDict()
        self._room = room
        self._taken = 0
        self._looked = 0.0
        self._identity: tuple[int, int] | None = None
        self._version = 0

    def opened(self) -> None:
        """In the writing thread: the file has been opened, and may be another."""
        self._era = None

    def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found | None:
        """What the store would find; None if that is not known here."""
        left = self._held.get(ids[0])
        if left is None or left.era is not self._era:
            return None
        hash = left.tip.hash
        if left.conversation.tenant != tenant or hash not in hashes or not self._is_alone():
            return None
        return Found(left.conversation, {hash: [left.tip]}, is_tip=True)

    def keep(self, conversation: str, left: CachedTip | None) -> None:
        """Hold how a turn has left its conversation; None if that cannot be told by one tip."""
        before = self._held.pop(conversation, None)
        if before is not None:
            self._taken -= _size(before)
        if left is None:
            return
        self._held[conversation] = left
        self._taken += _size(left)
        while self._taken > self._room:
            self._taken -= _size(self._held.popitem(last=False)[1])

    def clear(self) -> None:
        """Something has been deleted or replaced."""
        self._era = object() if self._era is not None else None

    def begin(self, connection: sqlite3.Connection) -> None:
        """In the writing thread, while no other process can write: take note if one has.

        SQLite itself tells that, also of programs that put no stamp; but to this connection alone.
        """
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        try:
            if self._era is None or version != self._version or self._turns.stamp() != self._stamp:
                self._era = None  # until all is in place: the event loop looks on
                self._version = version
                self._turns.put_stamp(self._stamp)
                self._identity = self._found()
                self._era = object()
        except (OSError, StoreUnavailable):  # whoever needs that file says what is wrong with it
            self._era = None

    def holds(self, conversation: str, node: bytes) -> bool:
        """In the writing thread: is this still the tip of the conversation, and does nothing read like it?"""
        left = self._held.get(conversation)
        return left is not None and left.era is self._era and left.tip.id == node

    def left(self, conversation: Conversation, tip: Node) -> CachedTip | None:
        """In the writing thread: what to `keep` of a turn that is being recorded."""
        return CachedTip(conversation, tip, self._era) if self._era is not None else None

    def _is_alone(self) -> bool:
        now = time.monotonic()
        if now - self._looked > _STAMP_INTERVAL:
            try:
                if self._turns.stamp() != self._stamp or self._found() != self._identity:
                    self.clear()
                    return False
            except (OSError, StoreUnavailable):
                return False
            self._looked = now
        return True

    def _found(self) -> tuple[int, int]:
        """Which file there is under the name."""
        found = os.stat(self._file)
        return found.st_dev, found.st_ino


def _size(left: CachedTip) -> int:
    """In bytes of memory, about; what an upstream may make as long as it likes counts in full."""
    tip = left.tip
    told = len(tip.model or "") + len(tip.finish_reason or "")
    return _COPIES * len(tip.body) + len(tip.usage or b"") + _PER_CHARACTER * told + _OVERHEAD
