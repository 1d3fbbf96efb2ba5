"""How the weights of `prompt/weights.py` are learned from the counts that an upstream reports.

Recursive least squares over shares: each report says how far the estimate of a whole prompt was off, and
each weight takes of that what its part in the prompt and its uncertainty make likely. What is unknown at
the start is mostly one scale for all weights (a larger vocabulary makes fewer tokens of everything), so
that one chat in English also tells a little of code.

After each report some of the first uncertainty comes back. That forgets mildly, and keeps the arithmetic
safe for ever: the covariance stays a mean of itself and of a sound one. A count that the uncertainty cannot
explain (a prompt that was cut silently, a number out of nowhere) is not learned, unless such counts go on
and are near enough: then another model answers under this name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from operator import mul
from typing import Any

from sidecar.conversation.measure import NOTHING, Measure
from sidecar.conversation.message import encode, read
from sidecar.prompt.weights import DEFAULT_WEIGHTS, NEUTRAL, Weights

__all__ = ["START", "Learning", "learned"]

_FORMAT = 1
_SIZE = len(NOTHING)

# Standard deviations, all relative to the neutral weights.
_SCALE = 0.2  # of all weights together
_OWN = 0.25  # of each for itself
_OWN_OF = {"messages": 0.8, "images": 1.0, "tools": 0.5, "latin": 0.5, "pictograms": 0.5}
_NOISE = 0.012  # of a long prompt
_NOISE_PER_TOKEN = 1.0  # its square, of a prompt of one token
_RETURNS = 0.02  # of the first covariance, after each report
_BOUNDS = (-0.9, 5.0)

# Shares of the estimate between which a count is believed, however little is known.
_MIN_SHARE, _MAX_SHARE = 0.4, 3.0
_DEVIATIONS = 4.0
_STUBBORN = 12
_NEAR = (0.6, 1.7)
_MAX_COUNT = 1 << 31


def _first_covariance() -> tuple[tuple[float, ...], ...]:
    own = [_OWN_OF.get(name, _OWN) for name in Measure._fields]
    return tuple(
        tuple(_SCALE**2 + (own[row] ** 2 if row == column else 0.0) for column in range(_SIZE))
        for row in range(_SIZE)
    )


_FIRST = _first_covariance()


@dataclass(frozen=True)
class Learning:
    """What is known of a model's weights.

    `shifts`: by which share each weight differs from the neutral one; `covariance`: how sure that is.
    `reports` were learned from, `refused` ones came since the last that was.
    """

    shifts: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    reports: int = 0
    refused: int = 0

    @cached_property
    def weights(self) -> Weights:
        """The weights to estimate with; those that lean to the high side until a report has come."""
        if not self.reports:
            return DEFAULT_WEIGHTS
        return Weights(tuple(w * (1 + shift) for w, shift in zip(NEUTRAL.values, self.shifts, strict=True)))

    def error(self, measure: Measure) -> float:
        """By which share the estimate of a prompt like this may be off: twice what is expected."""
        parts = [w * count for w, count in zip(NEUTRAL.values, measure, strict=True)]
        estimate = sum(part * (1 + shift) for part, shift in zip(parts, self.shifts, strict=True))
        if not estimate:
            return 1.0
        return 2 * math.sqrt(_foreseen(self.covariance, [part / estimate for part in parts], estimate)[1])

    def encoded(self) -> bytes:
        """As it is kept; of the covariance only one half, for both are alike."""
        half = [_short(row[at]) for at in range(_SIZE) for row in self.covariance[: at + 1]]
        shifts = [_short(shift) for shift in self.shifts]
        return encode({"v": _FORMAT, "reports": self.reports, "shifts": shifts, "covariance": half})

    @classmethod
    def decoded(cls, kept: bytes) -> Learning | None:
        """What `encoded` made; None for what another version of this contract wrote, or is damaged."""
        try:
            fields = read(kept)
        except ValueError:
            return None
        reports: Any = fields.get("reports")
        shifts: Any = fields.get("shifts")
        half: Any = fields.get("covariance")
        if fields.get("v") != _FORMAT or type(reports) is not int or reports < 0:
            return None
        if not _are_numbers(shifts, _SIZE) or not _are_numbers(half, _SIZE * (_SIZE + 1) // 2):
            return None
        starts = list(accumulate(range(_SIZE)))
        covariance = tuple(
            tuple(float(half[starts[max(row, at)] + min(row, at)]) for at in range(_SIZE))
            for row in range(_SIZE)
        )
        return cls(tuple(map(_bounded, shifts)), covariance, reports)


START = Learning((0.0,) * _SIZE, _FIRST)


def learned(state: Learning, measure: Measure, tokens: object, *, certain: bool = False) -> Learning:
    """What is known after an upstream has counted `tokens` in a prompt of this measure.

    `certain`: the count is no accident, however far it is from what was expected.
    """
    if type(tokens) is not int or not 0 < tokens < _MAX_COUNT or measure == NOTHING:
        return state
    parts = [w * count for w, count in zip(NEUTRAL.values, measure, strict=True)]
    estimate = sum(part * (1 + shift) for part, shift in zip(parts, state.shifts, strict=True))
    shares = [part / estimate for part in parts]
    off = tokens / estimate - 1
    gains, spread = _foreseen(state.covariance, shares, estimate)
    if off * off > _DEVIATIONS**2 * spread or not _MIN_SHARE <= 1 + off <= _MAX_SHARE:
        refused = state.refused + 1
        if not certain and (refused < _STUBBORN or not _NEAR[0] <= 1 + off <= _NEAR[1]):
            return replace(state, refused=refused)
        gains, spread = _foreseen(_FIRST, shares, estimate)
        state = replace(state, covariance=_FIRST)
    shifts = tuple(
        _bounded(shift + gain * off / spread) for shift, gain in zip(state.shifts, gains, strict=True)
    )
    return Learning(shifts, _updated(state.covariance, gains, spread), state.reports + 1)


def _foreseen(
    covariance: Sequence[Sequence[float]], shares: Sequence[float], estimate: float
) -> tuple[list[float], float]:
    """How far each weight goes with the whole, and the variance that is expected of the whole."""
    gains = [sum(map(mul, row, shares)) for row in covariance]
    return gains, max(0.0, sum(map(mul, gains, shares))) + _NOISE**2 + _NOISE_PER_TOKEN / estimate


def _updated(
    covariance: Sequence[Sequence[float]], gains: Sequence[float], spread: float
) -> tuple[tuple[float, ...], ...]:
    kept = 1 - _RETURNS
    return tuple(
        tuple(
            kept * (old - gain * other / spread) + _RETURNS * first
            for old, other, first in zip(row, gains, firsts, strict=True)
        )
        for row, gain, firsts in zip(covariance, gains, _FIRST, strict=True)
    )


def _bounded(shift: float) -> float:
    return min(max(float(shift), _BOUNDS[0]), _BOUNDS[1])


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _are_numbers(values: Any, size: int) -> bool:
    if type(values) is not list or len(values) != size:
        return False
    return all(type(value) in (int, float) and abs(value) < 1e3 for value in values)
