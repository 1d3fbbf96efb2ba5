"""What of a chat that was cut comes back when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import aiohttp

from tests.bench.asking import unkept
from tests.bench.recall import kinds, locomo, model
from tests.bench.recall.talk import KINDS
from tests.bench.scenes import table
from tests.bench.started import sidecar
from tests.proxy.mock_upstream import Upstream

__all__ = ["main"]

_BUDGETS = (2000, 4000, 8000)


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench recall", description=__doc__)
    parser.add_argument("--budget", type=int, default=1000, help="of our own talks' prompts, in tokens")
    parser.add_argument("--share", type=float, default=0.25, help="of the budget for what comes back")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND")
    parser.add_argument("--missed", action="store_true", help="name the questions that miss something")
    parser.add_argument("--locomo", type=Path, metavar="PATH", help="ask about LoCoMo's talks instead")
    parser.add_argument("--talks", type=int, default=3, help="of LoCoMo; there are ten")
    parser.add_argument("--budgets", nargs="+", type=int, default=_BUDGETS, help="of LoCoMo's prompts")
    parser.add_argument(
        "--engine",
        nargs="?",
        const="",
        metavar="URL",
        help="ask a real model instead: that of a llama.cpp at this address, which has a small window, or"
        " the bench's own, which knows little",
    )
    parser.add_argument("--runs", nargs="+", choices=model.RUNS, default=list(model.RUNS))
    parser.add_argument(
        "--told",
        nargs="+",
        choices=KINDS,
        default=("names", "numbers", "corrections"),
        metavar="KIND",
        help="of which kinds the model is asked",
    )
    parser.add_argument("--each", type=int, default=7, help="questions of each kind for the model")
    parser.add_argument("--ordinary", type=int, default=0, help="and so many that need nothing; there are 60")
    given = parser.parse_args(arguments)
    if given.engine is not None:
        await _model(folder, given)
        return
    async with AsyncExitStack() as stack:
        upstream = Upstream()
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        measure = _Measure(http, upstream, folder)
        await (_locomo if given.locomo else _kinds)(measure, given)


@dataclass(slots=True, frozen=True)
class _Measure:
    http: aiohttp.ClientSession
    upstream: Upstream
    folder: Path

    @asynccontextmanager
    async def sidecar(self, budget: int, share: float) -> AsyncIterator[str]:
        settings = {"trim.max_input_tokens": budget, "trim.recall": share}
        async with sidecar(self.upstream.url.removesuffix("/v1"), self.folder, settings) as url:
            yield url


async def _kinds(measure: _Measure, given: argparse.Namespace) -> None:
    runs: list[list[kinds.Kind]] = []
    for share in (0, given.share):
        async with measure.sidecar(given.budget, share) as url:
            runs.append(
                [await kinds.asked(measure.http, url, measure.upstream, each) for each in given.kinds]
            )
    rows = [kinds.row(off, on) for off, on in zip(*runs, strict=True)]
    print(f"\n{table(kinds.COLUMNS, rows)}\n")
    every = [each for run in runs for each in run]
    print(f"The longest prompt: {max(each.longest for each in every):,} tokens of {given.budget:,}.")
    _print_faults([fault for each in every for fault in each.faults])
    if given.missed:
        print(*(f"{each.name}: {question}" for each in runs[1] for question in each.missed), sep="\n")


async def _locomo(measure: _Measure, given: argparse.Namespace) -> None:
    talks = list(islice(locomo.read(given.locomo), given.talks))
    rows, faults = [], []
    for budget in given.budgets:
        for share in (0, given.share):
            async with measure.sidecar(budget, share) as url:
                score = await locomo.asked(measure.http, url, measure.upstream, talks)
            rows.append(score.row(budget, share))
            faults += score.faults
            print(*rows[-1], sep="   ", flush=True)
    print(f"\n{table(locomo.COLUMNS, rows)}\n")
    _print_faults(faults)


async def _model(folder: Path, given: argparse.Namespace) -> None:
    rows, plan = [], model.Plan(given.told, given.each, given.ordinary)
    async with unkept() as http, model.answering(given.engine, folder) as address:
        for name in given.runs:
            played = await model.played(http, address, folder, name, given.share, plan)
            rows.append(played.row(name))
            print(*rows[-1], sep="   ", flush=True)
    print(f"\n{table(model.COLUMNS, rows)}\n")


def _print_faults(faults: Sequence[str]) -> None:
    print(f"Prompts that are not in order: {len(faults)}", *faults[:10], sep="\n")
