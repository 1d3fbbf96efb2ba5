"""A client and an upstream in one, on real sockets, that take turns with every piece of a reply.

A piece is sent when the one before it has arrived at the other end. So the sidecar never reads two at
once, and does the same for the same request however busy the machine is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Wire", "wire"]

_PATIENCE = 60.0  # seconds for one piece


class Wire:
    """`url` is that of the upstream; `connect` before asking, with `credential`."""

    def __init__(self) -> None:
        self.url = ""
        self.credential = "sk-guard"
        self._asked: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self, port: int) -> None:
        """To the sidecar, on a connection that is kept."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    def close(self) -> None:
        self._writer.close()

    async def ask(self, body: Any, conversation: str, reply: Sequence[bytes], *, streamed: bool) -> None:
        """One request, answered with these pieces; returns when the client has seen all of them."""
        sent = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: sidecar\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.credential}\r\nX-Conversation-ID: {conversation}\r\n"
            f"Content-Length: {len(sent)}\r\n\r\n"
        )
        self._writer.write(head.encode() + sent)
        async with asyncio.timeout(_PATIENCE):
            upstream = await self._asked.get()
            if streamed:
                await self._stream(upstream, reply)
            else:
                upstream.write(_head(f"Content-Type: application/json\r\nContent-Length: {len(reply[0])}"))
                upstream.write(reply[0])
                await self._reader.readuntil(reply[0])

    async def _stream(self, upstream: asyncio.StreamWriter, reply: Sequence[bytes]) -> None:
        upstream.write(_head("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"))
        await self._reader.readuntil(b"\r\n\r\n")
        *pieces, end = reply
        for piece in pieces:
            upstream.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._reader.readuntil(piece)
        upstream.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))  # held back until the commit
        await self._reader.readuntil(b"\r\n0\r\n\r\n")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The upstream's side of one connection."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            await self._asked.put(writer)
        writer.close()


@asynccontextmanager
async def wire() -> AsyncIterator[Wire]:
    """One whose upstream serves while the body runs."""
    made = Wire()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0, limit=1 << 24)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


def _head(headers: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode()
