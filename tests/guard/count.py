"""The counts of the three works and of an exchange by itself, and those that were put on record."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.program import plain_environment
from tests.guard.wire import Wire, wire
from tests.guard.works import SAID, WORKS, Work

__all__ = ["ALLOWED", "VERSION", "allowed", "counts", "counts_with", "differences", "on_record", "write"]

#: How far a count may be from that on record, as a share of it.
ALLOWED = 0.05
#: The bytecodes of another version of Python may be so much more; how many fewer it needs says nothing.
_OTHER_VERSION = 0.3
#: Which Python this is.
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

_RECORD = Path(__file__).parent / "baseline.json"
_ROOT = Path(__file__).parents[2]
#: What an exchange costs beside its row, its counters and histograms included; a part of each work.
EXCHANGE = "exchange and histograms"
#: The first ones fill caches.
_UNCOUNTED = 2
#: Now and then one has a timer in it.
_COUNTED = 5


def on_record() -> tuple[str, dict[str, int]]:
    """The version of Python, and the count of each work."""
    found = json.loads(_RECORD.read_text())
    return found["python"], found["bytecodes"]


def write(counted: Mapping[str, int]) -> None:
    """Put these counts on record."""
    _RECORD.write_text(json.dumps({"python": VERSION, "bytecodes": dict(counted)}, indent=2) + "\n")


def allowed() -> float:
    """How far a count of this Python may be from that on record, which is of one version."""
    return ALLOWED if on_record()[0] == VERSION else _OTHER_VERSION


def differences(counted: Mapping[str, int], expected: Mapping[str, int], allowed: float) -> list[str]:
    """A sentence for each work whose count is too far from the expected one; of another version, above it."""
    fewest = -allowed if allowed == ALLOWED else -1.0
    return [
        f"{name}: {counted[name]:,} bytecodes instead of {expected[name]:,}"
        f" ({counted[name] / expected[name] - 1:+.1%}). If that is meant: ./dev bench guard --write"
        for name in expected
        if not fewest <= counted[name] / expected[name] - 1 <= allowed
    ]


async def counts(folder: Path) -> dict[str, int]:
    """Bytecodes for a request of each work: the count that came most often among a few."""
    return {**await counts_with(folder, lambda _url: {}), EXCHANGE: await _exchange(folder)}


async def counts_with(
    folder: Path, settings: Callable[[str], Mapping[str, str]], key: str = ""
) -> dict[str, int]:
    """The same with these settings (as the environment names them; they are told the upstream's URL), and
    without the exchange by itself. `key`: with which the client asks."""
    async with wire() as made, _counting(made.url, folder, settings(made.url)) as counting:
        made.credential = key or made.credential
        await made.connect(counting.port)
        found = {work.name: await _count(work, made, counting) for work in WORKS}
        made.close()
    return found


async def _exchange(folder: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.guard.exchange"),
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**plain_environment(), "PYTHONPATH": str(_ROOT)},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return int(said)


async def _count(work: Work, made: Wire, counting: _Counting) -> int:
    taken = []
    for number in range(_UNCOUNTED + _COUNTED):
        chat = f"{work.name} {number}"
        await made.ask(work.before(chat), chat, [SAID], streamed=False)
        begun = await counting.so_far()
        await made.ask(work.body(chat), chat, work.reply(), streamed=bool(work.chunks))
        taken.append(await counting.so_far() - begun)
        if taken[_UNCOUNTED:].count(taken[-1]) > _COUNTED // 2:
            break  # no other can come more often
    return statistics.mode(taken[_UNCOUNTED:])


class _Counting:
    """The sidecar of `counted`, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.port = port
        self._process = process

    async def so_far(self) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        return int(await asyncio.wait_for(self._process.stdout.readline(), 60))


@asynccontextmanager
async def _counting(upstream: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[_Counting]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.guard.counted"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
        env={
            **plain_environment(),
            "PYTHONPATH": str(_ROOT),
            "SIDECAR_UPSTREAM": f"{upstream}/v1",
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_STORE": f"sqlite:///{folder}/counted.db",
            "SIDECAR_TRIM__WINDOW_REFRESH": "0",
            **environment,
        },
    )
    try:
        assert process.stdout
        address = await asyncio.wait_for(process.stdout.readline(), 60)
        yield _Counting(process, urlsplit(address.decode().strip()).port or 0)
    finally:
        process.kill()
        await process.communicate()
