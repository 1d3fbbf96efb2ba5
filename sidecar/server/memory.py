"""Memory that is free goes back to the system.

glibc takes large blocks from the system one by one and gives each back when it is free, but for those below
the size of the largest that was ever freed: after one chat with images each body stays where it was.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

__all__ = ["give_back_large_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 1 << 20  # bytes
_KEPT = 4 << 20  # bytes that stay at the end of the heap, for the next request


def give_back_large_blocks() -> bool:
    """Have all blocks above a MiB given back as soon as they are free. False where there is no glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
    return False
