"""Histograms that cost little to fill.

The library's own look at one bound after another for each value, and take two locks; for the handful of each
request that was a twentieth of all that a short one costs. These find the bound in one step.

Rule: one thread alone fills them. Several workers share theirs as the library does, in its files; to write
there costs more than all else, so what has changed is written together when somebody says so (`Changed`).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, values
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["Changed", "Histogram", "Observer"]

_INFINITE = float("inf")


class Observer(Protocol):
    """One series of a histogram."""

    def observe(self, amount: float) -> None:
        """Count one value."""


class _Own:
    """Of this process alone."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * len(bounds)
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


class _Shared:
    """This worker's part of one that is summed over several; the keys are those of the library's own."""

    __slots__ = ("_bounds", "_changed", "_counts", "_shared_counts", "_shared_sum", "_sum")

    def __init__(
        self,
        name: str,
        meaning: str,
        names: tuple[str, ...],
        labels: tuple[str, ...],
        bounds: Sequence[float],
        changed: Changed,
    ) -> None:
        self._bounds, self._changed = bounds, changed
        #: Not written yet.
        self._counts, self._sum = [0] * len(bounds), 0.0
        kind = values.ValueClass
        self._shared_sum = kind("histogram", name, f"{name}_sum", names, labels, meaning)
        self._shared_counts = [
            kind("histogram", name, f"{name}_bucket", (*names, "le"), (*labels, _shown(each)), meaning)
            for each in bounds
        ]

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount
        self._changed.add(self)

    def write(self) -> None:
        self._shared_sum.inc(self._sum)
        for shared, count in zip(self._shared_counts, self._counts, strict=True):
            if count:
                shared.inc(count)
        self._counts, self._sum = [0] * len(self._bounds), 0.0


class Changed(set[_Shared]):
    """What this worker has yet to write where the others see it."""

    def write(self) -> None:
        """Write it."""
        for each in self:
            each.write()
        self.clear()


class Histogram(Collector):
    """`bounds`: the upper ones, rising, without the infinite one. `changed`: if there are several workers."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        meaning: str,
        bounds: Sequence[float],
        names: tuple[str, ...] = (),
        *,
        changed: Changed | None,
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._names = names
        self._bounds = (*bounds, _INFINITE)
        self._changed = changed
        self._own: dict[tuple[str, ...], _Own] = {}
        self._created = time.time()
        registry.register(self)

    def labels(self, *labels: str) -> Observer:
        """A series; ask once for each, and keep it."""
        if self._changed is not None:
            return _Shared(self._name, self._meaning, self._names, labels, self._bounds, self._changed)
        return self._own.setdefault(labels, _Own(self._bounds))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """What it is called, without a series."""
        yield HistogramMetricFamily(self._name, self._meaning, labels=self._names)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """All series of this process."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._names)
        for labels, each in self._own.items():
            bounds = map(_shown, self._bounds)
            family.add_metric(labels, list(zip(bounds, accumulate(each.counts), strict=True)), each.sum)
            family.add_sample(
                f"{self._name}_created", dict(zip(self._names, labels, strict=True)), self._created
            )
        yield family


def _shown(bound: float) -> str:
    shown: str = floatToGoString(bound)  # type: ignore[no-untyped-call] # the library's own has no types
    return shown
