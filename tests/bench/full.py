"""A chat that outgrows its engine: which questions get an error, which an answer that is cut short?"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench import played
from tests.bench.asking import Answer, unkept
from tests.bench.clients import Full
from tests.bench.engine import engine
from tests.bench.scenes import cost, table
from tests.bench.started import sidecar

__all__ = ["main"]

_WINDOW, _ANSWER = 2048, 48
_ROWS: tuple[tuple[str, dict[str, object] | None], ...] = (
    ("no sidecar", None),
    ("`trim.max_input_tokens = 1800`", {"trim.max_input_tokens": 1800}),
    ("default: the engine tells its window", {}),
    ("the window unknown (`trim.window_refresh = 0`)", {"trim.window_refresh": 0}),
)


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench full", description=__doc__)
    parser.add_argument("--turns", type=int, default=60)
    turns = parser.parse_args(arguments).turns
    rows = []
    async with engine(folder, "-c", str(_WINDOW), "-np", "1") as address, unkept() as http:
        for number, (name, settings) in enumerate(_ROWS):
            prompt = played.system(f"{number:02}")
            if settings is None:
                client = Full(http, address, prompt, max_tokens=_ANSWER)
                await _play(client, turns)
            else:
                async with sidecar(address, folder, settings) as url:
                    client = Full(http, url, prompt, id="bench", max_tokens=_ANSWER)
                    await _play(client, turns)
            rows.append([name, *_found(client.answers)])
            print(*rows[-1], sep="   ", flush=True)
    head = [
        "a chat of 60 turns, a window of 2,048",
        "errors",
        "cut short",
        "healed",
        "processed",
        "context kept",
    ]
    print(f"\n{table(head, rows)}\n")


async def _play(client: Full, turns: int) -> None:
    for at in range(turns):
        await client.say(played.question(at))


def _found(answers: list[Answer]) -> tuple[str, ...]:
    errors = [each for each in answers if each.error]
    for each in errors[:1]:
        print(f"the first error: {each.status} {each.error[:200]}")
    good = [each for each in answers if not each.error]
    short = sum(each.said < _ANSWER for each in good)
    healed = sum("X-Sidecar-Healed" in each.headers for each in good)
    _, processed, _, kept, *_ = cost(good)
    return str(len(errors)), str(short), str(healed), processed, kept
