"""Who asks: clients that send their whole history, as Open WebUI does, and one that sends what is new."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.asking import Answer, Messages, ask
from tests.bench.reshaped import SHAPE

__all__ = ["Client", "Full", "Thin", "Window"]

Message = dict[str, Any]
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
    spelled anew. `faithful_in_turn`: only once the turn is over. `cut` leaves something of it out."""

    faithful_in_turn: bool = False
    cut: Cut | None = None

    async def _sent(self) -> Messages:
        newest = max(at for at, each in enumerate(self.held) if each["role"] == "user")
        changed = newest if self.faithful_in_turn else len(self.held)
        said = [as_open_webui(each) for each in self.held[:changed]] + self.held[changed:]
        sent = [{"role": "system", "content": self.system}, *said]
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

    def __init__(self, http: aiohttp.ClientSession, engine: str, budget: int) -> None:
        self._http, self._engine, self._budget = http, engine, budget
        self._known: dict[str, int] = {}

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

    async def _size(self, message: Message) -> int:
        key = json.dumps(message)
        if key not in self._known:
            with_it = await self._tokens([message])
            self._known[key] = with_it - await self._frame()
        return self._known[key]

    async def _frame(self) -> int:
        if "" not in self._known:
            self._known[""] = await self._tokens([])
        return self._known[""]

    async def _tokens(self, messages: Messages) -> int:
        async with self._http.post(f"{self._engine}/apply-template", json={"messages": messages}) as response:
            prompt = (await response.json())["prompt"]
        body = {"content": prompt, "parse_special": True}
        async with self._http.post(f"{self._engine}/tokenize", json=body) as response:
            return len((await response.json())["tokens"])
