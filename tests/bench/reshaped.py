"""A server before the engine: what a base model says becomes a tool call, or an answer after reasoning.

The request says which, in a header that passes through the sidecar: `call 7` is the call number 7,
`think` makes reasoning of the first half, `think call 7` is both. All else is the engine's own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.bench import played
from tests.bench.asking import unkept

__all__ = ["SHAPE", "reshaped"]

SHAPE = "X-Bench-Shape"
_THINKS = 12  # pieces of the stream


@asynccontextmanager
async def reshaped(engine: str, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """Its address while the body runs. The bodies of all requests are put into `seen`."""
    async with unkept() as http:

        async def answer(request: web.Request) -> web.StreamResponse:
            sent = await request.read()
            if seen is not None and sent:
                seen.append(sent)
            headers = {"Content-Type": request.headers.get("Content-Type", "")}
            async with http.request(
                request.method, engine + request.path, data=sent, headers=headers
            ) as given:
                back = web.StreamResponse(
                    status=given.status, headers={"Content-Type": given.headers["Content-Type"]}
                )
                await back.prepare(request)
                shape = _Shape(request.headers.get(SHAPE, ""))
                async for line in given.content:
                    await back.write(shape.of(line))
                return back

        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class _Shape:
    def __init__(self, wanted: str) -> None:
        kinds = wanted.split()
        self._thinks = _THINKS if "think" in kinds else 0
        self._number = int(kinds[-1]) if "call" in kinds else None
        self._called = False

    def of(self, line: bytes) -> bytes:
        """A line of the stream, as it is to be."""
        if not line.startswith(b"data: {"):
            return line
        chunk = json.loads(line[6:])
        for choice in chunk.get("choices", ()):
            choice["delta"] = self._delta(choice["delta"])
            if self._number is not None and choice["finish_reason"]:
                choice["finish_reason"] = "tool_calls"
                if not self._called:  # a token need not make a piece of text
                    choice["delta"] = self._call()
        return b"data: " + json.dumps(chunk).encode() + b"\n"

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        if not delta.get("content"):
            return delta
        if self._thinks:
            self._thinks -= 1
            return {"reasoning_content": delta["content"]}
        if self._number is None:
            return delta
        return {} if self._called else self._call()

    def _call(self) -> dict[str, Any]:
        assert self._number is not None
        self._called = True
        function = {"name": "read_station", "arguments": played.arguments(self._number)}
        call = {"index": 0, "id": f"call_{self._number}", "type": "function", "function": function}
        return {"tool_calls": [call]}
