"""Chats side by side in front of several engines: what is cached where each stays on one, and in turn.

Each chat edits some of its questions, which begins a branch, and after some turns a title is asked for. What
is sent again is the prompt of a turn without its newest question; of an edited turn, all before the edit. A
turn is cold if less than half of that was cached. The engines are those of the other measures, or, with
`--start`, any llama-server: a command with `{port}` in it. One of those that were started here ends in the
middle of the last row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.bench import played
from tests.bench.asking import Answer, Tokenizer, unkept
from tests.bench.clients import Full
from tests.bench.engine import NoEngine, commanded, started
from tests.bench.scenes import table
from tests.bench.slots import title
from tests.bench.started import sidecar
from tests.e2e.program import Program, StartFailed, free_ports

__all__ = ["main"]

_HEAD = (
    "how",
    "turns",
    "edits",
    "titles",
    "errors",
    "re-sent",
    "cached",
    "share",
    "cold",
    "most of a chat",
    "first word, p50",
    "took",
)
_FLAGS = ("-np", "4", "-c", "16384")
_MAX_TOKENS = 16
_BEGINNING = 3  # tokens with which the template has an answer begin
_Kill = Callable[[], Awaitable[None]]


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench affinity", description=__doc__)
    parser.add_argument("--engines", nargs="*", default=[], help="addresses; else three are started")
    parser.add_argument("--start", default="", help="a command that starts an engine")
    parser.add_argument("--chats", type=int, default=6)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--edits", type=int, default=4, help="every so many turns; 0: none (%(default)s)")
    parser.add_argument("--titles", type=int, default=3, help="every so many turns; 0: none (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", type=int, default=0, help="the process id of the first of `--engines`")
    parser.add_argument("--rows", nargs="*", type=int, default=[1, 2, 3, 4], help="which of them")
    given = parser.parse_args(arguments)
    async with AsyncExitStack() as stack:
        programs = [] if given.engines else await _started(stack, given, folder)
        urls = given.engines or [each.url.removesuffix("/health") for each in programs]
        http = await stack.enter_async_context(unkept())
        run = _Run(http, urls, given, Tokenizer(http, urls[-1]))
        if 1 in given.rows:
            await run.row("in turn", urls)
        targets = [{"name": "pool", "url": [f"{url}/v1" for url in urls], "models": ["*"]}]
        options = {"targets": json.dumps(targets), "trim.window_refresh": 0, "secret": "the same every time"}
        one = await stack.enter_async_context(sidecar(urls[0], _made(folder / "one"), options))
        if 2 in given.rows:
            await run.row("each on one", [one])
        if 3 in given.rows:
            two = await stack.enter_async_context(sidecar(urls[0], _made(folder / "two"), options))
            await run.row("the same, two sidecars in turn", [one, two])
        if 4 in given.rows and (programs or given.kill):
            kill = programs[0].kill if programs else _killing(given.kill)
            await run.row("the same, one engine is killed", [one], kill)
    print(f"\n{table(_HEAD, run.rows)}\n")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _killing(pid: int) -> _Kill:
    async def kill() -> None:
        os.kill(pid, signal.SIGKILL)

    return kill


async def _started(stack: AsyncExitStack, given: argparse.Namespace, folder: Path) -> list[Program]:
    made = []
    for number, port in enumerate(free_ports(3)):
        place = _made(folder / f"engine{number}")
        try:
            program = (
                commanded(given.start, port, place)
                if given.start
                else started(place, port, *_FLAGS, threads=1)
            )
            stack.push_async_callback(program.stop)
            await program.start()
        except (OSError, RuntimeError, StartFailed) as error:
            raise NoEngine(f"the engine cannot run here: {error}") from error
        made.append(program)
    return made


@dataclass
class _Chat(Full):
    """One whose questions may be edited; each question that it asks has an id of its own."""

    asked: list[int] = field(default_factory=list)
    number: int = 0
    #: Tokens that were sent before, of each answer.
    resent: list[int] = field(default_factory=list)

    async def turn(self, text: str, tokenizer: Tokenizer) -> Answer:
        self.number += 1
        self.asked.append(self.number)
        answer = await self.say(text)
        if answer.error:
            self.asked.pop()
        system = {"role": "system", "content": self.system}
        newest = await tokenizer.count([system, {"role": "user", "content": text}])
        newest -= await tokenizer.count([system])
        self.resent.append(answer.prompt - newest - _BEGINNING)
        return answer

    def forget(self, turns: int) -> None:
        """The newest turns go, since the first of them is asked anew in other words."""
        turns = min(turns, len(self.asked))
        if turns:
            del self.held[-2 * turns :], self.asked[-turns:]

    def _names(self) -> dict[str, str]:
        parent = f"{self.id}-a{self.asked[-2]}" if len(self.asked) > 1 else ""
        return {
            "X-Conversation-ID": self.id,
            "X-Message-ID": f"{self.id}-a{self.asked[-1]}",
            "X-User-Message-ID": f"{self.id}-q{self.asked[-1]}",
            "X-User-Message-Parent-ID": parent,
            "X-Task": "",
        }


@dataclass
class _Run:
    http: aiohttp.ClientSession
    engines: Sequence[str]
    given: argparse.Namespace
    tokenizer: Tokenizer
    rows: list[list[str]] = field(default_factory=list)

    async def row(self, name: str, urls: Sequence[str], kill: _Kill | None = None) -> None:
        """A request goes to the next of `urls` each time."""
        given, begun = self.given, time.monotonic()
        chance, sent, edits = random.Random(given.seed), 0, 0
        chats = [
            _Chat(self.http, "", played.system(f"{name} {at}"), id=f"{name} {at}", max_tokens=_MAX_TOKENS)
            for at in range(given.chats)
        ]
        titles: list[Answer] = []

        async def ask(chat: _Chat, text: str) -> None:
            nonlocal sent
            chat.url, sent = urls[sent % len(urls)], sent + 1
            await chat.turn(text, self.tokenizer)

        for turn in range(given.turns):
            chance.shuffle(order := list(range(given.chats)))
            for at in order:
                chat = chats[at]
                await ask(chat, played.question(100 * at + turn))
                if given.edits and turn and (turn + at) % given.edits == 0:
                    edits += 1
                    chat.forget(1 + edits % 2)  # the newest question, or the one before it
                    await ask(chat, played.question(100 * at + 50 + turn))
                if given.titles and turn % given.titles == 0:
                    titles.append(await title(self.http, urls[sent % len(urls)], chat))
                    sent += 1
            if kill is not None and turn == given.turns // 2:
                await kill()
        found = _found(chats, titles)
        took = f"{time.monotonic() - begun:,.0f} s"
        self.rows.append([name, str(given.chats * given.turns), str(edits), str(len(titles)), *found, took])
        print(*self.rows[-1], sep="   ", flush=True)


def _found(chats: Sequence[_Chat], titles: Sequence[Answer]) -> tuple[str, ...]:
    """Of all turns but the first: what was sent before."""
    errors = sum(bool(each.error) for each in [*titles, *(one for chat in chats for one in chat.answers)])
    later = [
        [
            (answer, before)
            for answer, before in list(zip(chat.answers, chat.resent, strict=True))[1:]
            if not answer.error
        ]
        for chat in chats
    ]
    resent = sum(before for chat in later for _, before in chat)
    cached = sum(min(answer.cached, before) for chat in later for answer, before in chat)
    cold = [sum(answer.cached < before / 2 for answer, before in chat) for chat in later]
    return (
        str(errors),
        f"{resent:,}",
        f"{cached:,}",
        f"{cached / max(resent, 1):.1%}",
        str(sum(cold)),
        str(max(cold)),
        f"{statistics.median(answer.first for chat in later for answer, _ in chat) * 1000:,.0f} ms",
    )
