"""Was a prompt cut silently? Some engines drop what is too long for them and say nothing.

Two signs in what they count: far less than was sent, by an estimate that has been learned; or the same
count again while the prompts grow. Neither is ever learned from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sidecar.conversation.measure import Measure
from sidecar.prompt.calibration import Learning
from sidecar.prompt.weights import NEUTRAL

__all__ = ["NO_CEILING", "SilentCeiling", "is_far_too_small"]

_MIN_PROMPT = 1000  # tokens; in less, an image or a template can make any difference
_FAR = 0.6
_LEARNED = 3  # reports
_ALIKE = 0.005
_GROWN = 1.02
_CERTAIN = 2


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


def is_far_too_small(state: Learning, measure: Measure, tokens: int) -> bool:
    """Is the count far below what this model's prompts have been found to take?"""
    if state.reports < _LEARNED:
        return False
    estimate = state.weights.tokens(measure)
    return estimate > _MIN_PROMPT and 0 < tokens < _FAR * estimate
