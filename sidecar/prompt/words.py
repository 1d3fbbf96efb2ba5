"""The words of a text, in whatever language, as they are looked for in other texts.

Rules: case, accents and the form of Unicode never count. A word is looked for as it is and, where it is
long enough to have an ending, by its beginning too: this finds `houses` for `house` in any language that
changes words at their end, with no list of endings. What has a digit in it is only itself. Scripts that
write no spaces between words (Chinese, Japanese, Thai ...), and Korean, whose endings are syllables, are
taken by two characters each.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["beginning", "is_unspaced", "likely_share", "may_go_on", "pieces", "words"]

_BEGINNING = 4  # letters; as good as a stemmer for English, and there is none for most languages
_LONGEST = 40  # characters; what is longer is no word but data, and its beginning tells it well enough
_LIKELY = (0.5, 0.5, 0.2, 0.1, 0.05, 0.03, 0.02)  # by the number of letters
_LIKELY_NUMBER, _LIKELY_TWO_CHARACTERS = 0.01, 0.02

#: Those of Latin, Greek and Cyrillic letters, and the vowel points of Hebrew and Arabic.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]+")
#: The scripts of India, whose vowel signs are no letters to Unicode.
_INDIC = "\u0900-\u0963\u0966-\u0dff"
#: Thai to Myanmar, Khmer, kana and Han with their extensions, Hangul.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_PIECE = re.compile(rf"[{_UNSPACED}]+|[{_INDIC}]+|[^\W_{_UNSPACED}{_INDIC}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_HAS_DIGIT = re.compile(r"\d")


def words(text: str) -> Iterator[str]:
    """What to look for, each as often as it occurs; the beginnings of words end with `*`."""
    for piece in pieces(text):
        if not piece.isascii() and _IS_UNSPACED.match(piece):
            yield from (piece[at : at + 2] for at in range(max(1, len(piece) - 1)))
            continue
        yield piece[:_LONGEST]
        if len(piece) >= _BEGINNING and _HAS_DIGIT.search(piece) is None:
            yield beginning(piece)


def pieces(text: str) -> list[str]:
    """The text without what never counts, cut where a word, or a run of a script without spaces, ends."""
    found: list[str] = _PIECE.findall(_folded(text))
    return found


def is_unspaced(piece: str) -> bool:
    """Is it a run of a script that writes no spaces between words?"""
    return not piece.isascii() and _IS_UNSPACED.match(piece) is not None


def may_go_on(piece: str) -> bool:
    """Is it looked for by its beginning too?"""
    return len(piece) >= _BEGINNING and _HAS_DIGIT.search(piece) is None


def beginning(word: str) -> str:
    """What its beginning is looked for as, where it has one; the same for the beginning itself."""
    return word[:_BEGINNING] + "*"


def likely_share(word: str) -> float:
    """Of all messages of any talk, the share that is likely to have this word, as `words` gives it.

    In every language the words that stand everywhere are short ones.
    """
    if _HAS_DIGIT.search(word):
        return _LIKELY_NUMBER
    if is_unspaced(word):
        return _LIKELY_TWO_CHARACTERS
    return _LIKELY[min(len(word), len(_LIKELY)) - 1]


def _folded(text: str) -> str:
    """A text without what never counts."""
    text = text.casefold()
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
