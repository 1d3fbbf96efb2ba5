"""What the `[retention]` settings keep no longer goes by itself, now and then.

Rules: no request waits for it; a failure of the store is counted and said, and the next round tries again;
the end of the process ends it between two steps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sidecar.background.tasks import Spawn
from sidecar.errors import StoreUnavailable
from sidecar.retention import prune
from sidecar.settings import Retention
from sidecar.store import Store

__all__ = ["RetentionJob"]

log = logging.getLogger("sidecar.proxy")

_PAUSE = 0.01  # seconds between two steps
_FIRST = 60.0  # seconds after the start, when there is enough else to do


class RetentionJob:
    """One round after the other."""

    def __init__(
        self, store: Store, rules: Retention, spawn: Spawn, store_failed: Callable[[str, Exception], None]
    ) -> None:
        self._store, self._rules = store, rules
        self._spawn, self._store_failed = spawn, store_failed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if the settings say that anything is to go."""
        limits = (self._rules.max_days, self._rules.max_conversations, self._rules.max_bytes)
        if self._rules.every and any(limit is not None for limit in limits):
            self._task = self._spawn(self._rounds())

    def stop(self) -> None:
        """The process ends: what is half deleted is found by nobody, and the next round ends it."""
        if self._task is not None:
            self._task.cancel()

    async def _rounds(self) -> None:
        await asyncio.sleep(min(_FIRST, self._rules.every))
        while True:
            try:
                count = await prune(self._store, self._rules, time.time(), pause=_PAUSE)
            except StoreUnavailable as error:
                self._store_failed("prune", error)
            else:
                if count:
                    log.info("conversations were deleted by the retention rules", extra={"count": count})
            await asyncio.sleep(self._rules.every)
