"""Was a prompt cut silently? Some engines drop what is too long for them and say nothing.

Three signs in what they count: far less than was sent, by an estimate that has been learned; the same count
again while the prompts grow; or less than a prompt had that this one goes on from. Once an upstream has been
found to do so, less is enough. Nothing that bears a sign is learned from, unless the estimate is shown to be
what is wrong: of a prompt that was cut the less is counted, by its share, the larger it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sidecar.conversation.measure import Measure
from sidecar.prompt.calibration import Learning
from sidecar.prompt.weights import NEUTRAL

__all__ = [
    "NO_CEILING",
    "NO_SHARE",
    "SilentCeiling",
    "SteadyShare",
    "has_shrunk",
    "is_cut_again",
    "is_far_too_small",
]

_MIN_PROMPT = 1000  # tokens; in less, an image or a template can make any difference
_FAR = 0.6
_AGAIN = 0.8  # where another prompt was cut
_SHRUNK = (0.5, 0.95)  # of the prompt before: less is another way to count, more a template's
_LEARNED = 3  # reports
_ALIKE = 0.005
_GROWN = 1.02
_CERTAIN = 2
_STEADY = 0.07
_SPREAD = 1.25
_OFTEN = 6


@dataclass(slots=True, frozen=True)
class SilentCeiling:
    """The count of a prompt, its size, and how often prompts that were larger counted no more.

    Sizes are estimates that do not learn, lest one prompt sent twice seem to have grown.
    """

    tokens: int = 0
    size: int = 0
    hits: int = 0

    @property
    def is_certain(self) -> bool:
        """Once may be chance."""
        return self.hits >= _CERTAIN

    def after(self, prompt: Measure, tokens: int) -> SilentCeiling:
        """What to expect after a prompt has been counted. More `hits`: this one has hit the ceiling."""
        size = NEUTRAL.tokens(prompt)
        if tokens <= _MIN_PROMPT or abs(tokens - self.tokens) > _ALIKE * self.tokens:
            return SilentCeiling(tokens, size)
        if size < self.size * _GROWN:
            return self
        return replace(self, hits=self.hits + 1)


NO_CEILING = SilentCeiling()


@dataclass(slots=True, frozen=True)
class SteadyShare:
    """Counts far below the estimate, one after the other, that were one share of the sizes of their prompts.

    `share`: the first of them; `times`: how many; `smallest`, `largest`: of the sizes, by estimates that do
    not learn.
    """

    share: float = 0.0
    times: int = 0
    smallest: int = 0
    largest: int = 0

    @property
    def is_certain(self) -> bool:
        """Prompts of such different sizes were not cut: another model answers under this name, or the first
        counts were wrong."""
        return self.times >= _OFTEN and self.largest >= _SPREAD * self.smallest

    def after(self, prompt: Measure, tokens: int) -> SteadyShare:
        """What is known after one more has come."""
        size = NEUTRAL.tokens(prompt)
        if not self.times or abs(tokens / size - self.share) > _STEADY * self.share:
            return SteadyShare(tokens / size, 1, size, size)
        smallest, largest = min(self.smallest, size), max(self.largest, size)
        return SteadyShare(self.share, self.times + 1, smallest, largest)


NO_SHARE = SteadyShare()


def is_far_too_small(state: Learning, measure: Measure, tokens: int) -> bool:
    """Is the count far below what this model's prompts have been found to take?"""
    if state.reports < _LEARNED:
        return False
    estimate = state.weights.tokens(measure)
    return estimate > _MIN_PROMPT and 0 < tokens < _FAR * estimate


def is_cut_again(found: int, estimate: int, least: int, tokens: int) -> bool:
    """Has an upstream that cut another prompt to `found` tokens cut this one as well, which has at least
    `least` if the estimate is off as far as it may be?

    What it drops are whole messages, mostly, so that it may count a few more than before.
    """
    return least > found and 0 < tokens < least and (tokens <= found or tokens < _AGAIN * estimate)


def has_shrunk(before: int, tokens: int) -> bool:
    """Is it clearly fewer than a prompt had that this one goes on from?

    A count of a fraction is no sign: there are upstreams that count only what they had not cached.
    """
    return before > _MIN_PROMPT and _SHRUNK[0] * before <= tokens < _SHRUNK[1] * before
