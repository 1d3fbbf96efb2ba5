"""Does the store work? A circuit breaker: once it failed, requests probe it before they rely on it again.

Rules: a failure opens the circuit, the next write or probe that succeeds closes it. A read that fails may
have found damage in one place, so that a probe has to tell. One probe runs at a time, for on a locked file
each would wait. Every failure is counted and logged here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from sidecar.doctor.outages import Lost, Outages
from sidecar.errors import StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.store import Store

__all__ = ["StoreHealth"]

log = logging.getLogger("sidecar.proxy")

_COMMITS = 1000

_Spawn = Callable[[Coroutine[Any, Any, "StoreUnavailable | None"]], "asyncio.Task[StoreUnavailable | None]"]


class StoreHealth:
    """What is known of one store. `spawn` starts work that outlives the request that asked for it."""

    def __init__(self, store: Store, metrics: Metrics, spawn: _Spawn) -> None:
        self._store, self._metrics, self._spawn = store, metrics, spawn
        #: The last attempt to use it failed.
        self.is_failing = False
        #: Since when it failed, and what is missing since.
        self.outages = Outages()
        #: How many seconds it took to keep the last exchanges of this process, by their ids.
        self.commits: deque[tuple[bytes, float]] = deque(maxlen=_COMMITS)
        self._probe: asyncio.Task[StoreUnavailable | None] | None = None

    def wrote(self) -> None:
        """A write succeeded."""
        if self.is_failing:
            self._works()

    def could_not_write(self, error: StoreUnavailable, *, lost: Lost | None = None) -> None:
        """A write failed: the circuit opens. `lost`: the request that is not recorded so."""
        self._fails()
        if lost is not None:
            self.outages.lost(lost)
        self.report("write", error)

    def timed_out(self) -> None:
        """The store did not answer in time: the circuit opens, and whoever waited reports it."""
        self._fails()

    def report(self, step: str, error: Exception) -> None:
        """Count and log that the store could not be used; the circuit stays as it is."""
        self._metrics.store_failures.labels(step).inc()
        log.error("the store failed", extra={"step": step, "error": str(error)})

    async def doubt(self, timeout: float) -> None:
        """A read failed: find out whether that is damage in one place, or the circuit has to open."""
        if not self.is_failing:
            with suppress(StoreUnavailable):
                await self.probe(timeout)

    async def probe(self, timeout: float) -> None:
        """Return if something could be recorded now. Raises `StoreUnavailable` after `timeout` (seconds)."""
        if self._probe is None or self._probe.done():
            self._probe = self._spawn(self._probed())
        await asyncio.wait((self._probe,), timeout=timeout)
        if not self._probe.done():
            raise StoreUnavailable(f"the store did not answer within {timeout:g} s")
        if (error := self._probe.result()) is not None:
            raise error

    async def _probed(self) -> StoreUnavailable | None:
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            self._fails()
            return error
        self._works()
        return None

    def _fails(self) -> None:
        if not self.is_failing:
            self.outages.begin()
        self.is_failing = True

    def _works(self) -> None:
        if self.is_failing:
            self.outages.end()
        self.is_failing = False
