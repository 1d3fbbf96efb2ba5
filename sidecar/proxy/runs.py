"""The responses that this process makes in the background, and what others want of them.

Rules: each is kept in the store from its beginning on, with its events, so that any process tells of it.
Events are written together, a few times a second; what was not written yet, followers in this process get at
once. While there are any, the store is asked a few times a second whether one is to be cancelled, and told
every now and then that this process is alive; while there are none, nothing is done. One that another process
has given up, or whose conversation was deleted, ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from sidecar.background.old_responses import OldResponses
from sidecar.background.tasks import Spawn
from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.in_background import events_in, is_end, packed
from sidecar.dialects.responses.translation import BEGUN
from sidecar.errors import StoreUnavailable, TooManyResponses
from sidecar.proxy.runner import name_of_process
from sidecar.proxy.stopped import stop
from sidecar.settings.limits import Limits
from sidecar.store import Store

__all__ = ["SILENT", "Run", "Runs"]

#: Seconds after which a process of which nothing was heard is taken for dead.
SILENT = 15.0
_HEARD = 2.0  # seconds between two signs of life
_LOOK = 0.4  # seconds between two looks for what is to be cancelled
_TOGETHER = 0.25  # seconds of events that are written together
_MOST_WAITING = 1 << 20  # bytes of events that may wait to be written
_LARGE = 128 << 10  # bytes of events that take a while to pack
_MAX_REFUSAL = 64 << 10  # bytes of an error
_OK = 200


class Run:
    """One response that is being made. `most`: so many bytes of its events are kept."""

    def __init__(
        self, store: Store, most: int, failed: Callable[[str, Exception], None], spawn: Spawn
    ) -> None:
        self._store, self._left, self._failed, self._spawn = store, most, failed, spawn
        self.request: web.BaseRequest | None = None
        self.asked: Asked | None = None
        self.where: Reference | None = None
        self.created = 0
        #: The first event that waits to be written, and all that do.
        self.first = self.last = 0
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        #: The last event, which is told once all is kept.
        self.end = b""
        #: What its upstream said in place of an answer, and under which status.
        self.refusal, self.status = bytearray(), _OK
        #: It is to end: somebody cancelled it, or it is nobody's any more.
        self.is_stopped = self.is_cancelled = False
        self.making: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()

    def begin(self, where: Reference, asked: Asked, created: int) -> None:
        """It is kept from now on, with its first events."""
        self.where, self.asked, self.created = where, asked, created
        self.first, self.last = BEGUN, BEGUN - 1

    async def tell(self, status: int, piece: bytes) -> None:
        """A piece of the answer, in place of its client."""
        self.status = status
        if status != _OK:
            if len(self.refusal) <= _MAX_REFUSAL:
                self.refusal += piece
            return
        for event in events_in(piece):
            if is_end(event):
                self.end = event
            else:
                self._take(event)
        self.wake()
        if self._writing is None and self._waiting:
            self._writing = self._spawn(self._write_soon())
        if self._writing is not None and self._waiting_size > _MOST_WAITING:
            await asyncio.wait((self._writing,))

    def _take(self, event: bytes) -> None:
        self.last += 1
        self._left -= len(event)
        if self._left < 0:  # nobody can follow it any more
            self._waiting.clear()
            self._waiting_size, self.first = 0, self.last + 1
            return
        self._waiting.append(event)
        self._waiting_size += len(event)

    def since(self, number: int) -> bytes | None:
        """The events behind that of this number; None if some of them do not wait here."""
        if number + 1 < self.first:
            return None
        return b"".join(self._waiting[number + 1 - self.first :])

    async def change(self, patience: float) -> bool:
        """Wait for another event, or the end; False if there was none for so long (seconds)."""
        try:
            async with asyncio.timeout(patience):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def stop(self, *, is_cancelled: bool = False, is_forgotten: bool = False) -> None:
        """Have it end. `is_cancelled`: since its client wants that; `is_forgotten`: since its chat is
        gone."""
        if self.is_stopped or (self.making is not None and self.making.done()):
            return
        self.is_stopped, self.is_cancelled = True, is_cancelled
        if self.request is not None:
            stop(self.request, is_forgotten=is_forgotten)
        if self.making is not None:  # else whoever begins it finds that it is stopped
            self.making.cancel()

    async def write(self) -> None:
        """Write what waits."""
        self._hurry.set()
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        await self._write()

    def kept_end(self, events: list[bytes]) -> KeptEvents | None:
        """These last events, if there is room for them."""
        number = self.last + 1
        return packed(events, number) if self._left >= sum(map(len, events)) else None

    async def _write_soon(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_TOGETHER):
                await self._hurry.wait()
        try:
            await self._write()
        finally:
            self._writing = None
        if self._waiting and not self._hurry.is_set():
            self._writing = self._spawn(self._write_soon())

    async def _write(self) -> None:
        if not self._waiting or self.where is None:
            return
        events, first, size = tuple(self._waiting), self.first, self._waiting_size
        work = partial(packed, events, first)
        kept = await asyncio.to_thread(work) if size > _LARGE else work()
        try:
            is_made = await self._store.add_events(self.where, kept)
        except StoreUnavailable as error:
            self._failed("response", error)
            if self._waiting_size > _MOST_WAITING:
                self._left = -1  # they cannot be held for ever
            return
        if first == self.first:  # else they were dropped meanwhile
            del self._waiting[: len(events)]
            self.first += len(events)
            self._waiting_size -= size
        if not is_made:
            self.stop(is_forgotten=True)


class Runs:
    """All of this process, at most so many at once as the limits say."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        spawn: Spawn,
        failed: Callable[[str, Exception], None],
        old: OldResponses,
    ) -> None:
        self._store, self._spawn, self._failed, self._old = store, spawn, failed, old
        self._most, self._events = limits.background_responses, limits.background_events
        self._runs: set[Run] = set()
        self._by_exchange: dict[bytes, Run] = {}
        self._watching: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._name: str | None = None

    @property
    def name(self) -> str:
        """That of this process."""
        if self._name is None:
            self._name = name_of_process()
        return self._name

    def find(self, where: Reference) -> Run | None:
        """The one that this is, if it is made here."""
        return self._by_exchange.get(where.exchange)

    def enter(self) -> Run:
        """A place for one more. Raises `TooManyResponses`."""
        if len(self._runs) >= self._most:
            raise TooManyResponses(
                f"`limits.background_responses` = {self._most} responses are being made in the background"
            )
        run = Run(self._store, self._events, self._failed, self._spawn)
        self._runs.add(run)
        return run

    async def begin(self, run: Run, tenant: bytes, told: bytes, events: KeptEvents) -> None:
        """Keep its beginning; from now on all know of it. Raises `StoreUnavailable`."""
        assert run.where is not None
        await self._store.begin_response(
            RunningResponse(run.where, tenant, self.name, told, run.last), events
        )
        self._by_exchange[run.where.exchange] = run
        self._empty.clear()
        if self._watching is None:
            self._watching = self._spawn(self._watch())

    def leave(self, run: Run) -> None:
        """It is over."""
        self._old.expect()
        self._runs.discard(run)
        if run.where is not None:
            self._by_exchange.pop(run.where.exchange, None)
        if not self._by_exchange:
            self._empty.set()
        run.wake()

    async def _watch(self) -> None:
        heard = time.monotonic()
        try:
            while self._by_exchange:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._empty.wait()
                if not self._by_exchange:
                    return
                is_due = time.monotonic() - heard >= _HEARD
                if await self._look(is_due=is_due) and is_due:
                    heard = time.monotonic()
        finally:
            self._watching = None

    async def _look(self, *, is_due: bool) -> bool:
        """What others want; False if the store does not tell."""
        runs = dict(self._by_exchange)  # one that begins meanwhile may not be among what the store tells
        try:
            if is_due:
                await self._store.heard_of(self.name)
            made = await self._store.made_by(self.name)
        except StoreUnavailable as error:
            self._failed("response", error)
            return False
        for exchange, run in runs.items():
            if exchange not in made:
                run.stop(is_forgotten=True)
            elif made[exchange]:
                run.stop(is_cancelled=True)
        return True
