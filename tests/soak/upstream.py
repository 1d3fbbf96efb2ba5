"""An upstream as they are: it refuses, breaks off, or takes its time; and it looks at what it is sent."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from aiohttp import web

from tests.crash.upstream import Upstream
from tests.referee import profiles

__all__ = ["END", "NO_CALLS", "FaultyUpstream"]

#: In a question: whoever asks it has no tools.
NO_CALLS = "in words alone"
#: The last words of every text, by which it shows that it is whole.
END = " That is all."
#: Of all requests this share is answered badly, each way as often.
_BAD = 0.08
_SLOW = (2.0, 8.0)  # seconds until it begins


class FaultyUpstream(Upstream):
    """`asked`: how many requests came; `refused`: those that a strict backend would not take, by rule."""

    def __init__(self, chance: Any) -> None:
        super().__init__(chance)
        self.asked = 0
        self.refused: Counter[str] = Counter()
        self.spoilt: Counter[str] = Counter()

    def routes(self, app: web.Application) -> None:
        super().routes(app)
        app.router.add_get("/v1/models", self._models)

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def may_call(self, last: dict[str, Any]) -> bool:
        return super().may_call(last) and NO_CALLS not in json.dumps(last)

    def _message(self, *, may_call: bool) -> dict[str, Any]:
        message = super()._message(may_call=may_call)
        if message["content"]:
            message["content"] += END
        if not may_call:  # Open WebUI keeps reasoning as a part of the text
            message.pop("reasoning_content", None)
        return message

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        refusal = profiles.refused(profiles.OPENAI, await request.read())
        if refusal is not None:
            self.refused[refusal.rule] += 1
        if self._chance.random() >= _BAD:
            return await super()._answer(request)
        how = self._chance.choice(("refuses", "breaks off", "is slow", "is busy"))
        self.spoilt[how] += 1
        if how == "is slow":
            await asyncio.sleep(self._chance.uniform(*_SLOW))
            return await super()._answer(request)
        if how == "breaks off":
            return await self._broken_off(request)
        status, told = (429, "rate limit reached") if how == "is busy" else (500, "the machine is on fire")
        return web.json_response({"error": {"message": told, "type": "server_error"}}, status=status)

    async def _broken_off(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        delta = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "It is"}}]}
        await response.write(b"data: %b\n\n" % json.dumps(delta).encode())
        assert request.transport is not None
        request.transport.abort()
        return response
