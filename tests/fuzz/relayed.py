"""Replies made of real ones by small changes, through a running sidecar.

What must hold: the client has the upstream's very bytes, whatever they are, however they are split, framed
and called; the next question in the same chat is answered; and in the end the store is without a fault.
"""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import aiohttp

from tests.dialects.gateways import GATEWAYS
from tests.dialects.transcripts import TRANSCRIPTS
from tests.fuzz.guided import changed
from tests.fuzz.process import Findings, Process, serving

__all__ = ["run"]

_CLIENTS = 8
_PATIENCE = 20.0  # seconds for one response
_TYPES = (
    *(b"text/event-stream", b"text/event-stream", b"text/event-stream; charset=utf-8", b"application/json"),
    *(b"application/x-ndjson", b"text/plain", b""),
)
_GOOD = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'


async def run(seconds: float, seed: int, folder: Path, most: int = 0) -> Findings:
    """Relay replies for so long, or `most` of them."""
    found, corpus = Findings(), [each.stream for each in (*TRANSCRIPTS, *GATEWAYS)]
    backend = _Backend(random.Random(seed))
    server = await asyncio.start_server(backend.connection, "127.0.0.1", 0, limit=1 << 22)
    end = time.monotonic() + seconds
    port = server.sockets[0].getsockname()[1]
    async with serving(port, folder, found) as process, aiohttp.ClientSession() as http:

        async def client(number: int) -> None:
            chance = random.Random(seed * 1000 + number)
            while not found.faults and (found.tried < most if most else time.monotonic() < end):
                data = changed(chance, chance.choice(corpus), corpus)
                found.tried += 1
                await _one(chance, data, http, process, backend, found)

        await asyncio.gather(*map(client, range(_CLIENTS)))
    server.close()
    _verify(folder, found)
    return found


async def _one(
    chance: random.Random,
    data: bytes,
    http: aiohttp.ClientSession,
    process: Process,
    backend: _Backend,
    found: Findings,
) -> None:
    """Ask for one reply, and now and then something else behind it."""
    name = f"chat-{found.tried}"
    backend.replies[name] = data
    try:
        status, body = await _ask(http, process, name, "hi", stream=chance.random() < 0.7)
        if (status, body) != (200, data):
            found.faults.append(f"{name}: {status} {body!r} for {data!r}"[:4000])
        backend.replies[name] = _GOOD
        if chance.random() < 0.25:
            status, body = await _ask(http, process, name, "and?", stream=False)
            if (status, body) != (200, _GOOD):
                found.faults.append(f"{name}: {status} {body!r} behind {data!r}"[:4000])
    except (aiohttp.ClientError, TimeoutError) as error:
        found.faults.append(f"{name}: {error!r} for {data!r}"[:4000])
    del backend.replies[name]


async def _ask(
    http: aiohttp.ClientSession, process: Process, name: str, text: str, *, stream: bool
) -> tuple[int, bytes]:
    asked = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}
    url = f"http://127.0.0.1:{process.port}/v1/chat/completions"
    async with asyncio.timeout(_PATIENCE):
        async with http.post(url, json=asked, headers={"X-Conversation-ID": name}) as response:
            return response.status, await response.read()


class _Backend:
    """Answers a chat with the bytes that stand under its name, in pieces and a framing at random."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.replies: dict[str, bytes] = {}

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                named = re.search(rb"(?i)\r\nx-conversation-id: *([\w-]+)", head)
                await self._answer(writer, self.replies[named[1].decode()] if named else _GOOD)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        called = self._chance.choice(_TYPES) if data is not _GOOD else b"application/json"
        head = b"HTTP/1.1 200 OK\r\n" + (b"Content-Type: %b\r\n" % called if called else b"")
        is_chunked = self._chance.random() < 0.7
        head += (
            b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else b"Content-Length: %d\r\n\r\n" % len(data)
        )
        writer.write(head)
        cuts = sorted(self._chance.randrange(len(data) + 1) for _ in range(self._chance.choice((0, 1, 3))))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            piece = data[start:end]
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                await writer.drain()
                await asyncio.sleep(0)
        if is_chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def _verify(folder: Path, found: Findings) -> None:
    command = [sys.executable, "-m", "sidecar", "verify", "--store", f"sqlite:///{folder / 'store.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode:
        found.faults.append(f"verify: {done.stdout}{done.stderr}"[:4000])
