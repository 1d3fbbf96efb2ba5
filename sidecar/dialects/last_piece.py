"""The end of a body of which nothing else is known."""

from __future__ import annotations

__all__ = ["LastPiece"]


class LastPiece:
    """The end of a body that is not a stream of events: its last piece."""

    __slots__ = ("done", "held")

    def __init__(self) -> None:
        self.held = b""
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        """The piece before this one."""
        before, self.held = self.held, chunk
        return before
