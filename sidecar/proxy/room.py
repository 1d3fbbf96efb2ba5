"""Memory that requests share: how many bytes of one kind there may be at a time, in this process.

Rule: what is taken is given back, whatever becomes of the request that took it.
"""

from __future__ import annotations

__all__ = ["Room"]


class Room:
    """`size` bytes, of which some are taken."""

    __slots__ = ("size", "taken")

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    def take(self, number: int) -> bool:
        """Take so many bytes; False, and nothing taken, if there are not so many left."""
        if self.taken + number > self.size:
            return False
        self.taken += number
        return True

    def give_back(self, number: int) -> None:
        """So many bytes are free again."""
        self.taken -= number
