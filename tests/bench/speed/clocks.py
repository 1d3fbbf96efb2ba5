"""CPU time and memory of a process with all that it started, as Linux counts them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "busy", "cpu", "memory", "on_cores", "watched", "written"]


@contextmanager
def on_cores(*numbers: int) -> Iterator[None]:
    """What is started in the body stays on these cores, so that no two programs share one; none: on any."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[each] for each in numbers if each < len(cores)} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy(number: int) -> float:
    """Seconds that this core of ours has computed, whatever it was."""
    name = f"cpu{sorted(os.sched_getaffinity(0))[number]} "
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(name))
    user, nice, system, _idle, _waiting, *interrupts = map(int, line.split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds that the process and its descendants have computed so far, ended ones and threads included."""
    family = _family(pid)
    return sum(map(_computed, family)) + sum(map(_left_behind, family))


def written(pid: int) -> int:
    """Bytes that the process and its descendants have sent to a disk so far; those in memory file systems and
    of ended processes are not among them."""
    lines = "\n".join(_read(Path(f"/proc/{each}/io")) for each in _family(pid)).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def memory(pid: int) -> int:
    """Bytes that are resident, all processes together."""
    return sum(_resident(each) for each in _family(pid))


@dataclass
class Memory:
    before: int = 0
    most: int = 0


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Memory]:
    """The memory before the body, and the most while it runs."""
    seen = Memory(memory(pid))
    seen.most = seen.before

    async def look() -> None:
        while True:
            seen.most = max(seen.most, memory(pid))
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        seen.most = max(seen.most, memory(pid))


def _family(pid: int) -> list[int]:
    """The process and its descendants."""
    found, at = [pid], 0
    while at < len(found):
        for file in Path(f"/proc/{found[at]}/task").glob("*/children"):
            found += map(int, _read(file).split())
        at += 1
    return found


def _computed(pid: int) -> float:
    # A process's CPU clock as `clock_getcpuclockid` makes it: nanoseconds, where /proc counts hundredths.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it has ended
        return 0.0


def _left_behind(pid: int) -> float:
    """Of children that have ended."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _resident(pid: int) -> int:
    pages = _read(Path(f"/proc/{pid}/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended
        return ""
