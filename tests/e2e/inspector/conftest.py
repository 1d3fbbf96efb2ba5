"""The inspector of a sidecar in which a lot has happened, and a browser."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import ClientError
from playwright.async_api import Browser

from tests.e2e.install import node_packages
from tests.e2e.openwebui.browser import browser as started
from tests.inspector.conftest import Visitor
from tests.inspector.conftest import upstream as upstream
from tests.inspector.conftest import visit as visit
from tests.proxy.client import Sidecar, named
from tests.proxy.mock_upstream import CUT, Upstream, event, says, streams, told

__all__ = ["HOSTILE", "upstream", "visit"]

#: What runs, loads or asks where a page takes words for more than that.
HOSTILE = (
    "<script>document.title='run'</script><img src=http://127.0.0.1:1/x onerror=\"document.title='run'\">"
    "<iframe src=javascript:document.title='run'></iframe> [a](javascript:document.title='run')"
    " ![b](http://127.0.0.1:1/y) {{ 7 * 7 }} \u202egnp.exe\u202c שלום"
)
_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome", "unit": "celsius"}'},
}


@pytest.fixture(scope="session")
def axe() -> str:
    """Deque's axe-core, which finds what shuts people out."""
    folder = node_packages("axe", {"axe-core": "4.10.3"})
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with started() as running:
        yield running


@pytest.fixture
async def visitor(visit, upstream: Upstream) -> Visitor:
    """Chats with branches, tools, an image, reasoning, a cut, errors and hostile words."""
    visitor: Visitor = await visit(
        trim={"max_messages": 6, "window_refresh": 0}, inspector={"keep_requests": "all"}
    )
    await _branches(visitor.sidecar, upstream)
    await _tools(visitor.sidecar, upstream)
    await _image(visitor.sidecar, upstream)
    await _long(visitor.sidecar, upstream)
    await _failed(visitor.sidecar, upstream)
    await _hostile(visitor.sidecar, upstream)
    await _counted(visitor.sidecar, upstream)
    return visitor


async def _branches(sidecar: Sidecar, upstream: Upstream) -> None:
    upstream.will(says("Day 1: **tram 28**."), says("Then the ferry."), says("Or by foot."))
    await sidecar.ask("Plan a weekend in Lisbon.", id="lisbon")
    for question in ("No trams, please.", "On foot?"):
        await sidecar.ask("Plan a weekend in Lisbon.", "Day 1: **tram 28**.", question, id="lisbon")


async def _tools(sidecar: Sidecar, upstream: Upstream) -> None:
    upstream.will(
        says(None, finish="tool_calls", tool_calls=[_CALL], reasoning_content="It asks for the weather."),
        streams(*told("It is warm.")),
    )
    question = {"role": "user", "content": "How warm is it in Rome?"}
    await sidecar.ask(question, id="rome", tools=_TOOLS)
    call = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 31}'}
    await sidecar.ask(question, call, result, id="rome", tools=_TOOLS, stream=True)


async def _image(sidecar: Sidecar, upstream: Upstream) -> None:
    upstream.will(says("A green square."))
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png()}"}}
    await sidecar.ask(
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, shown]}, id="image"
    )


async def _long(sidecar: Sidecar, upstream: Upstream) -> None:
    said: list[str] = []
    for number in range(8):
        answer = f"Answer {number}: " + "the harbour handles many containers. " * 60
        upstream.will(says(answer))
        said.append(f"Question {number}?")
        await sidecar.ask(*said, id="long")
        said.append(answer)


async def _failed(sidecar: Sidecar, upstream: Upstream) -> None:
    upstream.will(streams(event({"role": "assistant", "content": "I was about to"}), CUT))
    with suppress(ClientError):
        await sidecar.ask("hi", id="failed", stream=True)


async def _hostile(sidecar: Sidecar, upstream: Upstream) -> None:
    upstream.will(says(HOSTILE, reasoning_content=HOSTILE, model="<b>m</b>"))
    await sidecar.ask(HOSTILE, model="<b>m</b>", headers=named("<i>id</i>"))


async def _counted(sidecar: Sidecar, upstream: Upstream) -> None:
    """Tokens that the upstream reports, and a system prompt with a clock."""
    usage = {"prompt_tokens": 1200, "completion_tokens": 60, "prompt_tokens_details": {"cached_tokens": 900}}
    said: list[dict[str, str]] = []
    for at in range(2):
        answer = "```py\nprint('tide')\n```"
        *pieces, done = told(answer)
        upstream.will(streams(*pieces, event({}, usage=usage), done))
        clock = {"role": "system", "content": f"It is 10:0{at}."}
        said.append({"role": "user", "content": f"When is the tide, {at}?"})
        await sidecar.ask(clock, *said, id="tide", model="qwen3-32b", stream=True)
        said.append({"role": "assistant", "content": answer})


def _png() -> str:
    """A green square."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + b"\x20\xa0\x40" * 16 for _ in range(16))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    whole = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(whole).decode()
