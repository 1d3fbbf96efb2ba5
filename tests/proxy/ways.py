"""The three ways to ask over Responses: for one object, for events, and over a WebSocket."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.dialects.responses import events_in
from tests.proxy.client import Sidecar
from tests.proxy.path.test_responses_socket import connected

__all__ = ["RESPONSES", "Told", "asked", "in_each_way"]

RESPONSES = "/v1/responses"
in_each_way = pytest.mark.parametrize("way", ["JSON", "events", "WebSocket"])


class Told(NamedTuple):
    """`response`: of what was refused the error in its place; `untranslated`: what is said to be missing."""

    status: int
    response: dict[str, Any]
    events: list[dict[str, Any]]
    untranslated: str | None = None


async def asked(sidecar: Sidecar, way: str, **body: Any) -> Told:
    """What a client of this way is told."""
    if way == "WebSocket":
        return await _over_a_socket(sidecar, body)
    data = json.dumps({"model": "m", "stream": way == "events", **body}).encode()
    reply = await sidecar.send("POST", RESPONSES, data=data)
    untranslated = reply.headers.get("X-Sidecar-Untranslated")
    if reply.status != 200:
        return Told(reply.status, reply.json["error"], [], untranslated)
    if way == "JSON":
        return Told(200, reply.json, [], untranslated)
    assert reply.body.endswith(b"\n\ndata: [DONE]\n\n")
    events = events_in(reply.body)
    return Told(200, events[-1]["response"], events, untranslated)


async def _over_a_socket(sidecar: Sidecar, body: dict[str, Any]) -> Told:
    async with connected(sidecar) as socket:
        await socket.send(**body)
        events = await socket.rest()
    said = events[0].get("headers", {})
    untranslated = said.get("X-Sidecar-Untranslated")
    if events[0]["type"] == "error":
        return Told(events[0]["status"], events[0]["error"], [], untranslated)
    return Told(200, events[-1]["response"], events, untranslated)
