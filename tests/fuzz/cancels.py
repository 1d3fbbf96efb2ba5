"""Clients that leave at any moment, beside others that stay: no reply ever comes to another than who asked.

Kept connections to the upstream are what this is about: one that was given up in the middle of a reply must
not be used for the next request.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from pathlib import Path

from tests.fuzz.process import Findings, Process, serving
from tests.fuzz.upstream import Backend, mark, marks

__all__ = ["run"]

_LEAVING = 40
_STAYING = 8


async def run(seconds: float, seed: int, folder: Path, most: int = 20_000) -> Findings:
    """Have requests cancelled for so long, or until there were `most` of them."""
    found = Findings()
    backend = Backend(pause=0.0005)
    server = await backend.serve()
    async with serving(server.sockets[0].getsockname()[1], folder, found) as process:
        end = time.monotonic() + seconds
        staying = [asyncio.ensure_future(_stay(n, process, found)) for n in range(1, _STAYING + 1)]
        leaving = [_leave(n, seed, process, end, most, found) for n in range(100, 100 + _LEAVING)]
        await asyncio.gather(*leaving)
        for each in staying:
            each.cancel()
        for outcome in await asyncio.gather(*staying, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                found.faults.append(f"a client that stayed ended early: {outcome!r}")
    server.close()
    found.faults += [f"marks of two clients in one request upstream: {head!r}" for head in backend.mixed[:5]]
    return found


async def _leave(number: int, seed: int, process: Process, end: float, most: int, found: Findings) -> None:
    chance = random.Random(seed * 1000 + number)
    while time.monotonic() < end and found.tried < most and len(found.faults) < 10:
        found.tried += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(_request(number, stream=chance.random() < 0.5))
        seen = b""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(chance.choice((0, 0.001, 0.005, 0.02))):
                while piece := await reader.read(1 << 16):
                    seen += piece
        writer.transport.abort()
        _check(number, seen, found)


async def _stay(number: int, process: Process, found: Findings) -> None:
    """One connection, one request after another, each read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    while True:
        writer.write(_request(number, stream=False))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if f"{mark(number)} says so".encode() not in body:
            found.faults.append(f"client {number} was answered {head[:100]!r} {body[:300]!r}")
        _check(number, head + body, found)
        await asyncio.sleep(0.02)


def _check(number: int, seen: bytes, found: Findings) -> None:
    foreign = marks(seen) - {number}
    if foreign:
        found.faults.append(f"client {number} was sent marks {foreign}")


def _request(number: int, *, stream: bool) -> bytes:
    own = mark(number)
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": own}]}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {own}\r\n"
        f"X-Conversation-ID: chat-{number}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
