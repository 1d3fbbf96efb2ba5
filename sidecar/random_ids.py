"""Random bytes that nobody can guess, a page at a time.

The operating system gives them as fast for a thousand ids as for one; but every call lets go of the
interpreter, and what the store's threads then do with it costs a request more than all its own ids.
"""

from __future__ import annotations

import os
import secrets

__all__ = ["token"]

_PAGE = 4096
_left = bytearray()


def token(size: int) -> bytes:
    """So many random bytes; `size` is at most a page."""
    if len(_left) < size:
        _left.extend(secrets.token_bytes(_PAGE))
    taken = bytes(_left[-size:])
    del _left[-size:]
    return taken


# Two processes must never give the same ones.
os.register_at_fork(after_in_child=_left.clear)
