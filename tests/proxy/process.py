"""A sidecar in a process of its own, started as a user starts it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Process:
    """`ready` is the line on standard output that tells that it serves."""

    running: asyncio.subprocess.Process
    ready: str
    url: str

    @property
    def peak_memory(self) -> int:
        """The most that was ever resident, in bytes (Linux)."""
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def clean_environment(*, measured: bool = False) -> dict[str, str]:
    """That of the tests, without settings of the machine's own.

    The lines that run there count for the coverage only if `measured`. That doubles the cost of a start, and
    everything but the life of the process itself is measured in the tests' own process as well.
    """
    left_out = ("SIDECAR_",) if measured else ("SIDECAR_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


_SIDECAR = (sys.executable, "-m", "sidecar")


@asynccontextmanager
async def serving(*flags: str, folder: Path, **environment: str) -> AsyncIterator[Process]:
    async with started(_SIDECAR, *flags, folder=folder, **environment) as process:
        yield process


@asynccontextmanager
async def measured(*flags: str, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """The same, for the coverage as well: where the life of the process is what is tested."""
    base = clean_environment(measured=True)
    async with _started(_SIDECAR, flags, folder, base, environment) as process:
        yield process


@asynccontextmanager
async def started(
    program: tuple[str, ...], /, *flags: str, folder: Path, **environment: str
) -> AsyncIterator[Process]:
    async with _started(program, flags, folder, clean_environment(), environment) as process:
        yield process


@asynccontextmanager
async def _started(
    program: tuple[str, ...],
    flags: tuple[str, ...],
    folder: Path,
    base: dict[str, str],
    environment: dict[str, str],
) -> AsyncIterator[Process]:
    running = await asyncio.create_subprocess_exec(
        *(*program, "serve", "--listen", "127.0.0.1:0", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={
            **base,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            # Scripts are for the requests that a test makes, not for those that ask for windows.
            "SIDECAR_TRIM__WINDOW_REFRESH": "0",
            # What it prints besides is the matter of tests of their own.
            **({} if "SIDECAR_ADMIN__LISTEN" in environment else {"SIDECAR_ADMIN__INSPECTOR": "off"}),
            **environment,
        },
    )
    assert running.stdout is not None
    try:
        ready = (await asyncio.wait_for(running.stdout.readline(), 20)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", ready)
        assert found is not None, ready
        yield Process(running, ready, found[0])
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()
