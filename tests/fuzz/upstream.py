"""A backend for fuzzing: it repeats the mark of the request it answers, and may answer wrongly."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Backend", "Mutate", "mark", "marks"]

_MARK = re.compile(rb"mark-(\d+)-([0-9a-f]{8})")

Mutate = Callable[[bytes], bytes]


def mark(number: int) -> str:
    """Stands in the credential and in every text of one client; with a checksum, so that no change makes
    another client's of it."""
    return f"mark-{number}-{zlib.crc32(b'%d' % number):08x}"


def marks(data: bytes) -> set[int]:
    """The clients whose marks stand in these bytes."""
    return {int(number) for number, _ in _MARK.findall(data) if mark(int(number)).encode() in data}


class Backend:
    """Answers each request with a stream or a JSON body of its own mark, `mutate`d, in small pieces.

    `mixed` are requests in which marks of several clients stand: bytes of one came into another's request.
    """

    def __init__(self, mutate: Mutate = bytes, *, pause: float = 0.0) -> None:
        self._mutate = mutate
        self._pause = pause
        self.requests = 0
        self.mixed: list[bytes] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 22)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(reader, head)
                self.requests += 1
                found = marks(head + body)
                if len(found) > 1:
                    self.mixed.append(head[:200])
                answer = self._mutate(_answer(head, body, min(found, default=0)))
                for at in range(0, len(answer), 200):
                    writer.write(answer[at : at + 200])
                    await writer.drain()
                    if self._pause:
                        await asyncio.sleep(self._pause)
        writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(pieces)
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return await reader.readexactly(int(found[1])) if found else b""


def _answer(head: bytes, body: bytes, number: int) -> bytes:
    said = f"{mark(number)} says so"
    if not head.startswith(b"POST"):
        return _json({"object": "list", "data": [{"id": "m"}], "said": said})
    if b'"stream": true' in body or b'"stream":true' in body:
        deltas = [{"role": "assistant"}, {"content": said}, {"content": " and more"}, {}]
        events = [
            {"id": "c", "choices": [{"index": 0, "delta": each, "finish_reason": None if each else "stop"}]}
            for each in deltas
        ]
        data = "".join(f"data: {json.dumps(each)}\n\n" for each in events) + "data: [DONE]\n\n"
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data.encode())
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks
        )
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    return _json({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})


def _json(value: object) -> bytes:
    data = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(data),
        data,
    )
