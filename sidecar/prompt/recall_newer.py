"""What was said later in a line, and tells of the same thing as what was said before.

Rules: what was said later may have corrected what was said before. A passage that has much of a question is
superseded, and is not quoted, where a later one, dropped or still shown, has nearly all that it has of the
question: a small model that reads both takes the old one, in whatever order they stand. Where what is shown
has less of it, but half or what tells most, it is quoted again behind the old passage, so that this never
stands behind it alone. Questions tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sidecar.prompt.recall_evidence import Evidence

__all__ = ["newer", "superseded"]

_MUCH = 0.4  # of what the question tells; with less of it two passages may tell of two things
_NEARLY_ALL = 0.9  # of what the older one has of the question
_SAME = 0.5  # of what a passage is found by; less finds what has nothing to do with it
_MOST = 2  # passages, the best
_BESIDE = 1  # passages further on: what is quoted together supersedes nothing of itself
_QUESTION = ("?", "\uff1f", "\u061f", "\u037e")


def superseded(
    held: Mapping[int, int], dropped: range, evidence: Evidence, text: Callable[[int], str]
) -> set[int]:
    """Those of the passages that were dropped in place of which a later one stands.

    `held`: the words of the question that the passages have, dropped or shown, by their numbers; `text`: that
    of one of them.
    """
    much = evidence.whole * _MUCH
    telling = [at for at, words in held.items() if evidence.of(words) >= much > 0]
    gone: set[int] = set()
    later: list[tuple[int, int]] = []
    sets: set[int] = set()
    for at in sorted(telling, reverse=True):
        if _asks(text(at)):
            continue
        while later and later[0][0] > at + _BESIDE:
            sets.add(later.pop(0)[1])
        least = evidence.of(held[at]) * _NEARLY_ALL
        if at in dropped and any(evidence.of(held[at] & each) >= least for each in sets):
            gone.add(at)
        later.append((at, held[at]))
    return gone


def newer(
    shown: Mapping[int, int], found: Iterable[int], evidence: Evidence, text: Callable[[int], str]
) -> list[int]:
    """Those of the passages still shown that tell of the same as one of those found, at most two, in order.

    `shown`: the words of the question that they have, by their numbers. `found`: those of the passages found
    and of their neighbours.
    """
    same: dict[int, float] = {}
    for words in found:
        least = evidence.of(words) * _SAME
        strongest = evidence.strongest(words)
        for at, each in shown.items():
            common = each & words
            share = evidence.of(common)
            is_same = share >= least > 0 or evidence.strongest(common) >= strongest > 0
            if is_same and share > same.get(at, 0.0):
                same[at] = share
    best = sorted((at for at in same if not _asks(text(at))), key=lambda at: (same[at], at))[-_MOST:]
    return sorted(best)


def _asks(text: str) -> bool:
    return text.rstrip().endswith(_QUESTION)
