"""Work that outlives its request: started here, so that a reference is kept and somebody waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sidecar.errors import StoreUnavailable

__all__ = ["BackgroundTasks", "Spawn"]

log = logging.getLogger("sidecar.proxy")
T = TypeVar("T")
#: Starts work in the background, as `BackgroundTasks.spawn` does.
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class BackgroundTasks:
    """The tasks under way. Its coroutines end soon after `stopping` is set."""

    def __init__(self) -> None:
        #: Set when the process has waited long enough for what goes on in the background.
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that `finish` waits for. What it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, timeout: float) -> None:
        """Wait until nothing is under way; after `timeout` (seconds) what is left is told to end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        self.stopping.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):  # that is logged where it arises
            log.error("a background task failed", exc_info=error)
