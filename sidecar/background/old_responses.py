"""What is kept of responses that were made in the background is deleted a while after their end.

Rule: a process in which none was made, and that finds none at its start, does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sidecar.background.tasks import Spawn
from sidecar.errors import StoreUnavailable
from sidecar.store import Store

__all__ = ["KEPT", "OldResponses"]

#: Seconds after its end for which a response is told that is in no chat, and its events are.
KEPT = 3600.0
_EVERY = KEPT / 6


class OldResponses:
    """Those of the store."""

    def __init__(self, store: Store, spawn: Spawn, failed: Callable[[str, Exception], None]) -> None:
        self._store, self._spawn, self._failed = store, spawn, failed
        self._later: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look whether there are any."""
        self._spawn(self._look())

    def stop(self) -> None:
        """Look no more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def expect(self) -> None:
        """There is one: look for it when it is old."""
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_EVERY, self._again)

    def _again(self) -> None:
        self._later = None
        self._spawn(self._look())

    async def _look(self) -> None:
        try:
            if not await self._store.forget_responses(KEPT):
                return
        except StoreUnavailable as error:
            self._failed("response", error)
        self.expect()
