"""An upstream that answers in many ways: streamed or not, slow or at once, with tool calls and reasoning."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
from typing import Any

from aiohttp import web

WORDS = ("rain", "grüße", "雨", "window", "paper", "\N{UMBRELLA}", "river", "door")


class Upstream:
    """`async with Upstream(random) as url`: serves until the end of the block."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count()

    async def __aenter__(self) -> str:
        app = web.Application(client_max_size=64 << 20)  # chats with images grow
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def routes(self, app: web.Application) -> None:
        """Say what is served."""
        app.router.add_post("/v1/chat/completions", self._answer)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _message(self, *, may_call: bool) -> dict[str, Any]:
        mark = f"reply-{self._run}-{next(self._numbers)}"
        text = " ".join([mark, *self._chance.choices(WORDS, k=self._chance.randrange(40))])
        message: dict[str, Any]
        if not may_call or self._chance.random() < 0.7:
            message = {"role": "assistant", "content": text}
        else:
            calls = [
                {
                    "id": f"{mark}-{number}",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": json.dumps({"what": text})},
                }
                for number in range(self._chance.choice((1, 2)))
            ]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        if self._chance.random() < 0.2:
            message["reasoning_content"] = "I wonder. " * 3
        return message

    def may_call(self, last: dict[str, Any]) -> bool:
        """May the answer to this message ask for tools?"""
        return last["role"] != "tool"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        message = self._message(may_call=self.may_call(body["messages"][-1]))
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        if body.get("stream"):
            data, kind = _stream(message, finish), "text/event-stream"
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            data = json.dumps({"object": "chat.completion", "model": "m", "choices": [choice]}).encode()
            kind = "application/json"
        return await self._send(request, data, kind)

    async def _send(self, request: web.Request, data: bytes, kind: str) -> web.StreamResponse:
        """In pieces that end anywhere, with pauses between them or none."""
        pause = self._chance.choice((0, 0.001, 0.01, 0.03))
        response = web.StreamResponse(headers={"Content-Type": kind})
        if kind == "application/json" and self._chance.random() < 0.7:
            response.content_length = len(data)
        cuts = sorted(self._chance.sample(range(1, len(data)), min(len(data) - 1, 12)))
        try:
            await response.prepare(request)
            for start, end in itertools.pairwise([0, *cuts, len(data)]):
                await response.write(data[start:end])
                await asyncio.sleep(pause * self._chance.random())
            await response.write_eof()
        except ConnectionError:  # the sidecar has been killed
            pass
        return response


def _stream(message: dict[str, Any], finish: str) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": each} for each in _pieces(message.get("reasoning_content"))]
    deltas += [{"content": each} for each in _pieces(message["content"])]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{**call, "index": index, "function": function}]})
        for each in _pieces(call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": each}}]})
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    chunks = [{"object": "chat.completion.chunk", "model": "m", "choices": [choice]} for choice in choices]
    events = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def _pieces(text: str | None) -> list[str]:
    return [(text or "")[at : at + 7] for at in range(0, len(text or ""), 7)]
