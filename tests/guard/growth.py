"""Does the cost of some work grow no faster than its input?

Measured in processor time of this process, which what else the machine does moves little, but for the caches
that it shares. Work at n, 2n and 4n, each repeated until the smallest takes long enough to be measured; each
counts as its best, and is measured again for seconds before it is said to grow too fast.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["GROWTH", "assert_linear"]

#: What twice the input may cost more. Linear is 2; the rest is for caches that no longer hold it, and noise.
GROWTH = 2.7
_LEAST = 0.05  # seconds that the smallest has to take
_BEST_OF = 5
_PATIENCE = 8.0  # seconds, where those were not enough: so long may a neighbour on the machine stay
_MOST_REPEATS = 10_000
_ENOUGH = 2  # measurements, where they show already that it does not grow too fast

T = TypeVar("T")


def assert_linear(
    make: Callable[[int], T], run: Callable[[T], object], n: int, *, least: float = _LEAST
) -> None:
    """Fail where `run` costs much more than twice as much each time that what `make` gave is twice as large.

    `make` builds the input and is not measured; `run` must leave it as it was, and answer from no cache.
    `least`: seconds of processor time for the smallest; less is quicker and less certain.
    """
    inputs = [make(size) for size in (n, 2 * n, 4 * n)]
    run(inputs[0])  # fills caches
    repeats = min(_MOST_REPEATS, max(1, math.ceil(least / max(1e-9, _once(run, inputs[0], 1)))))
    best = [math.inf] * len(inputs)
    until = time.monotonic() + _PATIENCE
    for number in itertools.count(1):
        with _uncollected():
            best = [min(known, _once(run, each, repeats)) for known, each in zip(best, inputs, strict=True)]
        # Over both doublings, for a single one is as easily disturbed as it is seldom meant.
        grown = math.sqrt(best[-1] / max(1e-9, best[0]))
        if number >= _ENOUGH and grown <= GROWTH:
            return
        if number >= _BEST_OF and time.monotonic() > until:
            break
    costs = ", ".join(f"{cost / repeats * 1000:.2f} ms" for cost in best)
    raise AssertionError(f"twice the input cost {grown:.1f} times as much: {costs} for {n}, {2 * n}, {4 * n}")


def _once(run: Callable[[T], object], given: T, repeats: int) -> float:
    begun = time.process_time()
    for _ in range(repeats):
        run(given)
    return time.process_time() - begun


@contextmanager
def _uncollected() -> Iterator[None]:
    """What else is in memory must not be looked through meanwhile: it would be counted."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
