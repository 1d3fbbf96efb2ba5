"""What is still shown of a line, and tells of the same thing as what is quoted of its dropped turns.

Rule: what was said later may have corrected what was said before, so an old passage never stands behind it
alone. The messages that have most of what the best passages have of the question's words are quoted again,
behind those. Questions, which tell nothing, are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sidecar.prompt.words import folded

__all__ = ["newer"]

_SAME = 0.5  # of what a passage is found by; less finds what has nothing to do with it
_MOST = 2  # messages, the best
_LONGEST = 200  # characters of each
_QUESTION = ("?", "\uff1f", "\u061f", "\u037e")


def newer(texts: Sequence[str], passages: Iterable[Iterable[str]], worth: Mapping[str, float]) -> list[str]:
    """Those of the texts that tell of the same as one of the passages, at most two, each at most so long.

    `passages`: each with its neighbours. `worth`: the words of the question, and how much each of them
    tells.
    """
    parts = _parts(worth)
    words = [frozenset() if text.rstrip().endswith(_QUESTION) else _in(text, parts) for text in texts]
    found: dict[int, float] = {}
    for passage in passages:
        asked = frozenset(chain.from_iterable(_in(text, parts) for text in passage))
        least = _sum(asked, parts) * _SAME
        for at, each in enumerate(words):
            share = _sum(each & asked, parts)
            if each and share >= least:
                found[at] = max(share, found.get(at, 0.0))
    best = sorted(found, key=lambda at: (found[at], at))[-_MOST:]
    return [_shortened(texts[at]) for at in sorted(best)]


def _parts(worth: Mapping[str, float]) -> dict[str, float]:
    """What texts have of such words; a word of few letters is its own beginning."""
    parts: dict[str, float] = {}
    for word, tells in worth.items():
        part = word.removesuffix("*")
        parts[part] = parts.get(part, 0.0) + tells
    return parts


def _in(text: str, parts: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(folded(text).__contains__, parts))


def _sum(words: Iterable[str], worth: Mapping[str, float]) -> float:
    return math.fsum(map(worth.__getitem__, words))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
