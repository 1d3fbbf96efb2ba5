"""What all workers of one sidecar count together: how many requests of a key are under way, and how many
began in the last minute.

Rules: a request under way holds a slot, one locked byte of a file that the workers share; the kernel gives
it back when its process ends, however it ends, so nothing has to be cleaned up after `kill -9`. When the
last requests began stands in a ring of memory that they share likewise: in no 60 seconds there are more
than a key may have. A single worker does without files. Other sidecars, on this machine or another, count
by themselves.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import mmap
import os
from collections import OrderedDict
from time import monotonic
from typing import TypeAlias

from sidecar.errors import TooManyRequests

__all__ = ["MOST_AT_ONCE", "MOST_IN_A_MINUTE", "Slots"]

MOST_AT_ONCE, MOST_IN_A_MINUTE = 1000, 10_000
_MINUTE = 60.0  # seconds
_RINGS = 4096  # that are kept open
_SIZE = 8  # bytes of a number
_PLACES = 1 << 12  # the bytes of a key in the file of locks; the last one is that of its ring
_PATIENCE, _PAUSE = 1.0, 0.001  # seconds
_Ring: TypeAlias = "memoryview[float]"


class Slots:
    """Those of one worker. `folder`: in which all workers have what they share; None for a single one."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        # Never closed: with any descriptor of a file a process gives back all locks that it has there.
        self._file = (
            os.open(f"{folder}/slots", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            if folder is not None
            else None
        )
        self._taken: dict[str, set[int]] = {}
        self._rings: OrderedDict[tuple[str, int], _Ring] = OrderedDict()

    async def take(self, id: str, parallel: int | None, rpm: int | None) -> int | None:
        """A slot of the key of this id, to be given back; None where nobody counts them.

        Raises `TooManyRequests`.
        """
        slot = self._slot(id, parallel) if parallel is not None else None
        if rpm is not None:
            try:
                wait = await self._begin(id, rpm)
            except BaseException:
                self.give_back(id, slot)
                raise
            if wait > 0:
                self.give_back(id, slot)
                raise _too_many(f"more than {rpm} requests in a minute", rpm, wait)
        return slot

    def give_back(self, id: str, slot: int | None) -> None:
        """It has ended."""
        if slot is None:
            return
        taken = self._taken[id]
        taken.discard(slot)
        if not taken:
            del self._taken[id]
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(id) + slot)

    def _slot(self, id: str, parallel: int) -> int:
        taken = self._taken.get(id, set())
        if len(taken) < parallel:
            for slot in range(parallel):
                if slot not in taken and self._lock(_place(id) + slot):
                    self._taken.setdefault(id, taken).add(slot)
                    return slot
        raise _too_many(f"more than {parallel} requests at once", parallel, 1.0)

    def _lock(self, place: int) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except BlockingIOError:
            return False
        return True

    async def _begin(self, id: str, rpm: int) -> float:
        """Note that a request begins; or how long until one may, in seconds."""
        place, end = _place(id) + _PLACES - 1, monotonic() + _PATIENCE
        while not self._lock(place):
            if monotonic() > end:  # whoever holds it has been stopped there
                raise TooManyRequests("the requests of this API key cannot be counted now; try again")
            await asyncio.sleep(_PAUSE)
        try:
            return _begun(self._ring(id, rpm), rpm, monotonic())
        finally:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _ring(self, id: str, rpm: int) -> _Ring:
        ring = self._rings.get((id, rpm))
        if ring is None:
            ring = self._rings[id, rpm] = self._opened(f"{id}-{rpm}", (rpm + 1) * _SIZE)
            if len(self._rings) > _RINGS:
                self._rings.popitem(last=False)
        self._rings.move_to_end((id, rpm))
        return ring

    def _opened(self, name: str, size: int) -> _Ring:
        if self._folder is None:
            return memoryview(bytearray(size)).cast("d")
        file = os.open(f"{self._folder}/begun-{name}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, size)
            return memoryview(mmap.mmap(file, size)).cast("d")
        finally:
            os.close(file)


def _begun(ring: _Ring, rpm: int, now: float) -> float:
    """The first number tells how many have begun, the others when, by a clock that all processes share."""
    count = int(ring[0])
    oldest = ring[1 + count % rpm]
    if count >= rpm and now - oldest < _MINUTE:
        return _MINUTE - (now - oldest)
    ring[1 + count % rpm] = now
    ring[0] = count + 1
    return 0.0


def _place(id: str) -> int:
    number = int.from_bytes(hashlib.blake2b(id.encode(), digest_size=6).digest())
    return number * _PLACES  # offsets in a file are signed and have eight bytes


def _too_many(what: str, limit: int, wait: float) -> TooManyRequests:
    error = TooManyRequests(f"this API key has {what}; try again in {wait:.1f} s")
    error.retry_after = max(1, int(wait + 0.999))
    error.headers = {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{wait:.3f}s",
    }
    return error
