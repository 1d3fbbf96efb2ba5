"""`./dev bench speed`: what the sidecar costs, next to a proxy that does nothing.

One table for each work. Rows: `direct` the upstream alone, `nginx`, `nothing` an aiohttp proxy that passes
everything on and does no more, `sidecar` with its default settings, SQLite on a disk, and a conversation id
on each request, `translated` the same, asked over the Responses API. Each round goes through all rows, so
that what else the machine does hits all alike; ratios are of one round. Where others take much of the core,
chunks reach a program in heaps, which makes each cheaper: such ratios say little. Columns: CPU time of
the program with its threads and children, per request or chunk; times to the first chunk (JSON: the first
byte) and of single chunks, as median/99th percentile, that come on top of those of the direct row; requests
or chunks per second; kB that it sent to the disk, per request or chunk; memory.

Some works are done only where they are named (`--only`): images, many, idle.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench.speed import native
from tests.bench.speed.measure import Sample, measure
from tests.bench.speed.native import CannotMeasure, Generator
from tests.bench.speed.rows import Row, Running, rows
from tests.bench.speed.table import DIRECT, lines
from tests.bench.speed.works import WORKS, Work

__all__ = ["main"]

_USUAL = [work.name for work in WORKS if not work.is_on_demand]


async def main(arguments: list[str], folder: Path) -> None:
    names = [work.name for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="./dev bench speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", action="store_true", help="measure LiteLLM and Portkey's gateway too, installed once"
    )
    parser.add_argument("--workers", type=int, default=1, help="a row with so many workers too, on all cores")
    parser.add_argument(
        "--traces", action="store_true", help="rows with a tenth and all of the requests traced"
    )
    parser.add_argument(
        "--backends", action="store_true", help="rows with targets, a session header, keys, and all three"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a measurement, about (%(default)s)")
    parser.add_argument("--urgent", action="store_true", help="go before what else runs here; needs root")
    parser.add_argument("--only", action="append", choices=names, metavar="WORK", help=", ".join(names))
    given = parser.parse_args(arguments)
    works = [work for work in WORKS if work.name in (given.only or _USUAL)]
    found, missing = rows(
        peers=given.peers, workers=given.workers, traces=given.traces, backends=given.backends
    )
    for said in missing:
        print(said, flush=True)
    try:
        await native.compiled(folder)
        with _going_first(given.urgent), _on_disk(folder) as disk:
            bench = _Bench(folder, Path(disk), found)
            is_right = await bench.run(works, given.rounds, given.seconds)
    except CannotMeasure as error:
        print(f"./dev bench speed: {error}", file=sys.stderr)
        sys.exit(2)
    if not is_right:
        sys.exit(1)


@contextmanager
def _going_first(is_wanted: bool) -> Iterator[None]:
    """What is started in the body goes before what else runs on this machine."""
    if not is_wanted:
        yield
        return
    group = Path(
        "/proc/self/autogroup"
    )  # where Linux groups by session, priorities count within a group alone
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
        if group.exists():
            group.write_text("-15")
    except PermissionError:
        raise CannotMeasure("--urgent needs root") from None
    try:
        yield
    finally:
        if group.exists():
            group.write_text("0")


def _on_disk(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for the store that is not in memory."""
    kinds = {words[1]: words[2] for words in map(str.split, Path("/proc/mounts").read_text().splitlines())}

    def kind(place: Path) -> str:
        return next(kinds[str(each)] for each in (place, *place.parents) if str(each) in kinds)

    places = [folder, Path.home() / ".cache"]
    place = next((each for each in places if each.is_dir() and kind(each) not in ("tmpfs", "ramfs")), folder)
    print(f"The store is in {place}, on {kind(place)}; {len(os.sched_getaffinity(0))} cores.", flush=True)
    return tempfile.TemporaryDirectory(prefix="speed-", dir=place)


class _Bench:
    """All rows in front of one upstream."""

    def __init__(self, folder: Path, disk: Path, found: Sequence[Row]) -> None:
        self._folder = folder
        self._disk = disk
        self._rows = found
        self._generator = Generator(folder)

    async def run(self, works: Sequence[Work], rounds: int, seconds: float) -> bool:
        """Print a table for each work; False if anything went wrong in one."""
        is_right = True
        async with AsyncExitStack() as stack:
            port, pid = await stack.enter_async_context(native.upstream(self._folder))
            direct = Running(port, pid)
            lasting: dict[str, Running] = {}
            if any(not work.is_about_memory for work in works):
                for row in self._rows:
                    if row.over_responses and not any(work.over_responses for work in works):
                        continue
                    lasting[row.name] = await stack.enter_async_context(row.run(port, self._disk))
            for work in works:
                samples = await self._samples(work, rounds, seconds, direct, lasting)
                print("\n".join(lines(work, samples)), flush=True)
                is_right &= not any(each.wrong for own in samples.values() for each in own)
        print(f"{rounds} rounds; load of the machine over 5 minutes: {os.getloadavg()[1]:.1f}", flush=True)
        return is_right

    async def _samples(
        self, work: Work, rounds: int, seconds: float, direct: Running, lasting: dict[str, Running]
    ) -> dict[str, list[Sample]]:
        rows = [
            row
            for row in self._rows
            if (row.does_streams or not work.chunks) and (work.over_responses or not row.over_responses)
        ]
        samples: dict[str, list[Sample]] = {DIRECT: [], **{row.name: [] for row in rows}}
        for _ in range(rounds):
            unhindered = await measure(self._generator, work, direct, seconds)
            samples[DIRECT].append(unhindered)
            for row in rows:
                async with self._running(row, work, direct, lasting) as running:
                    sample = await measure(self._generator, work, running, seconds)
                if row.is_exact and not sample.wrong and sample.bytes != unhindered.bytes:
                    wrong = "replies of {} to {} bytes instead of {} to {}"
                    sample = replace(sample, wrong=wrong.format(*sample.bytes, *unhindered.bytes))
                samples[row.name].append(sample)
        return samples

    @asynccontextmanager
    async def _running(
        self, row: Row, work: Work, direct: Running, lasting: dict[str, Running]
    ) -> AsyncIterator[Running]:
        """The one that serves all works, or, where it is about memory, a new one."""
        if not work.is_about_memory:
            yield lasting[row.name]
            return
        with tempfile.TemporaryDirectory(prefix="new-", dir=self._disk) as place:
            async with row.run(direct.port, Path(place)) as running:
                yield running
