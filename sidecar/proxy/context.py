"""What all requests share. Made once at the start, handed to every room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from sidecar.conversation.rebuild import Restore
from sidecar.doctor import Sights
from sidecar.errors import StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.proxy.appends import Appends
from sidecar.proxy.learned import Learned
from sidecar.proxy.places import places_of
from sidecar.proxy.pruning import Pruning
from sidecar.proxy.recent import Recent
from sidecar.proxy.slots import Slots
from sidecar.proxy.summaries import Summaries
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.windows import Windows
from sidecar.settings import Settings
from sidecar.store import Store

__all__ = ["Context"]

# Decoded, a body takes about three times its bytes.
_RECENT = 16 << 20

log = logging.getLogger("sidecar.proxy")
T = TypeVar("T")


class Context:
    """Settings, store, upstream, metrics, and the work that outlives its request."""

    def __init__(self, settings: Settings, store: Store, upstream: Upstream, metrics: Metrics) -> None:
        self.settings = settings
        self.store = store
        self.upstream = upstream
        self.metrics = metrics
        self.places = places_of(settings)
        chat = settings.identity.headers if settings.session.opaque else ()
        #: The names (lower case) of the client's headers that reach no upstream as they came.
        self.kept_back = frozenset(name.lower() for name in (*self.places.own, *chat))
        self.recent = Recent(_RECENT)
        self.sights = Sights(settings)
        self.appends = Appends(settings.history.append_wait, store)
        self.restore = Restore(
            answers=settings.restore.answers,
            reasoning=settings.restore.reasoning,
            user_messages=settings.restore.user_messages,
        )
        #: Set when the process has waited long enough for what goes on in the background.
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.windows = Windows(settings, upstream, self.spawn)
        self.learned = Learned(store, metrics, self.spawn, self.store_failed)
        self.summaries = Summaries(self.spawn)
        self.slots = Slots(settings.session.slots)
        self.pruning = Pruning(store, settings.retention, self.spawn, self.store_failed)
        #: The last attempt to write failed; cleared by the next that succeeds.
        self.store_failing = False
        self._probe: asyncio.Task[StoreUnavailable | None] | None = None
        self._answers: set[asyncio.Task[Any] | None] = set()

    def begin_answer(self) -> asyncio.Task[Any] | None:
        """The running task answers a request: `answered` waits for it, until `end_answer` is told of it."""
        task = asyncio.current_task()
        self._answers.add(task)
        return task

    def end_answer(self, task: asyncio.Task[Any] | None) -> None:
        """The request of this task has its answer."""
        self._answers.discard(task)

    async def answered(self, patience: float) -> None:
        """Wait until every request is answered; after `patience` (seconds) the rest is cancelled."""
        under_way = {task for task in self._answers if task is not None}
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=max(0.0, patience))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that goes on when its request is gone; `finish` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, patience: float) -> None:
        """Wait until nothing is under way; after `patience` (seconds) what is left is told to end."""
        self.windows.stop()
        self.learned.stop()
        self.summaries.stop()
        self.pruning.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        self.stopping.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def store_works(self, patience: float) -> None:
        """Return if a turn could be recorded now. Raises `StoreUnavailable`, after `patience` at most."""
        if self._probe is None or self._probe.done():  # one at a time: on a locked file each would wait
            self._probe = self.spawn(self._probed())
        await asyncio.wait((self._probe,), timeout=patience)
        if not self._probe.done():
            raise StoreUnavailable(f"the store did not answer within {patience:g} s")
        if (error := self._probe.result()) is not None:
            raise error

    async def _probed(self) -> StoreUnavailable | None:
        try:
            await self.store.probe()
        except StoreUnavailable as error:
            self.store_failing = True
            return error
        self.store_failing = False
        return None

    def store_failed(self, step: str, error: Exception) -> None:
        """Count and say that the store could not be used."""
        self.metrics.store_failures.labels(step).inc()
        log.error("the store failed", extra={"step": step, "error": str(error)})

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):  # that is logged where it arises
            log.error("work in the background failed", exc_info=error)
