"""One request for a completion, streamed, and what the engine says that it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

__all__ = ["Answer", "Messages", "Tokenizer", "ask", "unkept"]

Messages = Sequence[Mapping[str, Any]]


@dataclass
class Answer:
    """What came back. `prompt` tokens were sent to the engine, `cached` of them it had already."""

    status: int = 200
    #: The error, where it is one: of the response, or inside the stream.
    error: str = ""
    prompt: int = 0
    cached: int = 0
    said: int = 0
    finish: str = ""
    #: Seconds until the first word.
    first: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)

    @property
    def processed(self) -> int:
        return self.prompt - self.cached


def unkept() -> aiohttp.ClientSession:
    """A session that keeps no connection: the engine closes them, and a measure is not to break off."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def ask(
    http: aiohttp.ClientSession,
    url: str,
    messages: Messages,
    *,
    headers: Mapping[str, str] | None = None,
    max_tokens: int = 24,
    **more: Any,
) -> Answer:
    """Ask; a base model has no end of its own, so its answers have exactly `max_tokens`."""
    body = {
        "model": "gemma-3-270m",
        "messages": messages,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    started = time.perf_counter()
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        answer = Answer(status=response.status, headers=dict(response.headers))
        if response.status != 200:
            answer.error = await response.text()
            return answer
        answer.message = {"role": "assistant", "content": ""}
        async for line in response.content:
            if line.startswith(b"data: {"):
                _take(answer, json.loads(line[6:]), time.perf_counter() - started)
    return answer


def _take(answer: Answer, chunk: dict[str, Any], after: float) -> None:
    if "error" in chunk:
        answer.error = json.dumps(chunk)
    if usage := chunk.get("usage"):
        answer.prompt, answer.said = usage["prompt_tokens"], usage["completion_tokens"]
        answer.cached = usage["prompt_tokens_details"]["cached_tokens"]
    for choice in chunk.get("choices", ()):
        answer.finish = choice.get("finish_reason") or answer.finish
        delta = choice["delta"]
        if not answer.first and any(
            delta.get(name) for name in ("content", "reasoning_content", "tool_calls")
        ):
            answer.first = after
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                answer.message[name] = answer.message.get(name, "") + delta[name]
        if delta.get("tool_calls"):
            (call,) = delta["tool_calls"]
            answer.message["tool_calls"] = [{name: call[name] for name in ("id", "type", "function")}]


class Tokenizer:
    """The engine's own, for messages as its template writes them."""

    def __init__(self, http: aiohttp.ClientSession, engine: str) -> None:
        self._http, self._engine = http, engine
        self._known: dict[str, int] = {}

    async def size(self, message: Mapping[str, Any]) -> int:
        """The tokens of one message, with what the template puts around it."""
        key = json.dumps(message)
        if key not in self._known:
            self._known[key] = await self.count([message]) - await self.count([])
        return self._known[key]

    async def count(self, messages: Messages) -> int:
        """The tokens of a whole prompt."""
        async with self._http.post(f"{self._engine}/apply-template", json={"messages": messages}) as response:
            prompt = (await response.json())["prompt"]
        body = {"content": prompt, "parse_special": True}
        async with self._http.post(f"{self._engine}/tokenize", json=body) as response:
            return len((await response.json())["tokens"])
