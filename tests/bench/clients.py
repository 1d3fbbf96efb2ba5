"""Who asks: clients that send their whole history, as Open WebUI does, and one that sends what is new."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.asking import Answer, Messages, Tokenizer, ask
from tests.bench.reshaped import SHAPE

__all__ = ["QUERY", "Client", "Full", "Thin", "Window"]

Message = dict[str, Any]
#: Stands between the documents that are put into a question, and the question.
QUERY = "\n### Query:\n"
#: What a client leaves out of its history before it sends it.
Cut = Callable[[list[Message]], Awaitable[list[Message]]]


@dataclass
class Client:
    """One chat; `held` is everything that was said in it, as it was said."""

    http: aiohttp.ClientSession
    url: str
    system: str
    id: str = ""
    max_tokens: int = 24
    held: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def say(self, text: str, *, shape: str = "") -> Answer:
        """A new turn."""
        return await self._add({"role": "user", "content": text}, shape)

    async def result(self, text: str, *, shape: str = "") -> Answer:
        """What the tool of the last answer came back with; the same turn goes on."""
        (call,) = self.held[-1]["tool_calls"]
        return await self._add({"role": "tool", "tool_call_id": call["id"], "content": text}, shape)

    async def _add(self, message: Message, shape: str) -> Answer:
        self.held.append(message)
        answer = await ask(
            self.http,
            self.url,
            await self._sent(),
            headers={**self._names(), **({SHAPE: shape} if shape else {})},
            max_tokens=self.max_tokens,
        )
        self.answers.append(answer)
        if not answer.error:
            self.held.append(answer.message)
        else:
            self.held.pop()  # the user sees the error, and asks something else
        return answer

    async def _sent(self) -> Messages:
        raise NotImplementedError

    def _names(self) -> dict[str, str]:
        return {"X-Conversation-ID": self.id} if self.id else {}


@dataclass
class Thin(Client):
    """Sends what is new, and its system prompt once."""

    async def _sent(self) -> Messages:
        first = [{"role": "system", "content": self.system}] if len(self.held) == 1 else []
        return [*first, self.held[-1]]


@dataclass
class Full(Client):
    """Sends the whole history as Open WebUI does: without reasoning and outer white space, tool arguments
    spelled anew, documents gone from questions.

    `faithful_in_turn`: only once the turn is over. `cut` leaves something of it out. `clock`: the system
    prompt begins with the time.
    """

    faithful_in_turn: bool = False
    cut: Cut | None = None
    clock: bool = False

    async def _sent(self) -> Messages:
        newest = max(at for at, each in enumerate(self.held) if each["role"] == "user")
        over = newest if self.faithful_in_turn else len(self.held)
        said = [as_open_webui(each) for each in self.held[:over]] + self.held[over:]
        time = f"It is 08:{len(self.answers):02}. " if self.clock else ""
        sent = [{"role": "system", "content": time + self.system}, *said]
        return await self.cut(sent) if self.cut else sent

    def _names(self) -> dict[str, str]:
        if not self.id:
            return {}
        number = sum(each["role"] == "user" for each in self.held)
        return {
            "X-Conversation-ID": self.id,
            "X-Message-ID": f"{self.id}-a{number}",
            "X-User-Message-ID": f"{self.id}-q{number}",
            "X-User-Message-Parent-ID": f"{self.id}-a{number - 1}" if number > 1 else "",
            "X-Task": "",
        }


def as_open_webui(message: Message) -> Message:
    """A message as it comes back from Open WebUI."""
    changed = {name: value for name, value in message.items() if name != "reasoning_content"}
    if message["role"] == "user":
        changed["content"] = message["content"].split(QUERY)[-1]
    if message["role"] == "assistant":
        changed["content"] = message["content"].strip()
    if calls := message.get("tool_calls"):
        changed["tool_calls"] = [{**call, "function": _spelled_anew(call["function"])} for call in calls]
    return changed


def _spelled_anew(function: dict[str, str]) -> dict[str, str]:
    return {**function, "arguments": json.dumps(json.loads(function["arguments"]), separators=(",", ":"))}


class Window:
    """The usual cut on the client's side: with every request the oldest turns, or an agent's oldest steps,
    that do not fit any more. It counts with the engine's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer, budget: int) -> None:
        self._size, self._budget = tokenizer.size, budget

    async def __call__(self, sent: list[Message]) -> list[Message]:
        fixed, rest = sent[:1], sent[1:]
        if sum(each["role"] == "user" for each in rest) == 1:  # one turn: its question stays
            fixed, rest = sent[:2], sent[2:]
        sizes = [await self._size(each) for each in rest]
        room = self._budget - sum([await self._size(each) for each in fixed]) - 3  # how an answer begins
        starts = [
            at for at, each in enumerate(rest) if each["role"] == ("user" if len(fixed) == 1 else "assistant")
        ]
        first = next((at for at in starts if sum(sizes[at:]) <= room), starts[-1] if starts else 0)
        return [*fixed, *rest[first:]]
