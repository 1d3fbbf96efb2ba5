"""Which parts of a text are code, as Markdown marks it: between lines of ``` or ~~~.

Rule: what was said is shown as it was written, marks and all. This says only in which type it is set.
"""

from __future__ import annotations

import re

import msgspec

from sidecar.inspector.shown import Clip

__all__ = ["Block", "blocks"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


class Block(msgspec.Struct, frozen=True):
    """Some lines of a text, with their ends."""

    is_code: bool
    text: str


def blocks(clip: Clip) -> tuple[list[Block], list[Block]]:
    """Those of what is seen at once, and of the rest."""
    seen, fence = _blocks(clip.seen, "")
    return seen, _blocks(clip.rest, fence)[0]


def _blocks(text: str, fence: str) -> tuple[list[Block], str]:
    """The blocks of a text that begins within `fence` (none: within none), and within which it ends."""
    found: list[tuple[bool, list[str]]] = []
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line.rstrip())
        opens = mark is not None and not fence and (mark[1][0] == "~" or "`" not in mark[2])
        is_code = bool(fence) or opens
        if not found or found[-1][0] != is_code or opens:
            found.append((is_code, []))
        found[-1][1].append(line)
        if mark is not None and opens:
            fence = mark[1]
        elif mark is not None and fence and mark[1].startswith(fence) and not mark[2]:
            fence = ""
    return [Block(is_code, "".join(lines)) for is_code, lines in found], fence
