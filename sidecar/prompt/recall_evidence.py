"""How much of what a question asks a passage speaks of, and whether that is more than chance.

Rules: a word tells the more, the fewer passages have it. How many those are tell the passages of the talk
and, since a short talk tells little, how common a word of so few letters is in any. Something fits every
question, if only its "what" and "is": it is worth quoting where it has enough of the question to tell it from
most others (of 50 passages, from all but 3; of 500, from all but 6). And many common words make no rare one:
one of its words has to stand out by itself, in this talk or in any (the talk may be about it), the more so,
the less of the question the passage has. So "go on" mostly finds nothing, and what is asked of the world and
not of the talk often nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sidecar.prompt.words import beginning, likely_share

__all__ = ["Evidence"]

_LEAST = 0.7  # of what it takes to tell one passage from all others
_ASSUMED = 5.0  # passages that are as those of any talk, beside those of this one
_RARE = 4.2  # nats: a word tells one passage from some 65
_STANDS_OUT = 0.72  # of that, or of what tells one from all others
_TOGETHER = 0.9  # that share, and half of the passage's share of the question


class Evidence:
    """What sets of the words of a question tell of it, in nats; a set is bits, in the order of `held`."""

    def __init__(
        self, asked: Mapping[str, float], places: Mapping[str, int], passages: int, held: Sequence[str]
    ) -> None:
        """`asked`: the words of the question, and how much each of them counts; `places`: in how many of the
        passages of the talk each of them stands."""
        count = passages + _ASSUMED
        tells = {
            word: counts * math.log(count / (places[word] + _ASSUMED * likely_share(word)))
            for word, counts in asked.items()
        }
        bits = {word: 1 << at for at, word in enumerate(held)}
        #: Of each word: its bit and what it tells, the same of its beginning, and what it tells in any talk.
        self._words: list[tuple[int, float, int, float, float]] = []
        self._known: dict[int, float] = {0: 0.0}
        self.whole = 0.0
        self._least = math.log(count) * _LEAST
        self._rare = min(math.log(count), _RARE)
        for word, most in tells.items():
            start = beginning(word)
            if word == start:
                continue
            less = min(most, tells.get(start, 0.0))
            ever = asked[word] * -math.log(likely_share(word))
            self._words.append((bits.get(word, 0), most, bits.get(start, 0), less, ever))
            self.whole += most

    def of(self, words: int) -> float:
        """What these words tell; one and its beginning tell the same once."""
        told = self._known.get(words)
        if told is None:
            told = self._known[words] = math.fsum(
                most if words & exact else less if words & start else 0.0
                for exact, most, start, less, _ in self._words
            )
        return told

    def is_beyond_chance(self, words: int) -> bool:
        """Do these tell a passage from most others, and does one of them stand out?"""
        told = self.of(words)
        if not told or told < self._least:
            return False
        strongest = self.strongest(words) / self._rare
        return strongest >= _STANDS_OUT and strongest + told / self.whole / 2 >= _TOGETHER

    def strongest(self, words: int) -> float:
        """The most that one of these words tells, here or in any talk; a beginning tells it here alone."""
        return max(
            (
                max(most, ever) if words & exact else less if words & start else 0.0
                for exact, most, start, less, ever in self._words
            ),
            default=0.0,
        )
