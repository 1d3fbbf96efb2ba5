"""The bytes of one reply while it is relayed, as far as the limits allow to keep them.

Rules: beyond `limits.max_reply` nothing more is kept, and what is kept by then is the beginning. The first
MiB of a reply is always kept; for each further one there has to be room among all replies that are being
relayed (`limits.replies_in_flight`), so that many long ones cannot take all memory either. A stream is
compacted as it grows, for its words are a small part of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.proxy.room import Room

__all__ = ["ALL_REPLIES", "MAX_REPLY", "Kept"]

_GROWTH_STEP = 1 << 20  # bytes
_END = b"\n\n"
#: The settings that may be the reason for keeping only the beginning.
MAX_REPLY, ALL_REPLIES = "limits.max_reply", "limits.replies_in_flight"


class Kept:
    """Extend `data` with each piece, and call `grow` whenever it has become longer than `mark`.

    One buffer, not a list of pieces: as an object of its own a piece of some bytes takes ten times as much.
    """

    __slots__ = (
        "_beginning",
        "_compact",
        "_compacted",
        "_limit",
        "_room",
        "_taken",
        "cut_by",
        "data",
        "mark",
    )

    def __init__(self, limit: int, room: Room, compact: Callable[[bytes], bytes] | None = None) -> None:
        self.data = bytearray()
        self.mark = min(_GROWTH_STEP, limit)
        #: The setting that was the reason for keeping only the beginning; empty where all is kept.
        self.cut_by = ""
        self._compact = compact
        self._compacted = 0
        self._beginning = b""
        self._limit = limit
        self._room = room
        self._taken = 0

    def grow(self) -> bool:
        """Make room for what has come. True, once, if there is none and nothing more is kept."""
        if self.mark < 0:
            self.data.clear()
            return False
        if self._compact is not None:
            self._shorten(self._compact)
        # Half a step at least is to come before the next look.
        while len(self.data) > self.mark - _GROWTH_STEP // 2:
            step = min(_GROWTH_STEP, self._limit - self.mark)
            if not step and len(self.data) <= self.mark:
                return False
            if not step:
                return self._cut(MAX_REPLY)
            if not self._room.take(step):
                return len(self.data) > self.mark and self._cut(ALL_REPLIES)
            self._taken += step
            self.mark += step
        return False

    def take(self) -> bytes:
        """What was kept; nothing that comes from now on is."""
        kept, self._beginning = self._beginning if self.cut_by else bytes(self.data), b""
        self._close()
        return kept

    def release(self) -> None:
        """What was kept is needed no more."""
        self._close()
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0

    def _shorten(self, compact: Callable[[bytes], bytes]) -> None:
        start, end = self._compacted, self.data.rfind(_END, self._compacted) + len(_END)
        if end > start + len(_END):
            shorter = compact(bytes(self.data[start:end]))
            self.data[start:end] = shorter
            self._compacted = start + len(shorter)

    def _cut(self, limit: str) -> bool:
        with memoryview(self.data) as view:
            self._beginning = bytes(view[: self.mark])
        self.cut_by = limit
        self._close()
        return True

    def _close(self) -> None:
        self.mark = -1
        self.data.clear()
