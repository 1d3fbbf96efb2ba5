"""Where a reply ends that goes to the client as it came: what of it is held back until it is in the store.

Of one that is translated, its `Translation` knows.
"""

from __future__ import annotations

from sidecar.dialects.base import Dialect, End
from sidecar.dialects.last_piece import LastPiece
from sidecar.proxy.record import Recording
from sidecar.upstream.content_encoding import COMPRESSED, Decompressor

__all__ = ["end_of"]

_MAX_SEARCHED = 64 << 20  # unpacked bytes of a packed stream in which its end is looked for
_MAX_HELD = 64 << 10  # packed bytes that may wait to be told from its end


def end_of(recording: Recording) -> End:
    """What holds back the end of the reply that is being recorded."""
    if recording.coding not in COMPRESSED:
        return recording.call.dialect.end(streamed=recording.streamed)
    return _PackedEnding(recording.coding, recording.call.dialect) if recording.streamed else LastPiece()


class _PackedEnding:
    """The end of a compressed stream: the pieces, as they came, in which `[DONE]` is packed."""

    __slots__ = ("_left", "_unpacked", "_unpacker", "done", "held")

    def __init__(self, coding: str, dialect: Dialect) -> None:
        self.held = b""
        self.done = False
        self._unpacker: Decompressor | None = Decompressor(coding)
        self._unpacked = dialect.end(streamed=True)
        self._left = _MAX_SEARCHED

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the client now: all that unpacks to nothing which has to wait."""
        pieces, self.held = self.held + chunk, b""
        if self._left >= 0 and not self.done:
            self._look(chunk, pieces)
            self.done = self._unpacked.done
        if self.done or (self._left >= 0 and self._unpacked.held and len(pieces) <= _MAX_HELD):
            pieces, self.held = b"", pieces
        return pieces

    def _look(self, chunk: bytes, pieces: bytes) -> None:
        if self._unpacker is None:
            self._unpacked.feed(chunk)
            return
        try:
            for piece in self._unpacker.pieces(chunk):
                self._unpacked.feed(piece)
                self._left -= len(piece)
                if self._left < 0:
                    return
        except ValueError:  # not packed as it says, so it is looked through as it is, from here on
            self._unpacker = None
            self._unpacked.feed(pieces)
