"""A sidecar in a process of its own, whose output goes to files: no pipe can fill up and hold it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Findings", "Process", "serving"]

_ROOT = Path(__file__).parents[2]
_START = 30.0  # seconds


@dataclass
class Findings:
    """What was tried and what was wrong; `faults` are sentences."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Process:
    """It listens on `port`, on 127.0.0.1."""

    running: subprocess.Popen[bytes]
    port: int

    @property
    def has_ended(self) -> bool:
        return self.running.poll() is not None


@asynccontextmanager
async def serving(upstream: int, folder: Path, found: Findings) -> AsyncIterator[Process]:
    """Serve in front of this port; in the end, report a process that died and every traceback in its log."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    command = [sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0"]
    command += [
        "--upstream",
        f"http://127.0.0.1:{upstream}/v1",
        "--store",
        f"sqlite:///{folder / 'store.db'}",
    ]
    out, log = folder / "out", folder / "log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        running = subprocess.Popen(
            command,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**clean, "PYTHONPATH": str(_ROOT), "SIDECAR_TRIM__WINDOW_REFRESH": "0"},
        )
    try:
        process = Process(running, await _port(out))
        yield process
        if process.has_ended:
            found.faults.append(f"the sidecar ended with {running.returncode}")
    finally:
        running.kill()
        running.wait()
    said = log.read_text("utf-8", "replace")
    if (at := said.find("Traceback")) >= 0:
        found.faults.append(f"in the log: {said[max(0, at - 1000) : at + 3000]}")


async def _port(out: Path) -> int:
    async with asyncio.timeout(_START):
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", out.read_text())) is None:
            await asyncio.sleep(0.05)
    return int(found[1])
