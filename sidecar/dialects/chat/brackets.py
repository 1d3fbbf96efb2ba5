"""Is every bracket of a JSON text closed that was opened? Told in time that grows with its pieces alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Brackets"]

_MARK = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class Brackets:
    """Looks through pieces, each once."""

    __slots__ = ("_depth", "_escaped", "_in_text", "_scanned")

    def __init__(self) -> None:
        # How far it was looked through, and what was found there.
        self._scanned = self._depth = 0
        self._in_text = self._escaped = False

    def are_closed(self, pieces: Sequence[str]) -> bool:
        """Those of these pieces, which are those of the last time and maybe more."""
        for piece in pieces[self._scanned :]:
            self._scan(piece)
        self._scanned = len(pieces)
        return self._depth == 0 and not self._in_text

    def _scan(self, piece: str) -> None:
        if self._escaped:
            piece = piece[1:]
            self._escaped = False
        for mark in _MARK.findall(piece):
            if mark == '"':
                self._in_text = not self._in_text
            elif self._in_text:
                self._escaped = mark == "\\"
            elif mark in "{[":
                self._depth += 1
            elif mark in "}]":
                self._depth -= 1
