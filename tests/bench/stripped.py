"""How much of the history that a client sends back changed is still in the engine's cache.

The first request of each turn is measured, once the history has a thousand tokens: of its prompt without the
new question, what share is cached?
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.bench import played
from tests.bench.asking import Tokenizer, unkept
from tests.bench.clients import QUERY, Full
from tests.bench.engine import engine
from tests.bench.reshaped import reshaped
from tests.bench.scenes import table
from tests.bench.started import sidecar

__all__ = ["main"]

_TURNS, _CALLS, _LEAST = 18, 5, 1000


class _Change(NamedTuple):
    """What a client does to a history, and the setting that undoes it."""

    name: str
    setting: Mapping[str, object]
    #: The shape of each answer; `call` is a step of an agent's work, of which a turn has some.
    shape: str = ""
    documents: bool = False
    clock: bool = False


_CHANGES = (
    _Change("nothing", {}),
    _Change("reasoning stripped", {"restore.reasoning": "always"}, "think call"),
    _Change("tool arguments spelled anew", {}, "call"),
    _Change("documents gone from questions", {"restore.user_messages": "true"}, documents=True),
    _Change("a clock in the system prompt", {"restore.system_prompt": "pin"}, clock=True),
)


async def main(arguments: list[str], folder: Path) -> None:
    argparse.ArgumentParser(prog="./dev bench stripped", description=__doc__).parse_args(arguments)
    rows = []
    async with (
        engine(folder, "-c", "8192", "-np", "1") as address,
        reshaped(address) as upstream,
        unkept() as http,
    ):
        tokenizer = Tokenizer(http, address)
        for number, change in enumerate(_CHANGES):
            bare = Full(
                http, upstream, played.system(f"{number}0"), faithful_in_turn=True, clock=change.clock
            )
            without = await _shares(bare, change, tokenizer)
            async with sidecar(upstream, folder, {"trim.max_input_tokens": "none", **change.setting}) as url:
                prompt = played.system(f"{number}1")
                kept = Full(http, url, prompt, id="bench", faithful_in_turn=True, clock=change.clock)
                beside = await _shares(kept, change, tokenizer)
            setting = ", ".join(f"`{name} = {value}`" for name, value in change.setting.items()) or "none"
            rows.append([change.name, setting, _shown(without), _shown(beside)])
            print(*rows[-1], sep="   ", flush=True)
    head = ["what the client does", "setting", "cached without the sidecar", "with it"]
    print(f"\n{table(head, rows)}\n")


async def _shares(client: Full, change: _Change, tokenizer: Tokenizer) -> list[float]:
    shares = []
    number = 0
    for turn in range(_TURNS // 3 if change.shape else _TURNS):
        before = played.document(turn, 150) + QUERY if change.documents else ""
        new = await tokenizer.size({"role": "user", "content": before + played.question(turn)})
        answer = await client.say(before + played.question(turn), shape=_numbered(change.shape, number))
        if (history := answer.prompt - new) >= _LEAST:
            shares.append(answer.cached / history)
        for step in range(_CALLS if change.shape else 0):
            number += 1
            is_last = step == _CALLS - 1
            shape = change.shape.replace("call", "") if is_last else _numbered(change.shape, number)
            await client.result(played.document(number), shape=shape)
    return shares


def _numbered(shape: str, number: int) -> str:
    return f"{shape} {number}" if "call" in shape else shape


def _shown(shares: list[float]) -> str:
    return f"{sum(shares) / len(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"
