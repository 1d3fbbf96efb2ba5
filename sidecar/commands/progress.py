"""How far long work has come: one line on a terminal, elsewhere a line now and then.

Rule: on standard error, so that what a command prints stays clean; nothing for work that is soon done.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress"]

_TERMINAL_INTERVAL = 0.2  # seconds between two lines
_LOG_INTERVAL = 5.0


class Progress:
    """Use it as a context manager and call `step`, or `share`."""

    def __init__(self, what: str, total: int | None = None, out: TextIO | None = None) -> None:
        self._what, self._total = what, total
        self._out = sys.stderr if out is None else out
        self._on_terminal = self._out.isatty()
        self._pause = _TERMINAL_INTERVAL if self._on_terminal else _LOG_INTERVAL
        self._count = 0
        self._next = time.monotonic() + self._pause
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._on_terminal:
            self._out.write("\r\033[K")
            self._out.flush()

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        self._count += count
        self._say(f"{self._count} of {self._total}" if self._total is not None else f"{self._count}")

    def share(self, share: float) -> None:
        """This part of it is done, 0 to 1."""
        self._say(f"{share:.0%}")

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        self._shown = True
        line = f"sidecar: {self._what}: {text}"
        self._out.write(f"\r\033[K{line}" if self._on_terminal else f"{line}\n")
        self._out.flush()
