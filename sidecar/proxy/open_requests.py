"""The requests that are being answered, so that the end of the process can wait for them."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["OpenRequests"]


class OpenRequests:
    """One task for each request that has no complete response yet."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        #: The process ends, and is not ready any more: who only waits for the next request has to leave.
        self.ending = asyncio.Event()

    def begin(self) -> asyncio.Task[Any] | None:
        """The running task answers a request, until `end` is told of it."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        return task

    def end(self, task: asyncio.Task[Any] | None) -> None:
        """The request of this task has its response."""
        if task is not None:
            self._tasks.discard(task)

    async def finish(self, timeout: float) -> None:
        """Wait until every request is answered; after `timeout` (seconds) the rest is cancelled."""
        self.ending.set()
        under_way = set(self._tasks)
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=max(0.0, timeout))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
