"""One work on one program: what it cost, and whether all arrived that had to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.bench.speed.clocks import busy, cpu, watched, written
from tests.bench.speed.native import CHAT, RESPONSES, CannotMeasure, Generator, Load, Times
from tests.bench.speed.rows import CORE, Running
from tests.bench.speed.works import Work

__all__ = ["Sample", "measure"]

#: A work that takes longer is given up. Seconds.
_PATIENCE = 120.0
#: So much later threads that write behind the replies are done as well.
_SETTLING = 0.2


@dataclass(frozen=True)
class Sample:
    """Times are microseconds: the median, the 99th percentile and the longest. Sizes are bytes."""

    #: CPU per unit of the work.
    cost: float
    #: Units per second.
    rate: float
    first: Times | None
    latency: Times | None
    #: Of what was asked beside it.
    beside: Times | None
    #: Sent to the disk per unit.
    written: float
    idle: int
    peak: int
    #: The most streams at one time.
    open: int
    bytes: tuple[int, int]
    #: CPU of the load generator per unit.
    generator: float
    #: What share of the program's core was taken by others.
    others: float
    #: Why it is no measurement; empty if it is one.
    wrong: str


async def measure(generator: Generator, work: Work, running: Running, seconds: float) -> Sample:
    """Do the work for about so many seconds."""
    chats = work.chats or await _enough(generator, work, running, seconds)
    if work.chats and not work.is_about_memory:  # the first requests of a process are not those of a day
        run, few = generator.new_run(), min(chats, work.connections)
        await _load(generator, work, running, run, few, (0, 0))
    run = generator.new_run()
    if work.first:  # what comes before is not what is measured
        await _load(generator, work, running, run, chats, (0, work.first - 1))
    async with watched(running.pid) as memory:
        before, busy_before, begun = cpu(running.pid), busy(CORE), time.monotonic()
        written_before = written(running.pid)
        async with _idle(running.port, work.idle):
            load, beside = await asyncio.gather(
                _load(generator, work, running, run, chats, (work.first, work.last)),
                _beside(generator, work, running),
            )
        await asyncio.sleep(_SETTLING)
        used = cpu(running.pid) - before
        others = (busy(CORE) - busy_before - used) / (time.monotonic() - begun)
    units = (load.chunks if work.unit == "chunk" else load.requests) or 1
    return Sample(
        cost=used / units * 1e6,
        rate=units / load.seconds,
        first=load.first,
        latency=load.latency if work.gap else None,
        beside=beside.first if beside else None,
        written=(written(running.pid) - written_before) / units,
        idle=memory.before,
        peak=memory.most,
        open=load.open,
        bytes=load.bytes,
        generator=load.cpu / units * 1e6,
        others=max(0.0, others),
        wrong=_wrong(work, load, chats)
        or (f"beside it: {beside.reason}" if beside and beside.failed else "")
        or ("it has ended" if used < 0 else ""),
    )


def _wrong(work: Work, load: Load, chats: int) -> str:
    if load.failed:
        return f"{load.failed} of {load.requests} failed: {load.reason}"
    if load.requests != chats * work.turns or load.chunks != load.requests * work.chunks:
        return f"{load.requests} replies with {load.chunks} chunks"
    return ""


async def _enough(generator: Generator, work: Work, running: Running, seconds: float) -> int:
    """How many chats fill the time; also warms up."""
    whole = (work.first, work.last)
    load = await _load(generator, work, running, generator.new_run(), work.connections, whole)
    wanted = load.requests / load.seconds * seconds / work.turns
    rounded = math.ceil(wanted / work.connections) * work.connections
    return max(work.connections, min(work.most, rounded))


async def _beside(generator: Generator, work: Work, running: Running) -> Load | None:
    """What one more client asks meanwhile."""
    if not work.beside:
        return None
    return await generator.run(
        running.port,
        work.beside_script,
        run=generator.new_run(),
        chats=1,
        turns=(0, work.beside_turns - 1),
        connections=1,
        chunks=0,
        seconds=_PATIENCE,
        ramp=0,
        is_new_each=False,
        headers=_headers(work, running),
    )


@asynccontextmanager
async def _idle(port: int, number: int) -> AsyncIterator[None]:
    """So many connections that have asked once and ask no more."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
                raise CannotMeasure("an idle connection got no answer")
        yield


async def _load(
    generator: Generator, work: Work, running: Running, run: int, chats: int, turns: tuple[int, int]
) -> Load:
    return await generator.run(
        running.port,
        work.responses_script if running.over_responses else work.script,
        run=run,
        chats=chats,
        turns=turns,
        connections=work.connections,
        chunks=work.chunks,
        seconds=_PATIENCE,
        ramp=work.ramp,
        is_new_each=work.is_new_each,
        headers=_headers(work, running),
        path=RESPONSES if running.over_responses else CHAT,
    )


def _headers(work: Work, running: Running) -> tuple[str, ...]:
    own = {each.partition(":")[0] for each in running.headers}
    return (*(each for each in work.headers if each.partition(":")[0] not in own), *running.headers)
