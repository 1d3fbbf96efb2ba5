"""How far is the estimate of a prompt's tokens from what the engine counts, as it learns?

Each chat grows turn by turn, and what the engine counts of each prompt is learned before the next one is
estimated. Of those after the fifth, how far are the estimates off? Then the same chats one after another
under one model's name, so that each begins with what the others taught.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from sidecar.conversation.measure import measure, total
from sidecar.prompt.calibration import START, Learning, learned
from tests.bench import played
from tests.bench.asking import Tokenizer, ask, unkept
from tests.bench.engine import engine
from tests.bench.scenes import table

__all__ = ["main"]

_FIRST = 5  # turns that may be off
_SOURCES = Path(__file__).parents[2] / "sidecar"

_GERMAN = (
    "Der Fluss läuft an einer alten Mühle vorbei, wo früher Weizen gemahlen wurde, und die Bauern prüfen die"
    " Wasserstände, bevor sie die Tore öffnen, weil zu viel Nässe den Wurzeln schadet und zu große Hitze die"
    " Blätter verbrennt; deshalb entscheidet das Gleichgewicht zwischen Frühlingsregen und Sommersonne über"
    " jede Ernte im Tal"
)
_CHINESE = (
    "河水流过一座老磨坊,从前人们在那里磨麦子,现在农民在打开水闸之前先看水位,因为水太多会伤害根部,太少又会晒坏叶子,"
    "所以春雨和夏日的平衡决定每块田地的收成。"
)
_RUSSIAN = (
    "Река течёт мимо старой мельницы, где раньше мололи пшеницу, теперь крестьяне смотрят на уровень воды,"
    " прежде чем открыть ворота, потому что слишком много воды портит корни, слишком мало сжигает листья"
)

_Turn = tuple[str, str]
_Kinds = Mapping[str, Iterator[_Turn]]


def _kinds(seed: str) -> _Kinds:
    """Questions with their answers, without end."""
    some = random.Random(seed)
    return {
        "English": _talk(some, played.VOCABULARY, " "),
        "German": _talk(some, _GERMAN.split(), " "),
        "Chinese": _talk(some, list(_CHINESE), ""),
        "Russian": _talk(some, _RUSSIAN.split(), " "),
        "code": _read(some),
        "JSON": _data(some),
        "all of them": _mixed(some),
    }


def _talk(some: random.Random, words: list[str], between: str) -> Iterator[_Turn]:
    while True:
        yield _said(some, words, between, 10, 40), _said(some, words, between, 40, 200)


def _said(some: random.Random, words: list[str], between: str, least: int, most: int) -> str:
    return between.join(some.choice(words) for _ in range(some.randint(least, most))) + "."


def _read(some: random.Random) -> Iterator[_Turn]:
    files = sorted(_SOURCES.glob("*/*.py"))
    while True:
        lines = some.choice(files).read_text("utf-8").splitlines()
        start = some.randrange(len(lines))
        yield "What does this function do?", "```python\n" + "\n".join(lines[start : start + 40]) + "\n```"


def _data(some: random.Random) -> Iterator[_Turn]:
    while True:
        rows = [
            {
                "station": f"mill {some.randrange(99)}",
                "level_cm": some.random() * 400,
                "open": some.random() < 0.5,
            }
            for _ in range(some.randint(3, 15))
        ]
        yield f"Levels of {some.randint(1, 28)} May?", json.dumps(rows, indent=some.choice([None, 2]))


def _mixed(some: random.Random) -> Iterator[_Turn]:
    while True:
        yield next(some.choice(list(_talks(some))))


def _talks(some: random.Random) -> Iterator[Iterator[_Turn]]:
    yield _talk(some, played.VOCABULARY, " ")
    yield _talk(some, _GERMAN.split(), " ")
    yield _talk(some, list(_CHINESE), "")
    yield _read(some)
    yield _data(some)


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench estimate", description=__doc__)
    parser.add_argument("--turns", type=int, default=25)
    turns = parser.parse_args(arguments).turns
    async with engine(folder, "-c", "8192", "-np", "1") as address, unkept() as http:
        tokenizer = Tokenizer(http, address)
        await _check(http, address, tokenizer)
        rows, shared = [], START
        for name in _kinds(""):
            alone, _ = await _errors(tokenizer, name, "alone", START, turns)
            untaught, _ = await _errors(tokenizer, name, "alone", None, turns)
            after, shared = await _errors(tokenizer, name, "shared", shared, turns)
            rows.append([name, *_shown(untaught), *_shown(alone), *_shown(after)])
            print(*rows[-1], sep="   ", flush=True)
    of = ("untaught", "taught", "after other chats")
    columns = [f"{each}: {what}" for each in of for what in ("median", "95th percentile")]
    head = ["after five turns, off by", *columns]
    print(f"\n{table(head, rows)}\n")


async def _check(http: Any, address: str, tokenizer: Tokenizer) -> None:
    """The engine's `usage` is what its tokenizer says."""
    messages = [{"role": "user", "content": played.question(1)}]
    answer = await ask(http, address, messages, max_tokens=1)
    counted = await tokenizer.count(messages)
    if abs(answer.prompt - counted) > 1:  # the token at the beginning of all texts
        raise RuntimeError(f"the engine used {answer.prompt} tokens, and its tokenizer counts {counted}")


async def _errors(
    tokenizer: Tokenizer, name: str, seed: str, state: Learning | None, turns: int
) -> tuple[list[float], Learning]:
    """How far each estimate was off, and what is known in the end; None learns nothing."""
    errors, known = [], state or START
    messages: list[dict[str, str]] = [{"role": "system", "content": played.system(name)}]
    said = _kinds(seed)[name]
    for _ in range(turns):
        question, answer = next(said)
        messages.append({"role": "user", "content": question})
        prompt = total(measure(json.dumps(each, ensure_ascii=False).encode()) for each in messages)
        counted = await tokenizer.count(messages)
        errors.append(known.weights.tokens(prompt) / counted - 1)
        known = known if state is None else learned(known, prompt, counted)
        messages.append({"role": "assistant", "content": answer})
    return errors, known


def _shown(errors: list[float]) -> tuple[str, str]:
    sizes = sorted(abs(each) for each in errors[_FIRST:])
    return f"{median(sizes):.1%}", f"{sizes[int(len(sizes) * 0.95)]:.1%}"
