"""The sidecar as a process, what is done to it, and what it takes: memory, open files, room on the disk."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.program import Program
from tests.proxy.fault_injection import locked, no_room
from tests.proxy.process import Process

__all__ = ["KILLS", "Outages", "Reading", "Readings", "disturb", "read_on"]

#: Seconds for which the store is locked, longer than the sidecar waits for it, and for which it has no room.
#: In a short run a share of the time between two of them.
_LOCKED, _NO_ROOM, _SHARE = 12.0, 5.0, 0.25
KILLS = 8
_NOTICED = 12.0  # seconds: until then what was asked during an outage has an end
_EVERY = 5.0  # seconds between two readings


@dataclass(frozen=True)
class Reading:
    """`at`: a monotonic time. `memory`, `disk`: bytes. `files`: that are open, sockets too."""

    at: float
    memory: int
    files: int
    disk: int


class Readings(list[Reading]):
    """What the sidecar took, over its lives."""

    def take(self, pid: int, store: Path) -> Reading | None:
        """Nothing while the process is gone."""
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:
            return None
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        if resident is None:
            return None
        disk = sum(file.stat().st_size for file in store.parent.glob(f"{store.name}*"))
        taken = Reading(time.monotonic(), int(resident[1]) * 1024, files, disk)
        self.append(taken)
        return taken

    def memory(self, begin: float, end: float) -> float:
        """The median in a span of time, in MB."""
        found = [each.memory for each in self if begin <= each.at <= end]
        return statistics.median(found) / 1e6 if found else 0.0


class Outages:
    """When the store failed. A client that brings its history sees an end then, though nothing is kept."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._spans)

    def begin(self) -> None:
        """From now on, until it is said otherwise."""
        self._spans.append((time.monotonic(), float("inf")))

    def end(self) -> None:
        """A reply may still be under way whose turn could not be kept."""
        self._spans[-1] = (self._spans[-1][0], time.monotonic() + _NOTICED)

    def hold(self, at: float) -> bool:
        """Was one then?"""
        return any(begin <= at <= end for begin, end in self._spans)


async def _outage(number: int, most: float, sidecar: Program, store: Path, outages: Outages) -> None:
    """Each second one is a lock, each other one a full disk; of so many seconds at most."""
    process = Process(sidecar.running, "", sidecar.url)
    seconds, fault = (_LOCKED, locked) if number % 2 else (_NO_ROOM, no_room)
    seconds = min(seconds, most)
    outages.begin()
    block: AbstractContextManager[None] = fault(process, store)
    try:
        with block:
            await asyncio.sleep(seconds)
    finally:
        outages.end()


async def disturb(
    seconds: float, sidecar: Program, store: Path, outages: Outages, said: Callable[[str], None]
) -> None:
    """Lives that end by `kill -9` in the first half of the time; then one, whose last half is calm."""
    part = seconds / KILLS / 2
    for number in range(KILLS + KILLS // 2):
        await asyncio.sleep(part / 2)
        await _outage(number, part * _SHARE, sidecar, store, outages)
        await asyncio.sleep(max(0.0, part / 2 - _LOCKED))
        if number < KILLS:
            await sidecar.kill()
            await sidecar.start()
            said(f"killed and started, {number + 1} times")


async def read_on(sidecar: Program, store: Path, readings: Readings) -> None:
    """Take a reading again and again."""
    while True:
        readings.take(sidecar.running.pid, store)
        await asyncio.sleep(_EVERY)
