"""Text of others, made harmless for a terminal.

Rule: whatever a command prints that somebody else wrote (a client, an upstream, a foreign file) goes through
here. Escape sequences, other control characters, characters that turn the direction of the text or are not
seen, and line ends of Unicode are spelled out, as Python and JSON spell them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["in_json", "printable", "short"]

# Control (C0, DEL, C1), soft hyphen, marks and overrides of direction, separators of lines and paragraphs,
# what is not seen, halves of characters, annotations, tags. Joiners stay: emoji and Persian need them.
_HARMFUL = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff"
)
_IN_TEXT = re.compile(f"[{_HARMFUL}]")
_IN_LINES = re.compile(rf"(?![\n\t])[{_HARMFUL}]")
# Between the values of JSON white space may stand; nothing else of these stands outside its strings.
_IN_JSON = re.compile(rf"(?![\n\r\t])[{_HARMFUL}]")
_SLICE = 1 << 16  # characters, which take two milliseconds


def printable(text: str, *, lines: bool = False) -> str:
    """`text` on one line; with `lines` its line ends and tabs stay."""
    if lines:
        return _in_slices(_IN_LINES, _spelled, text.replace("\r\n", "\n"))
    return _in_slices(_IN_TEXT, _spelled, text)


def short(text: str, length: int = 60) -> str:
    """The same, at most so many characters of it."""
    return printable(text if len(text) <= length else text[:length] + "…")


def in_json(json: str) -> str:
    """The same JSON value, spelled so that nothing in it is harmful."""
    return _in_slices(_IN_JSON, _escaped, json)


def _in_slices(harmful: re.Pattern[str], spell: Callable[[re.Match[str]], str], text: str) -> str:
    """What is harmful is one character each. Megabytes at once would hold up all other threads meanwhile."""
    if len(text) <= _SLICE:
        return harmful.sub(spell, text)
    return "".join([harmful.sub(spell, text[at : at + _SLICE]) for at in range(0, len(text), _SLICE)])


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
