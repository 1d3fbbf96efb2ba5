"""How values are shown to people.

Rule: whatever somebody else wrote goes through `told` or `clip`, which spell out what cannot be seen or turns
the direction of a text, and never give more of it than is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.conversation.message import visible_text
from sidecar.printable import printable

__all__ = ["Clip", "clip", "count", "moment", "seconds", "size", "title", "told", "without_files"]

_LINES = 20
#: What Open WebUI puts in front of a question with files: a list of them for the model.
_FILES = re.compile(r"\A\s*<attached_files>.*?</attached_files>", re.DOTALL)


class Clip(msgspec.Struct, frozen=True):
    """A text as far as a page shows it: what is seen at once, and what comes when it is opened. `length`: the
    characters of all of it; `is_cut`: there is more than both."""

    seen: str
    rest: str
    length: int
    is_cut: bool


def clip(text: str, *, seen: int = 1500, most: int = 10_000) -> Clip:
    """The first lines of a text, 20 or so many characters, and what follows up to the character `most`."""
    end, lines = min(seen, len(text)), 0
    at = text.find("\n", 0, end)
    while at >= 0 and lines < _LINES:
        lines, last = lines + 1, at + 1
        at = text.find("\n", last, end)
    if lines == _LINES or (lines and end < len(text) and last > seen // 2):
        end = last
    elif len(text) <= end + seen // 4:  # opening it for a last word or two is no help
        end = len(text)
    most = max(most, end)
    first, rest = text[:end], text[end:most]
    return Clip(printable(first, lines=True), printable(rest, lines=True), len(text), len(text) > most)


def told(text: str | None, length: int = 120) -> str:
    """On one line, at most so many characters."""
    words = " ".join((text or "")[: 4 * length].split())
    return printable(words if len(words) <= length else words[:length].rstrip() + "…")


def title(message: Mapping[str, Any], length: int = 120) -> str:
    """By which words people know a chat that begins with this message, on one line. Raises `ValueError` if it
    is none."""
    text = visible_text(message)
    return told(without_files(text), length) or told(text, length)


def without_files(text: str) -> str:
    """What somebody said, without the list of files that Open WebUI puts in front of it."""
    return _FILES.sub("", text, 1)


def count(number: int | None) -> str:
    """`12,345`; a dash where it is not known."""
    return "-" if number is None else f"{number:,}"


def moment(at: float | None) -> str:
    """Unix seconds as `2026-11-29 07:02:48`, in UTC."""
    try:
        return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # beyond what the calendar can show
        return "-"


def seconds(milliseconds: int | None) -> str:
    """`41 ms`, `1.41 s`, `14.2 s`, `3 min 20 s`."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    at = milliseconds / 1000
    if at < 120:
        return f"{at:.2f} s" if at < 10 else f"{at:.1f} s"
    return f"{int(at // 60):,} min {int(at % 60)} s"


def size(bytes: int) -> str:
    """`812 bytes`, `3.4 kB`, `5.2 MB`."""
    for unit, name in ((1_000_000, "MB"), (1000, "kB")):
        if bytes >= unit:
            return f"{bytes / unit:,.1f} {name}"
    return f"{bytes} bytes"
