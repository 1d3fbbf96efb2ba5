"""Memory that is free goes back to the system, and what nobody asks for any more is forgotten.

glibc takes large blocks from the system one by one and gives each back when it is free, but for those below
the size of the largest that was ever freed: after one chat with images each body stays where it was. Smaller
blocks it gives back from the end of its heap alone, unless it is told to look through all of it.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from contextlib import suppress

__all__ = ["IdleMemory", "give_back_free_pages", "give_back_large_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 1 << 20  # bytes
_KEPT = 4 << 20  # bytes that stay at the end of the heap, for the next request
_INTERVAL = 30.0  # seconds


class IdleMemory:
    """A timer that has what is silent forgotten, and its memory given back.

    That is done on the event loop, since every thread would wait for the heap meanwhile: 0.1 ms where little
    was freed, and 3 ms after 60 MB.
    """

    def __init__(self, forget: Callable[[], None], interval: float = _INTERVAL) -> None:
        self._forget = forget
        self._interval = interval  # seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look now and then."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._forget()
        give_back_free_pages()
        self.start()


def give_back_large_blocks() -> bool:
    """Have all blocks above a MiB given back as soon as they are free. False where there is no glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
    return False


def give_back_free_pages() -> None:
    """Give back every page of the heap on which nothing is left. Nothing is done where there is no glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(_KEPT)
