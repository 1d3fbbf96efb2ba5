"""What was said comes into the index in the background, if `search.index` is on; if it is off, none stays.

Rules: no request waits for it; of all workers and sidecars that share a store one does it at a time, in
steps with pauses; a failure of the store is counted and said, and the next round tries again. The end of the
process ends it between two steps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sidecar.background.tasks import Spawn
from sidecar.errors import StoreUnavailable
from sidecar.store import Store

__all__ = ["SearchIndexJob"]

log = logging.getLogger("sidecar.proxy")

_FIRST = 5.0  # seconds after the start, when there is enough else to do
_ROUND = 5.0  # seconds between two looks for what is new
_PAUSE = 0.05  # seconds between two steps, each of which takes a quarter of a second of one core
_LOCK = "sidecar-search-index"


class SearchIndexJob:
    """One round after the other."""

    def __init__(
        self, store: Store, is_on: bool, spawn: Spawn, store_failed: Callable[[str, Exception], None]
    ) -> None:
        self._store, self._is_on = store, is_on
        self._spawn, self._store_failed = spawn, store_failed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._is_on and not self._store.may_index:
            log.warning("there is no index of what was said: the store is encrypted (search.index)")
        elif self._store.may_index:
            self._task = self._spawn(self._rounds())

    def stop(self) -> None:
        """The process ends: what was not done yet, the next start does."""
        if self._task is not None:
            self._task.cancel()

    async def _rounds(self) -> None:
        await asyncio.sleep(_FIRST)
        while True:
            try:
                if not self._is_on:
                    await self._store.drop_index()
                    return
                await self._round()
            except TimeoutError:
                pass  # another process does it
            except StoreUnavailable as error:
                self._store_failed("index", error)
            await asyncio.sleep(_ROUND)

    async def _round(self) -> None:
        async with self._store.cross_process_lock(_LOCK, 0.0):
            has_more = True
            while has_more:
                has_more = await self._store.index_more()
                await asyncio.sleep(_PAUSE)
