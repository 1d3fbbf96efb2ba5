"""By which words a message is found when somebody searches what was said.

Rules: the words are those of `words`, whatever their case, accents and script. A word of four letters or more
finds those that begin with it; a shorter one, and one with a digit in it, itself alone; of scripts that write
no spaces any run of characters is found, be it one. By its keys an index finds every text in which
`Sought.is_in` is true, and some others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sidecar.prompt.words import is_unspaced, may_go_on, pieces

__all__ = ["MOST", "VERSION", "Sought", "keys_of"]

#: Of the rules by which texts are cut: an index that was made by others is none.
VERSION = 1
#: Characters of a message that are looked at: what is longer is a file.
MOST = 100_000
_SHORT, _LONG = 4, 7  # letters of the beginnings that words are found by
_WORD = re.compile(r"\w+")
_ESCAPE = b"\\u"
_LONGEST = 40  # characters of a word that count


def keys_of(text: str) -> set[str]:
    """All that a text may be found by."""
    keys: set[str] = set()
    for piece in set(pieces(text[:MOST])):
        keys.update(_keys(piece))
    return keys


def _keys(piece: str) -> Iterator[str]:
    if is_unspaced(piece):
        yield from piece
        yield from (piece[at : at + 2] for at in range(len(piece) - 1))
        return
    if not may_go_on(piece):
        yield piece[:_LONGEST]
    for letters in (_SHORT, _LONG):
        if len(piece) >= letters and may_go_on(piece[:letters]):
            yield piece[:letters]


class Sought:
    """What is looked for: all the words of a question."""

    __slots__ = ("_bytes", "keys", "pieces")

    def __init__(self, question: str) -> None:
        self.pieces = tuple(dict.fromkeys(pieces(question)))
        #: Each text that has all the words has all of these; the longest first, which the fewest have.
        self._bytes = [each.encode("utf-8", "surrogatepass") for each in self.pieces]
        keys = {key for each in self.pieces for key in _telling(each)}
        self.keys = tuple(sorted(keys, key=lambda key: (-len(key), key)))

    def may_be_in(self, body: bytes) -> bool:
        """May a message of this JSON have all of them? Tells it a hundred times as fast, but of plain ASCII
        alone."""
        if not body.isascii() or _ESCAPE in body:
            return True
        folded = body.lower()
        return all(each in folded for each in self._bytes)

    def place_in(self, text: str) -> int:
        """Where in a text, by its own characters, the first of the words stands; 0 if it is not found."""
        for each in _WORD.finditer(text, 0, MOST):
            for piece in pieces(each[0]):
                if piece == self.pieces[0] or _is_within(self.pieces[0], {piece}):
                    return each.start() + max(0, piece.find(self.pieces[0]))
        return 0

    def is_in(self, text: str) -> bool:
        """Has the text all of them?"""
        there = set(pieces(text[:MOST]))
        return all(each in there or _is_within(each, there) for each in self.pieces)


def _telling(piece: str) -> list[str]:
    """Those of its keys that tell most."""
    keys = list(_keys(piece))
    if is_unspaced(piece):
        return keys[len(piece) :] or keys
    return keys[-1:] if may_go_on(piece) else keys[:1]


def _is_within(piece: str, there: set[str]) -> bool:
    if is_unspaced(piece):
        return any(piece in each for each in there)
    return may_go_on(piece) and any(each.startswith(piece) for each in there)
