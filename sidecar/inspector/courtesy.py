"""How those who look give way to those who chat: they share one interpreter.

Rule: while a page is made, a thread that makes it keeps the interpreter no longer than a moment. The loop
takes it anew for each chunk that comes and each that goes, so that a burst of chunks waits for that moment
many times over. When nobody looks, it is as it was: changing threads so often costs something.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Courtesy"]

#: Seconds.
_MOMENT = 0.00005


class Courtesy:
    """Of one process."""

    def __init__(self) -> None:
        self._pages = 0
        self._usual = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within this a page is made."""
        if not self._pages:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_MOMENT, self._usual))
        self._pages += 1
        try:
            yield
        finally:
            self._pages -= 1
            if not self._pages:
                sys.setswitchinterval(self._usual)
