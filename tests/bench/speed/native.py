"""The upstream and the load generator: compiled when they are needed, and run."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.speed.bodies import REPLY
from tests.bench.speed.clocks import on_cores

__all__ = ["CHAT", "RESPONSES", "CannotMeasure", "Generator", "Load", "Times", "compiled", "upstream"]

_HERE = Path(__file__).parent
#: Of the generator and the upstream; what is measured has the other.
_CORE = 1

#: What is asked.
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"

Times = tuple[float, float, float]


class CannotMeasure(Exception):
    """This machine lacks something; the text says what."""


@dataclass(frozen=True)
class Load:
    """What the generator saw. Times are microseconds: the median, the 99th percentile, and the longest."""

    requests: int
    failed: int
    reason: str
    chunks: int
    #: The shortest and the longest body.
    bytes: tuple[int, int]
    seconds: float
    cpu: float
    #: The most requests at one time.
    open: int
    first: Times | None
    latency: Times | None


async def compiled(folder: Path) -> None:
    """Make `folder/upstream` and `folder/generator`."""
    if not sys.platform.startswith("linux"):
        raise CannotMeasure("it needs Linux: epoll, and /proc for CPU time and memory")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotMeasure("it needs a C compiler. Debian and Ubuntu: apt install gcc libc6-dev")
    for name in ("upstream", "generator"):
        command = [compiler, "-O2", f"-DREPLY={json.dumps(REPLY)}", "-o", str(folder / name)]
        process = await asyncio.create_subprocess_exec(
            *command, str(_HERE / f"{name}.c"), stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        if process.returncode:
            raise CannotMeasure(f"{name}.c cannot be compiled:\n{said.decode()[-2000:]}")


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The port of the mock upstream, and its process id."""
    pipe = asyncio.subprocess.PIPE
    with on_cores(_CORE):
        process = await asyncio.create_subprocess_exec(str(folder / "upstream"), stdin=pipe, stdout=pipe)
    assert process.stdin
    assert process.stdout
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        await process.wait()


class Generator:
    """Asks what a script says. Each run has chats of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0

    def new_run(self) -> int:
        """A number that no run had."""
        self._runs += 1
        return self._runs

    async def run(
        self,
        port: int,
        script: bytes,
        *,
        run: int,
        chats: int,
        turns: tuple[int, int],
        connections: int,
        chunks: int,
        seconds: float,
        ramp: int,
        is_new_each: bool,
        headers: Sequence[str],
        path: str = CHAT,
    ) -> Load:
        """`seconds` is the most that it may take."""
        file = self._folder / f"script-{run}"  # of each run its own, for two may go on side by side
        file.write_bytes(script)
        numbers = [run, chats, *turns, connections, chunks, seconds, ramp, int(is_new_each)]
        pipe = asyncio.subprocess.PIPE
        with on_cores(_CORE):
            process = await asyncio.create_subprocess_exec(
                *(str(self._folder / "generator"), str(port), path, str(file), *map(str, numbers), *headers),
                stdout=pipe,
                stderr=pipe,
            )
        out, error = await process.communicate()
        file.unlink()
        if process.returncode:
            raise CannotMeasure(error.decode())
        said = json.loads(out)
        return Load(
            **said | {name: said[name] and tuple(said[name]) for name in ("bytes", "first", "latency")}
        )
