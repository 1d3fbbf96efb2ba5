"""A real model is told things, talks about others, and is asked for them once they were cut: does it answer
right, and what does that cost? With recall and a summary, with one of them, and with neither.

One chat for each, of a client that sends its whole history; the questions come one behind the other, and
behind them those that need nothing of what was said.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import aiohttp

from tests.bench.asking import Answer, ask
from tests.bench.engine import engine
from tests.bench.recall.prompts import Prompt, tokens_of
from tests.bench.recall.talk import Message, Question, Talk, read, small_talk
from tests.bench.reshaped import reshaped
from tests.bench.started import sidecar

__all__ = ["COLUMNS", "RUNS", "Plan", "Played", "answering", "is_old", "is_right", "played"]

COLUMNS = (
    *("", "questions", "in the prompt", "right", "old word", "ordinary", "right", "errors"),
    *("tokens sent", "cached", "for summaries"),
)
#: By name: is there recall, are there summaries.
RUNS = {"neither": (False, False), "recall": (True, False), "summary": (False, True), "both": (True, True)}

_SYSTEM = "You are a helpful assistant."
_WINDOW = "2048"
_MOST_SAID = 100  # tokens of an answer


@dataclass(slots=True, frozen=True)
class Plan:
    """Of which kinds of talk, how many questions of each, and how many that need nothing that was said."""

    kinds: Sequence[str]
    each: int
    ordinary: int


@dataclass(slots=True)
class Played:
    """How a chat went: what came back for each request, and of the questions, what they had and got."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[Question, Prompt, str]] = field(default_factory=list)
    ordinary: list[tuple[Question, Prompt, str]] = field(default_factory=list)
    summaries: int = 0

    def row(self, name: str) -> list[str]:
        """One line of the table."""
        sent = sum(each.prompt for each in self.answers)
        cached = sum(each.cached for each in self.answers)
        return [
            name,
            str(len(self.asked)),
            str(sum(prompt.holds(question.needs) for question, prompt, _ in self.asked)),
            str(sum(is_right(question, said) for question, _, said in self.asked)),
            str(sum(is_old(question, said) for question, _, said in self.asked)),
            str(len(self.ordinary)),
            str(sum(is_right(question, said) for question, _, said in self.ordinary)),
            str(sum(bool(each.error) for each in self.answers)),
            f"{sent:,}",
            f"{cached / max(1, sent):.1%}",
            f"{self.summaries:,}",
        ]


def is_right(question: Question, said: str) -> bool:
    """Are all the words of what it needs in the answer? Their order, commas and case do not count."""
    return _says(said, " ".join(question.needs or (question.says,)))


def is_old(question: Question, said: str) -> bool:
    """Is the answer what was corrected, and not what it was corrected to?"""
    known = " ".join(question.needs).casefold().split()
    old = " ".join(each for each in question.old.split() if each.casefold() not in known)
    return bool(old) and _says(said, old) and not is_right(question, said)


def _says(said: str, words: str) -> bool:
    plain = said.casefold().replace(",", "")
    return all(each in plain for each in words.casefold().replace(",", "").split())


@asynccontextmanager
async def answering(address: str, folder: Path) -> AsyncIterator[str]:
    """The address of an engine: of the one given, or of the bench's own."""
    if address:
        yield address.removesuffix("/").removesuffix("/v1")
        return
    async with engine(folder, "-c", _WINDOW, "-np", "1") as url:
        yield url


async def played(
    http: aiohttp.ClientSession, address: str, folder: Path, name: str, share: float, plan: Plan
) -> Played:
    """Play the run of this name."""
    model = await _model(http, address)
    recall, summary = RUNS[name]
    settings: dict[str, object] = {"trim.window_refresh": 3600, "trim.recall": share if recall else 0}
    if summary:
        settings["summary.model"] = model
    seen: list[bytes] = []
    async with reshaped(address, seen) as upstream, sidecar(upstream, folder, settings) as url:
        return await _Chat(http, url, model, seen).play(plan)


@dataclass(slots=True)
class _Chat:
    http: aiohttp.ClientSession
    url: str
    model: str
    seen: list[bytes]
    held: list[Message] = field(default_factory=list)
    played: Played = field(default_factory=Played)

    async def play(self, plan: Plan) -> Played:
        """Tell it what is asked later, talk of other things in between, and ask."""
        talks = [read(kind) for kind in plan.kinds]
        questions = [each for talk in talks for each in talk.questions[: plan.each]]
        facts = [fact for talk in talks for fact in _told(talk, talk.questions[: plan.each])]
        for fact, other in zip(facts, cycle(small_talk()), strict=False):
            await self._say(fact)
            await self._say(f"{other} Answer in four sentences.")
        await self._ask(questions, self.played.asked)
        await self._ask(read("ordinary").questions[: plan.ordinary], self.played.ordinary)
        return self.played

    async def _ask(self, questions: Sequence[Question], asked: list[tuple[Question, Prompt, str]]) -> None:
        for question in questions:
            said, prompt = await self._say(f"{question.text} Answer in a few words.")
            asked.append((question, prompt, said))
            print("right" if is_right(question, said) else "wrong", question.text, said, sep="  ", flush=True)

    async def _say(self, text: str) -> tuple[str, Prompt]:
        """What it answers, and the prompt for it."""
        self.held.append({"role": "user", "content": text})
        answer = await ask(
            self.http,
            self.url,
            [{"role": "system", "content": _SYSTEM}, *self.held],
            headers={"X-Conversation-ID": "recall", "X-Sidecar-History": "full"},
            max_tokens=_MOST_SAID,
            model=self.model,
            ignore_eos=False,
        )
        self.played.answers.append(answer)
        prompt = self._look(text)
        if answer.error:  # a person sees it, and goes on
            self.held.pop()
            return answer.error[:200], prompt
        self.held.append(answer.message)
        return str(answer.message["content"]).strip(), prompt

    def _look(self, question: str) -> Prompt:
        """At what went upstream since the last look: the prompt of this question, and what summaries took."""
        bodies = [json.loads(each)["messages"] for each in self.seen]
        self.seen.clear()
        ours = [each for each in bodies if str(each[0]["content"]).startswith(_SYSTEM)]
        self.played.summaries += sum(tokens_of(each) for each in bodies if each not in ours)
        return Prompt(ours[-1] if ours else [], 0, 0)


def _told(talk: Talk, questions: Sequence[Question]) -> list[str]:
    """What the user says that these questions are about, in its order."""
    words = [each for question in questions for each in (*question.needs, question.old) if each]
    said = [str(turn[0]["content"]) for turn in talk.said]
    return [each for each in said if any(word in each for word in words)]


async def _model(http: aiohttp.ClientSession, address: str) -> str:
    async with http.get(f"{address}/v1/models") as response:
        return str((await response.json())["data"][0]["id"])
