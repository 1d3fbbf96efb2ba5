"""Hostile requests and replies, one shape after another: how much memory each may cost a sidecar that runs by
itself, and how long somebody else may have to wait meanwhile."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from tests.proxy.client import CHAT, eventually, named
from tests.proxy.mock_upstream import DONE, JSON, Exchange, Upstream, completion, event, says, sends, streams
from tests.proxy.process import serving

# What is tested runs in a process of its own, which the coverage does not see.
pytestmark = pytest.mark.no_cover

MIB = 1 << 20
#: Seconds in which whoever asks for nothing but `/-/live` is answered, on a busy machine too.
PATIENCE = 4.0
PAUSE = 0.05  # seconds between two such questions


@dataclass
class Attack:
    """What a shape has to work with."""

    url: str
    upstream: Upstream
    http: ClientSession

    async def post(
        self, body: bytes, id: str | None = None, status: int | None = 200, **headers: str
    ) -> bytes:
        """Send a chat request; the response's body."""
        given = {**named(id), "Content-Type": "application/json", **headers}
        async with self.http.post(self.url + CHAT, data=io.BytesIO(body), headers=given) as response:
            data = await response.read()
            assert status in (None, response.status), (response.status, data[:300])
            return data

    async def connect(self, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rsplit(":", 1)[1]))
        writer.write(sent)
        return reader, writer


Work = Callable[[Attack], Awaitable[None]]


@dataclass(frozen=True)
class Shape:
    """`ceiling`: how much the peak of the memory may grow, in MiB; `prepare` is not measured."""

    work: Work
    ceiling: int
    prepare: Work | None = None
    settings: dict[str, str] = field(default_factory=dict)


def asks(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages or [user("hi")], **more}).encode()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(number: int) -> dict[str, Any]:
    return {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}


async def tiny_messages(attack: Attack) -> None:
    await attack.post(b'{"messages":[' + b"{}," * (4 * MIB) + b"{}]}", status=400)


async def small_and_packed(attack: Attack) -> None:
    packed = gzip.compress(b'{"messages":[' + b"{}," * MIB + b"{}]}", 9)
    assert len(packed) < 5000
    for _ in range(5):
        await attack.post(packed, status=413, **{"Content-Encoding": "gzip"})


async def uploads_without_end(attack: Attack) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {8 * MIB}\r\n\r\n".encode()
    some = head + b" " * (5 * MIB)
    writers = [(await attack.connect(some))[1] for _ in range(40)]
    await asyncio.sleep(1)
    for writer in writers:
        writer.transport.abort()


async def reply_without_end(attack: Attack) -> None:
    piece = event({"content": "x" * MIB})
    attack.upstream.will(streams(*[piece] * 60, DONE))
    assert len(await attack.post(asks(stream=True), id="a")) > 60 * MIB


async def reply_of_blanks(attack: Attack) -> None:
    attack.upstream.will(streams(*[b" " * MIB] * 40, completion("ok"), headers=JSON))
    assert len(await attack.post(asks(), id="a")) > 40 * MIB


async def pieces_of_tool_calls(attack: Attack) -> None:
    def piece(number: int) -> bytes:
        part = {"index": 0, "id": f"c{number}", "function": {"name": "f", "arguments": "aaaaaaaaaa"}}
        return event({"tool_calls": [part]})

    attack.upstream.will(streams(b"".join(map(piece, range(8000))), DONE))
    await attack.post(asks(stream=True), id="a")


async def calls_over_the_budget(attack: Attack) -> None:
    def turn() -> Iterator[dict[str, Any]]:
        for number in range(4000):
            yield assistant(None, tool_calls=[call(number)])
            yield {"role": "tool", "tool_call_id": f"c{number}", "content": "r"}

    await attack.post(asks(user("go"), *turn()), id="a")


async def stored_assistants_in_a_row(attack: Attack) -> None:
    await attack.post(asks(user("r"), *[assistant("a")] * 1000, user("end")), id="a")


async def small_request_to_them(attack: Attack) -> None:
    for _ in range(3):
        await attack.post(asks(assistant("a"), assistant("zzz"), user("z")), id="a")


async def socket(exchange: Exchange) -> None:
    """Take a WebSocket and read whatever comes."""
    key = exchange.request.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    head = f"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
    await exchange.send(head.encode() + b"\r\n\r\n")
    while await exchange.reader.read(1 << 16):
        pass


async def too_long_socket_message(attack: Attack) -> None:
    attack.upstream.will(socket)
    async with attack.http.ws_connect(f"{attack.url}/v1/realtime", max_msg_size=0) as client:
        with suppress(ConnectionError):
            await client.send_bytes(b"\0" * (60 * MIB))
        ended = await client.receive(timeout=10)
        assert ended.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR)


async def pipelined_behind_a_stall(attack: Attack) -> None:
    gate = asyncio.Event()
    seen = len(attack.upstream.requests)
    attack.upstream.will(streams(gate))
    _, writer = await attack.connect(b"GET /v1/stall HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: len(attack.upstream.requests) > seen)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300_000)
    await asyncio.sleep(1)
    assert len(attack.upstream.requests) == seen + 1
    writer.transport.abort()


async def long_model_names(attack: Attack) -> None:
    told = (
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens"
    )
    refusal = json.dumps({"error": {"message": told, "code": "context_length_exceeded"}}).encode()
    for number in range(100):
        attack.upstream.will(says() if number % 2 else sends(refusal, status=400))
        await attack.post(
            asks(user("x"), model=f"{number} " + "M" * 200_000), id=f"chat {number}", status=None
        )


SHAPES = {
    "a body of tiny messages": Shape(tiny_messages, 48),
    "3 kB that unpack to much": Shape(small_and_packed, 24),
    "many large uploads that never end": Shape(
        uploads_without_end, 110, settings={"SIDECAR_LIMITS__BODIES_IN_FLIGHT": f"{32 * MIB}"}
    ),
    "a reply without end": Shape(reply_without_end, 140),
    "a reply of blanks": Shape(reply_of_blanks, 64),
    "8,000 pieces of tool calls": Shape(pieces_of_tool_calls, 40),
    "4,000 calls in a turn over the budget": Shape(
        calls_over_the_budget, 48, settings={"SIDECAR_TRIM__MAX_INPUT_TOKENS": "2000"}
    ),
    "a small request to assistants in a row": Shape(small_request_to_them, 24, stored_assistants_in_a_row),
    "a message of a WebSocket beyond the limit": Shape(too_long_socket_message, 64),
    "requests pipelined behind a stalled one": Shape(pipelined_behind_a_stall, 24),
    "names of models without end": Shape(long_model_names, 24),
}


@pytest.mark.parametrize("name", SHAPES)
async def test_it_costs_little_and_others_are_served(name: str, upstream: Upstream, tmp_path: Path):
    shape = SHAPES[name]
    async with (
        serving("--upstream", upstream.url, folder=tmp_path, **shape.settings) as process,
        ClientSession() as http,
        ClientSession() as other,
    ):
        attack = Attack(process.url, upstream, http)
        await warm_up(attack)
        if shape.prepare is not None:
            await shape.prepare(attack)
        before = process.peak_memory
        longest = await asked_meanwhile(other, process.url, shape.work(attack))
        grown = (process.peak_memory - before) / MIB
    assert grown < shape.ceiling
    assert longest < PATIENCE


async def warm_up(attack: Attack) -> None:
    """Have it done once what it does every day."""
    for stream in (False, True):
        for text in ("x", "y" * MIB):
            await attack.post(asks(user("a"), assistant(text), user("b"), stream=stream), id="warm")


async def asked_meanwhile(http: ClientSession, url: str, work: Awaitable[None]) -> float:
    """Ask for `/-/live` again and again until the work is done: the longest wait, in seconds."""
    task = asyncio.ensure_future(work)
    waits = []
    is_done = False
    while not is_done:
        is_done = task.done()
        begun = time.monotonic()
        async with http.get(f"{url}/-/live") as response:
            assert response.status == 200
        waits.append(time.monotonic() - begun)
        await asyncio.sleep(PAUSE)
    await task
    return max(waits)
