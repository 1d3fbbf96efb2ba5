"""A scripted model server: OpenAI-compatible, on a socket of its own, remembers every request.

A word in square brackets in the last user message tells what shall happen:

    [slow]          a word every 50 ms, for 20 s: time to press stop
    [late]          nothing for 20 s, not even the head of the response
    [think]         reasoning in `reasoning_content`, then the answer
    [tag think]     reasoning between <think> tags in the answer
    [tools]         two tool calls at once, then a third, then the answer
    [500] [429]     an HTTP error
    [error midway]  two words, then an error inside the stream
    [cut]           two words, then the connection breaks off
    [ends at 8]     a list of numbers that stops for length; going on from it gives the rest
    [same]          an answer that reads like any other to this word

With a `provider` it refuses what that one refuses, and calls a tool once for every question.

Every other answer says how many there were before it, so that no two read alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.referee.models import extras
from tests.referee.profiles import Profile, Refusal, refused
from tests.referee.talk import call

__all__ = ["MODELS", "Asked", "Model", "text_of"]

MODELS = ("model-a", "model-b")
#: What Open WebUI asks for besides the turns, by a word of its prompt. The retrieval prompt is none of them.
_TASKS = {
    "follow_ups": '{"follow_ups": ["And then?", "Why?", "Who says so?"]}',
    "tags": '{"tags": ["Science", "Tests"]}',
    "title": '{"title": "A title by the model"}',
    "queries": '{"queries": ["a query"]}',
}
_MERGE = "You have been provided with a set of responses from various models"
_PAUSE = 0.05  # seconds between the words of a slow answer
_SLOW = 400  # words


@dataclass
class Asked:
    """One chat completion request. `left`: whoever asked was gone before the answer had ended."""

    headers: dict[str, str]
    body: dict[str, Any]
    task: str | None
    at: float = field(default_factory=time.monotonic)
    done: bool = False
    left: bool = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All but the leading system messages."""
        messages = self.body["messages"]
        return [each for at, each in enumerate(messages) if at or each["role"] != "system"]

    @property
    def texts(self) -> list[str]:
        return [text_of(each) for each in self.messages]

    @property
    def system(self) -> str | None:
        first = self.body["messages"][0]
        return text_of(first) if first["role"] == "system" else None

    @property
    def conversation(self) -> str | None:
        return self.headers.get("x-conversation-id")


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", f"[{part['type']}]") for part in content)
    return content or ""


class Model:
    """The server. `asked` holds everything since the last `clear`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[Asked] = []
        self.told = 0
        #: Raises the HTTP error that a request shall get, or does nothing.
        self.refuses: Callable[[dict[str, Any]], None] = lambda body: None
        #: The names of its models.
        self.names: list[str] = list(MODELS)
        self.provider: Profile | None = None
        self.refusals: list[Refusal] = []
        self._runner: web.AppRunner | None = None

    @property
    def turns(self) -> list[Asked]:
        return [each for each in self.asked if each.task is None]

    @property
    def tasks(self) -> list[str]:
        return sorted(each.task for each in self.asked if each.task)

    @property
    def last(self) -> Asked:
        return self.turns[-1]

    def clear(self) -> None:
        self.asked, self.told = [], 0
        self.names, self.provider, self.refusals = list(MODELS), None, []
        self.refuses = lambda body: None

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        # With handler_cancellation a reader that leaves is noticed at once, whatever the answer is doing.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def until(self, holds: Callable[[], Any], *, within: float = 30.0) -> None:
        end = time.monotonic() + within
        while not holds():
            seen = [(each.task, each.texts[-1:], each.done) for each in self.asked]
            assert time.monotonic() < end, f"it never came true; asked so far: {seen}"
            await asyncio.sleep(0.02)

    async def quiet(self, seconds: float = 0.8, *, within: float = 60.0) -> None:
        """Until every answer has ended and nothing new was asked for so long."""
        await self.until(
            lambda: all(each.done and time.monotonic() - each.at > seconds for each in self.asked),
            within=within,
        )

    async def turned(self, number: int) -> None:
        """Until so many turns were asked for, and nothing is under way any more."""
        await self.until(lambda: len(self.turns) >= number)
        await self.quiet()

    async def _models(self, _request: web.Request) -> web.Response:
        data = [{"id": each, "object": "model", "created": 1, "owned_by": "tests"} for each in self.names]
        return web.json_response({"object": "list", "data": data})

    async def _embeddings(self, request: web.Request) -> web.Response:
        given = (await request.json())["input"]
        texts = given if isinstance(given, list) else [given]
        vectors = [
            [byte / 255 - 0.5 for byte in hashlib.sha256(str(each).encode()).digest()] for each in texts
        ]
        data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": "embedder", "usage": usage})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = Asked({name.lower(): value for name, value in request.headers.items()}, body, _task(body))
        self.asked.append(asked)
        try:
            return await self._answer(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.left = True
            raise
        finally:
            asked.done, asked.at = True, time.monotonic()

    async def _answer(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.task is not None:
            return await self._tell(request, asked, _TASKS.get(asked.task, "Merged by the model."))
        self.refuses(asked.body)
        if self.provider is not None:
            return await self._provide(request, asked, self.provider)
        question = next(text_of(each) for each in reversed(asked.body["messages"]) if each["role"] == "user")
        for status in (500, 429):
            if f"[{status}]" in question:
                error = {"message": f"the model says {status}", "type": "scripted", "code": status}
                return web.json_response({"error": error}, status=status)
        self.told += 1
        if "[late]" in question:
            await asyncio.sleep(_SLOW * _PAUSE)
        if "[tools]" in question and (calls := _calls(asked)):
            return await self._tell(request, asked, "Let me look. ", calls=calls)
        return await self._tell(request, asked, _text(asked, question, self.told), question)

    async def _provide(self, request: web.Request, asked: Asked, provider: Profile) -> web.StreamResponse:
        refusal = refused(provider, await request.read())
        if refusal is not None:
            self.refusals.append(refusal)
            return web.json_response(refusal.body, status=refusal.status)
        self.told += 1
        made = call(f"callno{self.told:03}", '{"a": 1}', "get_current_timestamp")
        told = extras(provider, made)
        calls = [{"index": at, **each} for at, each in enumerate(told.pop("tool_calls"))]
        is_done = asked.body["messages"][-1]["role"] == "tool"
        text = f"Answer {self.told} by {provider.name}."
        return await self._tell(request, asked, text, calls=None if is_done else calls, more=told)

    async def _tell(
        self,
        request: web.Request,
        asked: Asked,
        text: str,
        how: str = "",
        calls: list[dict] | None = None,
        more: dict[str, Any] | None = None,
    ) -> web.StreamResponse:
        head = {"id": f"chatcmpl-{len(self.asked)}", "created": 1, "model": asked.body["model"]}
        finish = "tool_calls" if calls else "length" if "[ends at 8]" in how and "9" not in text else "stop"
        if not asked.body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(delta: dict[str, Any], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

        await send({"role": "assistant", "content": "", **(more or {})})
        if "[think]" in how:
            for word in ("I ", "wonder ", "why."):
                await send({"reasoning_content": word})
        for at, word in enumerate(re.findall(r"\s*\S+\s*", text)):
            if at == 2 and "[cut]" in how and request.transport is not None:
                request.transport.abort()
                return response
            if at == 2 and "[error midway]" in how:
                error = {"error": {"message": "the model broke down", "type": "scripted", "code": 503}}
                await response.write(f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode())
                return response
            await send({"content": word})
            if "[slow]" in how:
                await asyncio.sleep(_PAUSE)
        for each in calls or ():
            await send({"tool_calls": [each]})
        await send({}, finish)
        await response.write(b"data: [DONE]\n\n")
        return response


def _task(body: dict[str, Any]) -> str | None:
    """Which background task this is, by its prompt: the header is what is being tested."""
    last = text_of(body["messages"][-1])
    if last.startswith(_MERGE):
        return "merge"
    if not last.startswith("### Task:") or last.startswith("### Task:\nRespond to the user query"):
        return None
    return next((name for name in _TASKS if f'"{name}"' in last or f" {name}" in last), last[:80])


def _calls(asked: Asked) -> list[dict[str, Any]]:
    """First two calls at once, then one that hangs on their results, then none."""
    newest = [each["role"] for each in asked.body["messages"]]
    results = newest[len(newest) - newest[::-1].index("user") :].count("tool")
    # Spelled with blanks, as models do and clients do not.
    steps = {0: ['{"seconds": 1}', '{"seconds":  2}'], 2: ["{}"]}
    return [
        {
            "index": at,
            "id": f"call_{results}_{at}",
            "type": "function",
            "function": {"name": "get_current_timestamp", "arguments": arguments},
        }
        for at, arguments in enumerate(steps.get(results, []))
    ]


def _text(asked: Asked, question: str, number: int) -> str:
    if "[same]" in question:
        return "The same as ever."
    if "[slow]" in question:
        return " ".join(f"word{at}" for at in range(_SLOW))
    if "[ends at 8]" in question:
        return " 9 10." if asked.body["messages"][-1]["role"] == "assistant" else "1 2 3 4 5 6 7 8"
    text = f"Answer {number} by {asked.body['model']}."
    return f"<think>I wonder why.</think>\n{text}" if "[tag think]" in question else text
