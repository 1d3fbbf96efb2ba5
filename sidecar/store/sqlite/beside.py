"""Long work on a file in a thread and on a connection of its own, for which no request waits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sidecar.errors import StoreUnavailable
from sidecar.store.base import Store
from sidecar.store.sqlite.worker import Worker

__all__ = ["Beside"]

T = TypeVar("T")

_LOCK_TIMEOUT = 60.0  # seconds that a long operation waits for a lock
_POLL_INTERVAL = 0.2  # seconds


class Beside(Store):
    """The part of `SQLiteStore` that does such work."""

    _file: str
    _reader: Worker

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read beside requests, none of which waits for it."""
        if not self._reader.is_open:
            raise StoreUnavailable("the store is not open")
        return await self._beside(work)

    async def _beside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a long operation in a thread and on a connection of its own; it ends with its caller."""
        connection = sqlite3.connect(
            self._file, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False
        )
        running = asyncio.get_running_loop().run_in_executor(None, work, connection)
        try:
            await asyncio.wait([running])
        finally:
            while not running.done():
                connection.interrupt()
                await asyncio.wait([running], timeout=_POLL_INTERVAL)
            connection.close()
            error = running.exception()  # retrieved in any case, or asyncio logs that it never was
        if isinstance(error, sqlite3.Error):
            raise StoreUnavailable(f"the store failed: {error}") from error
        return running.result()
