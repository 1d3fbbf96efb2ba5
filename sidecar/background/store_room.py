"""How much room the store's file takes, and how much is left where it lies.

Rule: whoever asks for the metrics waits for that a moment at most, and the event loop never: a disk that does
not answer holds one thread, and not one more with each look.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from sidecar.errors import StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.store import Store

__all__ = ["StoreRoom"]

_BESIDE = ("", "-wal", "-shm")  # the file, and what SQLite writes beside it


class StoreRoom:
    """Looks when it is told to, if the store is a file or tells it."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics) -> None:
        path = settings.store_path if settings.store.startswith("sqlite:") else None
        self._path = os.path.abspath(path) if path is not None else None
        self._store = store
        self._metrics = metrics
        self._looking: asyncio.Task[tuple[int, int]] | None = None

    async def look(self, patience: float) -> str:
        """Put both numbers into the metrics. Gives the reason where that was not possible within `patience`
        (seconds): neither is told then."""
        if self._path is None:
            return await self._look_inside(patience)
        if self._looking is None:
            self._looking = asyncio.ensure_future(asyncio.to_thread(_room, self._path))
        done, _ = await asyncio.wait((self._looking,), timeout=patience)
        if not done:
            self._metrics.set_store_room(None)
            return f"the disk did not answer within {patience:g} s"
        looking, self._looking = self._looking, None
        if isinstance(error := looking.exception(), OSError):
            self._metrics.set_store_room(None)
            return error.strerror or str(error)
        self._metrics.set_store_room(looking.result())
        return ""

    async def _look_inside(self, patience: float) -> str:
        """A store that is no file is asked itself."""
        taken, reason = None, ""
        try:
            async with asyncio.timeout(patience):
                taken = await self._store.taken()
        except TimeoutError:
            reason = f"the database did not answer within {patience:g} s"
        except StoreUnavailable as error:
            reason = error.message
        if taken is not None or reason:
            self._metrics.set_store_bytes(taken)
        return reason


def _room(path: str) -> tuple[int, int]:
    """Bytes that the file takes, with what is beside it, and bytes that are free for it."""
    taken = 0
    for end in _BESIDE:
        with suppress(FileNotFoundError):  # what is beside it comes and goes
            taken += Path(path + end).stat().st_size
    place = os.statvfs(os.path.dirname(path))
    return taken, place.f_bavail * place.f_frsize
