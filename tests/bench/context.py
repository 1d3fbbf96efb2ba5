"""What a long chat, and an agent's long work, cost with the sidecar and without it."""

from __future__ import annotations

import argparse
from pathlib import Path

import aiohttp

from tests.bench import played
from tests.bench.asking import Tokenizer, unkept
from tests.bench.clients import Client, Full, Thin, Window
from tests.bench.engine import engine
from tests.bench.reshaped import reshaped
from tests.bench.scenes import COLUMNS, chat, cost, table, work
from tests.bench.started import sidecar

__all__ = ["main"]

_STEPS = (0.4, 0.5, 0.6, 0.7)


class _Measure:
    def __init__(self, http: aiohttp.ClientSession, engine: str, upstream: str, folder: Path, budget: int):
        self._http, self._upstream, self._folder = http, upstream, folder
        self._tokenizer = Tokenizer(http, engine)
        self._budget = budget
        self._number = 0

    async def row(self, scene: str, length: int, name: str, kind: str, **settings: object) -> list[str]:
        """Play it and say what it cost."""
        self._number += 1  # of one length in all rows, as the names are not
        prompt = played.system(f"{self._number:02}")
        if kind in ("all", "window"):
            cut = Window(self._tokenizer, self._budget) if kind == "window" else None
            client: Client = Full(self._http, self._upstream, prompt, cut=cut)
            await (chat if scene == "chat" else work)(client, length)
        else:
            budget = {"trim.max_input_tokens": self._budget}
            async with sidecar(self._upstream, self._folder, budget | settings) as url:
                of = {"Open WebUI": Full, "thin": Thin}[kind]
                client = of(self._http, url, prompt, id=f"bench {name}")
                await (chat if scene == "chat" else work)(client, length)
        found = [name, *cost(client.answers)]
        print(*found, sep="   ", flush=True)
        return found


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench context", description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="of the chat")
    parser.add_argument("--steps", type=int, default=60, help="of the agent's work")
    parser.add_argument("--budget", type=int, default=1500, help="in tokens")
    parser.add_argument("--cuts", action="store_true", help="compare the settings of the cut instead")
    given = parser.parse_args(arguments)
    async with (
        engine(folder, "-c", "16384", "-np", "1") as address,
        reshaped(address) as upstream,
        unkept() as http,
    ):
        measure = _Measure(http, address, upstream, folder, given.budget)
        for scene, length, what in (
            ("chat", given.turns, f"a chat of {given.turns} turns"),
            ("work", given.steps, f"an agent's turn of {given.steps} steps"),
        ):
            rows = await (_cuts if given.cuts else _rows)(measure, scene, length)
            print(f"\n{table([what, *COLUMNS], rows)}\n", flush=True)


async def _rows(measure: _Measure, scene: str, length: int) -> list[list[str]]:
    return [
        await measure.row(scene, length, name, kind)
        for name, kind in (
            ("no sidecar, everything", "all"),
            ("no sidecar, sliding window", "window"),
            ("sidecar, Open WebUI", "Open WebUI"),
            ("sidecar, only what is new", "thin"),
        )
    ]


async def _cuts(measure: _Measure, scene: str, length: int) -> list[list[str]]:
    return [
        await measure.row(
            scene,
            length,
            f"step {step}{', first turn kept' if first else ''}",
            "thin",
            **{"trim.step": step, "trim.keep_first_turn": first},
        )
        for first in (False, True)
        for step in _STEPS
    ]
