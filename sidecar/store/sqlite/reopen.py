"""A file that fails its readers is opened anew: the disk was gone and is back, the log was cut short, or
another file was put under the name.

Rule: both connections are closed before one is opened, since only then SQLite looks at the file with new
eyes; and never more often than every few seconds. A failing write is no reason, for on a full disk what is
open can still be read. A file that is gone is never made anew: an empty store would pass for ours.
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

__all__ = ["Renewal", "ReopeningWorker"]

log = logging.getLogger("sidecar.store")
T = TypeVar("T")

_REOPEN_INTERVAL = 1.0  # seconds
_REASONS = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB}


class _Moved(sqlite3.OperationalError):
    """What is written now would not be found under the file's name."""


class Renewal:
    """Stops the workers of one file, and starts them again."""

    def __init__(self) -> None:
        #: Only a store that was opened, and is not closed, is opened anew.
        self.is_wanted = False
        self.workers: list[ReopeningWorker] = []
        #: What the file failed to give last, until it gives it.
        self.failed: Job | None = None
        self._running: asyncio.Task[None] | None = None
        self._last = 0.0

    async def over(self) -> None:
        """Wait until none is under way."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def happened(self, error: StoreUnavailable) -> bool:
        """Open the file anew, or wait for whoever does; False if that was just done."""
        if self._running is None:
            if not self.is_wanted or time.monotonic() < self._last + _REOPEN_INTERVAL:
                return False
            log.error("the store's file is opened anew", extra={"error": error.message})
            # A task of its own: whoever waits for it may be cancelled.
            self._running = asyncio.get_running_loop().create_task(self._renew())
        await asyncio.wait((self._running,))
        return True

    async def _renew(self) -> None:
        try:
            for each in self.workers:
                await each.stop()
            for each in self.workers:
                # One that does not start says so to everyone who has a job for it, until a later renewal.
                with suppress(sqlite3.Error, StoreUnavailable):
                    await each.start()
        finally:
            self._last = time.monotonic()
            self._running = None


class ReopeningWorker(Worker):
    """A worker on `file` that gets over what happens to the file, together with the others of `renewal`."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        *,
        commits: bool,
        file: str,
        renewal: Renewal,
    ) -> None:
        super().__init__(name, self._connected, commits=commits)
        self._open_file = connect
        self._file = file
        self._identity: tuple[int, int] | None = None
        #: Why it could not be opened anew.
        self._trouble = ""
        self._renewal = renewal
        renewal.workers.append(self)

    async def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """As any worker; a job that fails for the file is tried once more after a renewal."""
        await self._renewal.over()
        try:
            result = await super().do(job)
        except StoreUnavailable as error:
            if not self._is_reason(error.__cause__):
                raise
            self._renewal.failed = None if self.commits else job
            if not await self._renewal.happened(error) or not self.is_open:
                raise StoreUnavailable(self._trouble or error.message) from error
            result = await super().do(job)
        if self._renewal.failed is job:
            self._renewal.failed = None
        return result

    def _is_reason(self, error: BaseException | None) -> bool:
        if isinstance(error, _Moved) or not self.is_open:
            return True
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in _REASONS and not self.commits

    def _connected(self) -> sqlite3.Connection:
        try:
            if self._renewal.is_wanted:
                self._stat()
            connection = self._open_file()
            self._identity = self._stat()
        except (sqlite3.Error, StoreUnavailable) as error:
            if self._renewal.is_wanted:
                self._trouble = f"the store cannot be opened again: {error}"
            raise
        self._trouble = ""
        return connection

    def ready(self) -> None:
        if self._stat() != self._identity:
            raise _Moved(f"another file has come in the place of {self._file}")

    def _stat(self) -> tuple[int, int]:
        try:
            found = os.stat(self._file)
        except OSError as error:
            raise _Moved(f"{self._file} is gone: {error.strerror}") from error
        return found.st_dev, found.st_ino
