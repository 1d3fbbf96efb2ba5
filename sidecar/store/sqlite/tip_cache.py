"""A cache of the last recorded message of each conversation: the common request needs no query.

Rule: the cache never differs from the file. It is cleared as a whole when another process has written (each
writer puts a stamp of its own into the lock file), when another file appears under the name, and when this
process deletes or replaces anything. A write by another process may go unnoticed for a moment; a caller that
must not miss it queries the store.

A tip is cached only if no other message of its conversation has the same content, so that its hash alone
identifies it.
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

_MAX_SIZE = 16 << 20  # bytes of cached messages
_OVERHEAD = 1024  # bytes for a conversation besides its messages; its ids are short
_COPIES = 2  # once a request has read the body, what it says is held a second time
_PER_CHARACTER = 4  # bytes that one takes at most
_STAMP_INTERVAL = 0.02  # seconds between two reads of the stamp


class CachedTip(msgspec.Struct, frozen=True):
    """A conversation after an update, and the era of the cache in which that was recorded."""

    conversation: Conversation
    tip: Node
    era: object
    #: Bytes of memory that it takes, about.
    size: int


class TipCache:
    """The tips of conversations; used by the event loop, and by the writing thread where it is said."""

    def __init__(self, file: str, locks: FileLocks, room: int = _MAX_SIZE) -> None:
        self._file = file
        self._locks = locks
        self._stamp = secrets.token_bytes(locks.STAMP)
        #: Replaced by a new object whenever the cache may be stale; None while that is unknown.
        self._era: object | None = None
        self._held: OrderedDict[str, CachedTip] = OrderedDict()
        self._room = room
        self._taken = 0
        self._looked = 0.0
        self._identity: tuple[int, int] | None = None
        self._version = 0

    def opened(self) -> None:
        """In the writer thread: the file has been opened, and may be another one."""
        self._era = None

    def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found | None:
        """What the store would find; None on a cache miss."""
        left = self._held.get(ids[0])
        if left is None or left.era is not self._era:
            return None
        hash = left.tip.hash
        if left.conversation.tenant != tenant or hash not in hashes or not self._is_alone():
            return None
        return Found(left.conversation, {hash: [left.tip]}, is_tip=True)

    def keep(self, conversation: str, left: CachedTip | None) -> None:
        """Cache a conversation after an update; None if a single tip cannot describe it."""
        before = self._held.pop(conversation, None)
        if before is not None:
            self._taken -= before.size
        if left is None:
            return
        self._held[conversation] = left
        self._taken += left.size
        while self._taken > self._room:
            self._taken -= self._held.popitem(last=False)[1].size

    def clear(self) -> None:
        """Drop everything: something has been deleted or replaced."""
        self._era = object() if self._era is not None else None

    def begin(self, connection: sqlite3.Connection) -> None:
        """In the writer thread, while no other process can write: clear the cache if one has written.

        `PRAGMA data_version` also detects programs that put no stamp, but on this connection only.
        """
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        try:
            if self._era is None or version != self._version or self._locks.stamp() != self._stamp:
                self._era = None  # until all is in place: the event loop reads it meanwhile
                self._version = version
                self._locks.put_stamp(self._stamp)
                self._identity = self._found()
                self._era = object()
        except (OSError, StoreUnavailable):  # whoever needs that file reports the error
            self._era = None

    def holds(self, conversation: str, node: bytes) -> bool:
        """In the writer thread: is this still the tip, and the only message with its content?"""
        left = self._held.get(conversation)
        return left is not None and left.era is self._era and left.tip.id == node

    def left(self, conversation: Conversation, tip: Node) -> CachedTip | None:
        """In the writer thread: what to `keep` of an update that is being recorded."""
        if self._era is None:
            return None
        return CachedTip(conversation, tip, self._era, _size(tip))

    def _is_alone(self) -> bool:
        now = time.monotonic()
        if now - self._looked > _STAMP_INTERVAL:
            try:
                if self._locks.stamp() != self._stamp or self._found() != self._identity:
                    self.clear()
                    return False
            except (OSError, StoreUnavailable):
                return False
            self._looked = now
        return True

    def _found(self) -> tuple[int, int]:
        """The identity of the file that is under the name now."""
        found = os.stat(self._file)
        return found.st_dev, found.st_ino


def _size(tip: Node) -> int:
    """Estimated bytes of memory; fields whose length the upstream chooses count in full."""
    told = len(tip.model or "") + len(tip.finish_reason or "")
    return _COPIES * len(tip.body) + len(tip.usage or b"") + _PER_CHARACTER * told + _OVERHEAD
