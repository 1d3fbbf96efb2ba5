"""Reopens a file whose reads fail: the disk was gone and is back, the write-ahead log was truncated, or
another file was put under the name.

Rule: both connections are closed before one is opened, since SQLite reads the file afresh only then, and
that at most once a second. A failed write is no reason: on a full disk, open connections can still read. A
file that is gone is never created again: an empty store would pass for ours.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from sidecar.errors import StoreUnavailable
from sidecar.store.sqlite.worker import Job, Worker

__all__ = ["Reopener", "ReopeningWorker"]

log = logging.getLogger("sidecar.store")
T = TypeVar("T")

_REOPEN_INTERVAL = 1.0  # seconds
_REASONS = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB}


class _Moved(sqlite3.OperationalError):
    """The file that is open is no longer the one under its name."""


class Reopener:
    """Stops the workers of one file and starts them again."""

    def __init__(self) -> None:
        #: Only a store that was opened, and is not closed, is reopened.
        self.is_wanted = False
        self.workers: list[ReopeningWorker] = []
        #: The last read that failed, until it succeeds.
        self.failed: Job | None = None
        self._running: asyncio.Task[None] | None = None
        self._last = 0.0

    async def over(self) -> None:
        """Wait until the file is not being reopened."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def happened(self, error: StoreUnavailable) -> bool:
        """Reopen the file, or wait for whoever does; False if that has just been done."""
        if self._running is None:
            if not self.is_wanted or time.monotonic() < self._last + _REOPEN_INTERVAL:
                return False
            log.error("reopening the store's file", extra={"error": error.message})
            # A task of its own: whoever waits for it may be cancelled.
            self._running = asyncio.get_running_loop().create_task(self._renew())
        await asyncio.wait((self._running,))
        return True

    async def _renew(self) -> None:
        try:
            for each in self.workers:
                await each.stop()
            for each in self.workers:
                # One that does not start fails every job, until the file is reopened later.
                with suppress(sqlite3.Error, StoreUnavailable):
                    await each.start()
        finally:
            self._last = time.monotonic()
            self._running = None


class ReopeningWorker(Worker):
    """A worker that recovers from a lost or replaced file, together with the others of `reopener`."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        *,
        commits: bool,
        file: str,
        reopener: Reopener,
    ) -> None:
        super().__init__(name, self._connected, commits=commits)
        self._open_file = connect
        self._file = file
        self._identity: tuple[int, int] | None = None
        #: Why the file could not be reopened.
        self._trouble = ""
        self._reopener = reopener
        reopener.workers.append(self)

    async def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Like any worker's; a job that fails because of the file is retried once after reopening it."""
        await self._reopener.over()
        try:
            result = await super().do(job)
        except StoreUnavailable as error:
            if not self._is_reason(error.__cause__):
                raise
            self._reopener.failed = None if self.commits else job
            if not await self._reopener.happened(error) or not self.is_open:
                raise StoreUnavailable(self._trouble or error.message) from error
            result = await super().do(job)
        if self._reopener.failed is job:
            self._reopener.failed = None
        return result

    def _is_reason(self, error: BaseException | None) -> bool:
        if isinstance(error, _Moved) or not self.is_open:
            return True
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in _REASONS and not self.commits

    def _connected(self) -> sqlite3.Connection:
        try:
            if self._reopener.is_wanted:
                self._stat()
            connection = self._open_file()
            self._identity = self._stat()
        except (sqlite3.Error, StoreUnavailable) as error:
            if self._reopener.is_wanted:
                self._trouble = f"the store cannot be opened again: {error}"
            raise
        self._trouble = ""
        return connection

    def ready(self) -> None:
        if self._stat() != self._identity:
            raise _Moved(f"{self._file} was replaced by another file")

    def _stat(self) -> tuple[int, int]:
        try:
            found = os.stat(self._file)
        except OSError as error:
            raise _Moved(f"{self._file} is gone: {error.strerror}") from error
        return found.st_dev, found.st_ino
