"""Which forms upstreams take, kept in the store: over restarts, and for the processes that share it.

Rules: what was learned is in the store a moment later, and what others have learned is known within `_EVERY`
seconds. No request waits for it. A failure of the store is counted and said, and the next round tries again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sidecar.background.learned_forms import LearnedForms
from sidecar.background.tasks import Spawn
from sidecar.errors import StoreUnavailable
from sidecar.store import Store

__all__ = ["SharedForms"]

log = logging.getLogger("sidecar.proxy")

_NAME = "forms"
_WRITE_DELAY = 0.1  # seconds until a change is written
_EVERY = 5.0  # seconds between two looks


class SharedForms:
    """What is learned here and elsewhere, brought together."""

    def __init__(
        self, store: Store, forms: LearnedForms, spawn: Spawn, store_failed: Callable[[str, Exception], None]
    ) -> None:
        self._store, self._forms = store, forms
        self._spawn, self._store_failed = spawn, store_failed
        self._rounds: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_written = True
        self._seen = b""

    async def start(self) -> None:
        """Take over what is kept, and look for more from now on. Raises `StoreUnavailable`."""
        await self._take_over()
        self._rounds = self._spawn(self._look())

    def stop(self) -> None:
        """The process ends."""
        if self._rounds is not None:
            self._rounds.cancel()

    def changed(self) -> None:
        """Something was learned, or cleared; returns at once."""
        self._is_written = False
        if self._writing is None or self._writing.done():
            self._writing = self._spawn(self._write())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self._take_over()
            except StoreUnavailable as error:
                self._store_failed("read", error)
            if not self._is_written:
                self.changed()

    async def _take_over(self) -> None:
        told = (await self._store.load_learned()).get(_NAME, b"")
        if told and told != self._seen:
            self._seen = told
            try:
                self._forms.merge(told)
            except ValueError:
                log.warning("the learned forms of requests cannot be read", extra={"learned": _NAME})

    async def _write(self) -> None:
        while not self._is_written:
            await asyncio.sleep(_WRITE_DELAY)
            try:
                await self._take_over()  # else what another process has written a moment ago would be lost
                self._is_written = True  # unless something is learned while it is being saved
                self._seen = self._forms.dump()
                await self._store.save_learned(_NAME, self._seen)
            except StoreUnavailable as error:
                self._is_written = False
                self._store_failed("write", error)
                return
