"""Two texts word by word: what is in both, what went, what came.

Rule: whatever the texts, it takes no longer than a page may: of long ones the beginning is compared, and
where more differs than is worth telling apart, one whole stands against the other. Myers, "An O(ND)
difference algorithm", 1986.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

__all__ = ["MOST", "Change", "Compared", "compared", "near"]

#: Characters of each text that are compared, and words of both that may differ.
MOST, _DIFFERENT = 20_000, 400
#: Characters around a change, and of a change, where not all is told.
_AROUND, _LONG = 60, 400
#: A word with the white space before it, or a character that is none.
_WORD = re.compile(r"\s*(?:\w+|\S)|\s+")


class Change(msgspec.Struct, frozen=True):
    """Words on end. `kind`: `same`, `out` (they are in the older text alone), `in` (in the newer alone)."""

    kind: str
    text: str


class Compared(msgspec.Struct, frozen=True):
    """`is_cut`: only the beginnings were compared."""

    changes: tuple[Change, ...]
    is_cut: bool


def compared(old: str, new: str) -> Compared:
    """What became of the older text in the newer one."""
    a, b = _WORD.findall(old[:MOST]), _WORD.findall(new[:MOST])
    begin, most = 0, min(len(a), len(b))
    while begin < most and a[begin] == b[begin]:
        begin += 1
    end, most = 0, most - begin
    while end < most and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = _told(a[begin : len(a) - end], b[begin : len(b) - end])
    told = [("same", a[:begin]), *middle, ("same", a[len(a) - end :])]
    changes = tuple(Change(kind, "".join(words)) for kind, words in told if words)
    return Compared(changes, max(len(old), len(new)) > MOST)


def near(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The same with a few words around each change; what was left out is a mark."""
    found = []
    for at, each in enumerate(changes):
        text = each.text
        if each.kind != "same":
            found.append(Change(each.kind, text if len(text) <= _LONG else f"{text[:_LONG]}…"))
            continue
        before, after = text[:_AROUND] if at else "", text[-_AROUND:] if at + 1 < len(changes) else ""
        short = f"{before}…{after}"
        found.append(Change("same", text if len(text) <= len(short) else short))
    return tuple(found)


def _told(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    trace = _trace(a, b)
    if trace is None:
        return [("out", a), ("in", b)]
    told: list[tuple[str, list[str]]] = []

    def tell(kind: str, words: Sequence[str]) -> None:
        if words and told and told[-1][0] == kind:
            told[-1][1].extend(reversed(words))
        elif words:
            told.append((kind, [*reversed(words)]))

    x, y = len(a), len(b)
    for d in range(len(trace) - 1, -1, -1):
        furthest, k = trace[d], x - y
        comes = k == -d or (k != d and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
        before = furthest.get(k + 1 if comes else k - 1, 0) if d else 0
        start = before if comes or not d else before + 1
        tell("same", a[start:x])
        x, y = start, start - k
        if d:
            tell("in" if comes else "out", b[y - 1 : y] if comes else a[x - 1 : x])
            x, y = (x, y - 1) if comes else (x - 1, y)
    return [(kind, words[::-1]) for kind, words in reversed(told)]


def _trace(a: Sequence[str], b: Sequence[str]) -> list[dict[int, int]] | None:
    """For each number of differences how far one comes on each diagonal with one fewer; None for too many."""
    furthest, trace = {1: 0}, []
    for d in range(_DIFFERENT + 1):
        trace.append(dict(furthest))
        for k in range(-d, d + 1, 2):
            comes = k == -d or (k != d and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
            x = furthest[k + 1] if comes else furthest[k - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            furthest[k] = x
            if x >= len(a) and x - k >= len(b):
                return trace
    return None
