"""How many tokens is this, about? An estimate without a tokenizer.

A message is measured (`conversation/measure.py`): its characters by class, its images, and the message
itself. Weights, tokens for one of each, make an estimate of that. Words, digits, line breaks and ideographs
weigh so differently that one number for all characters would be off by half between prose and JSON; which
weights are right a model's own reports teach (`prompt/calibration.py`). The weights that nobody taught lean
to the high side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import mul

from sidecar.conversation.measure import NOTHING, Measure, measure
from sidecar.conversation.message import encode, read

__all__ = ["DEFAULT_WEIGHTS", "NEUTRAL", "PER_IMAGE", "PER_MESSAGE", "Weights", "estimate"]

#: What the chat template puts around a message.
PER_MESSAGE = 4
#: A high-detail image of usual size costs 765 tokens by OpenAI's published tiles.
PER_IMAGE = 800

_FORMAT = 1


@dataclass(slots=True, frozen=True)
class Weights:
    """Tokens for one of each that `Measure` counts, in its order; none of them is negative."""

    values: tuple[float, ...]

    def tokens(self, measure: Measure) -> int:
        """The estimate, at least 1."""
        return max(1, round(math.fsum(map(mul, self.values, measure))))

    def most(self, measure: Measure) -> int:
        """No less than the tokens of all messages that measure this together, each estimated by itself."""
        return math.ceil(math.fsum(map(mul, self.values, measure))) + measure.messages

    def encoded(self) -> bytes:
        """As it is kept."""
        return encode({"v": _FORMAT, "weights": [round(value, 6) for value in self.values]})

    @classmethod
    def decoded(cls, kept: bytes) -> Weights | None:
        """What `encoded` made; None for what another version of this contract wrote, or is damaged."""
        try:
            fields = read(kept)
        except ValueError:
            return None
        values = fields.get("weights")
        if fields.get("v") != _FORMAT or type(values) is not list or len(values) != len(NOTHING):
            return None
        if not all(type(value) in (int, float) and value >= 0 for value in values):
            return None
        return cls(tuple(map(float, values)))


# What fits the tokenizers of today about equally well and badly: fitted to prose in three languages, code
# and JSON with those of Gemma 3, GPT-4 and GPT-4o.
_NEUTRAL = {
    "messages": float(PER_MESSAGE),
    "lower": 0.125,
    "upper": 0.2,
    "digits": 0.85,
    "spaces": 0.48,
    "pairs": 0.2,
    "breaks": 1.2,
    "symbols": 0.67,
    "latin": 2.0,
    "alphabets": 0.5,
    "marks": 1.1,
    "indic": 0.6,
    "ideographs": 0.72,
    "pictograms": 2.0,
    "images": float(PER_IMAGE),
    "tools": 0.3,
}
_MARGIN = 1.15

#: Where learning starts from.
NEUTRAL = Weights(tuple(_NEUTRAL[name] for name in Measure._fields))
#: For a model that has not told anything yet.
DEFAULT_WEIGHTS = Weights(tuple(weight * _MARGIN for weight in NEUTRAL.values))


def estimate(raw: bytes) -> int:
    """Tokens of one message (or of the list of tools) by the weights that nobody taught, at least 1."""
    return DEFAULT_WEIGHTS.tokens(measure(raw))
