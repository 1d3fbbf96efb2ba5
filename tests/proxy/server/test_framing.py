"""Where a request ends: what could be read in two ways is refused, and nothing behind it is a request.

Each row is sent whole and in two pieces, with a further request behind it.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import NamedTuple

import pytest

from tests.proxy.client import Sidecar, eventually
from tests.proxy.mock_upstream import Upstream

BODY = b'{"messages":[{"role":"user","content":"hi"}]}'
SIZE = b"%d" % len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
NEXT = b"GET /v1/next HTTP/1.1\r\nHost: x\r\n\r\n"
WEBSOCKET = (
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


class Read(NamedTuple):
    """What becomes of a row: the statuses that the client reads, and what the upstream gets."""

    statuses: list[int]
    reached: list[str]
    closed: bool


BOTH = Read([200, 200], ["POST", "GET"], closed=False)
TWO_GETS = Read([200, 200], ["GET", "GET"], closed=False)
REFUSED = Read([400], [], closed=True)
#: It was served, and was the last of its connection.
LAST = Read([200], ["POST"], closed=True)
LAST_GET = Read([200], ["GET"], closed=True)


def chat(*headers: bytes, body: bytes = BODY, version: bytes = b"1.1") -> bytes:
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: x\r\n" % version
    return head + b"".join(each + b"\r\n" for each in headers) + b"\r\n" + body


def get(*headers: bytes, body: bytes = b"", target: bytes = b"/v1/x") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n" % target + b"".join(headers) + b"\r\n" + body


def chunks(line: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return chat(b"Transfer-Encoding: chunked", body=line + BODY + b"\r\n" + end)


def length(value: bytes) -> bytes:
    return chat(b"Content-Length: " + value)


def coded(value: bytes, version: bytes = b"1.1") -> bytes:
    return chat(b"Connection: keep-alive", b"Transfer-Encoding:" + value, body=CHUNKS, version=version)


ROWS: dict[str, tuple[bytes, Read]] = {
    "a length": (length(SIZE), BOTH),
    "chunks": (coded(b" chunked"), BOTH),
    "chunks in capitals": (coded(b"\tCHUNKED "), BOTH),
    "chunks with an extension": (chunks(b"%x;a=b\r\n" % len(BODY)), BOTH),
    "HTTP/1.0 that keeps the connection": (
        chat(b"Connection: keep-alive", b"Content-Length: " + SIZE, version=b"1.0"),
        BOTH,
    ),
    "empty lines in front": (b"\r\n\r\n" + get(), TWO_GETS),
    "a GET with a body": (get(b"Content-Length: 4\r\n", body=b"GET "), TWO_GETS),
    "an absolute target": (get(target=b"http://elsewhere/v1/x"), TWO_GETS),
    "Content-Length as a connection's header": (
        chat(b"Connection: content-length", b"Content-Length: " + SIZE),
        BOTH,
    ),
    # Two lengths
    "a length and chunks": (chat(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=CHUNKS), REFUSED),
    "chunks and a length": (chat(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=CHUNKS), REFUSED),
    "two lengths": (chat(b"Content-Length: " + SIZE, b"Content-Length: 0"), REFUSED),
    "the same length twice": (chat(b"Content-Length: " + SIZE, b"Content-Length: " + SIZE), REFUSED),
    "a list of lengths": (length(SIZE + b", " + SIZE), REFUSED),
    "a length with a sign": (length(b"+" + SIZE), REFUSED),
    "a negative length": (length(b"-1"), REFUSED),
    "a hexadecimal length": (length(b"0x2d"), REFUSED),
    "no length": (length(b""), REFUSED),
    "two numbers": (length(b"4 5"), REFUSED),
    "a length beyond 64 bits": (length(b"9" * 20), REFUSED),
    # Codings
    "chunks that are not last": (coded(b" chunked, identity"), REFUSED),
    "identity": (coded(b" identity"), REFUSED),
    "gzip in chunks": (coded(b" gzip, chunked"), REFUSED),
    "gzip": (coded(b" gzip"), REFUSED),
    "another word": (coded(b" xchunked"), REFUSED),
    "a quoted word": (coded(b' "chunked"'), REFUSED),
    "a vertical tab": (coded(b" \x0bchunked"), REFUSED),
    "no coding": (coded(b""), REFUSED),
    "a folded coding": (coded(b"\r\n chunked"), REFUSED),
    "chunked twice": (coded(b" chunked\r\nTransfer-Encoding: chunked"), REFUSED),
    "chunked and identity": (coded(b" chunked\r\nTransfer-Encoding: identity"), REFUSED),
    "chunks in HTTP/1.0": (coded(b" chunked", version=b"1.0"), REFUSED),
    # Chunks
    "chunks ended by line feeds": (
        chat(b"Transfer-Encoding: chunked", body=b"%x\n%b\n0\n\n" % (len(BODY), BODY)),
        REFUSED,
    ),
    "an extension ended by a line feed": (chunks(b"%x;a\n" % len(BODY)), REFUSED),
    "a space behind the size": (chunks(b"%x \r\n" % len(BODY)), REFUSED),
    "a size with 0x": (chunks(b"0x%x\r\n" % len(BODY)), REFUSED),
    "a size with a sign": (chunks(b"+%x\r\n" % len(BODY)), REFUSED),
    "a negative size": (chunks(b"-%x\r\n" % len(BODY)), REFUSED),
    "a size beyond 64 bits": (chunks(b"1%016x\r\n" % len(BODY)), REFUSED),
    "a chunk longer than its size": (chunks(b"%x\r\n" % (len(BODY) - 2)), REFUSED),
    # Lines
    "a space before the colon": (chat(b"Content-Length : " + SIZE), REFUSED),
    "a space in a name": (chat(b"Content Length: 3", b"Content-Length: " + SIZE), REFUSED),
    "a line without a colon": (chat(b"Nonsense", b"Content-Length: " + SIZE), REFUSED),
    "a header without a name": (chat(b": x", b"Content-Length: " + SIZE), REFUSED),
    "lines ended by line feeds": (length(SIZE).replace(b"\r\n", b"\n"), REFUSED),
    "one line ended by a line feed": (chat(b"X: y\nContent-Length: " + SIZE), REFUSED),
    "a carriage return alone": (chat(b"X: y\rContent-Length: 3", b"Content-Length: " + SIZE), REFUSED),
    "a zero byte": (chat(b"X: y\0z", b"Content-Length: " + SIZE), REFUSED),
    "a folded line": (chat(b"X: y\r\n z", b"Content-Length: " + SIZE), REFUSED),
    "a folded line in front": (length(SIZE).replace(b"Host", b" Host"), REFUSED),
    "no host": (b"GET /v1/x HTTP/1.1\r\n\r\n", REFUSED),
    "two hosts": (get(b"Host: y\r\n"), REFUSED),
    "a space in the target": (get(target=b"/v1/x y"), REFUSED),
    "tabs": (b"GET\t/v1/x\tHTTP/1.1\r\nHost: x\r\n\r\n", REFUSED),
    "HTTP/1.2": (get().replace(b"1.1", b"1.2"), REFUSED),
    "HTTP/0.9": (b"GET /v1/x\r\n\r\n", REFUSED),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    "a target that is a host": (get(target=b"x:80"), REFUSED),
    # Other protocols
    "CONNECT": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED),
    "CONNECT to a path": (b"CONNECT /v1/x HTTP/1.1\r\nHost: x\r\n\r\n", REFUSED),
    "CONNECT with a body": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", REFUSED),
    "a WebSocket that is not agreed to": (get(WEBSOCKET), LAST_GET),
    "a WebSocket with an empty body": (get(WEBSOCKET, b"Content-Length: 0\r\n"), LAST_GET),
    "a WebSocket to our own path": (get(WEBSOCKET, target=b"/-/live"), Read([200], [], closed=True)),
    "a WebSocket by HTTP/1.0": (get(WEBSOCKET).replace(b"1.1", b"1.0"), LAST_GET),
    "a WebSocket without Connection": (get(b"Upgrade: websocket\r\n"), LAST_GET),
    "a WebSocket by POST": (get(WEBSOCKET).replace(b"GET", b"POST"), LAST),
    "a WebSocket with a body": (get(WEBSOCKET, b"Content-Length: 5\r\n", body=b"abcde"), REFUSED),
    "a WebSocket with a request in it": (
        get(WEBSOCKET, b"Content-Length: %d\r\n" % len(NEXT), body=NEXT),
        REFUSED,
    ),
    "a WebSocket with chunks": (get(WEBSOCKET, b"Transfer-Encoding: chunked\r\n", body=CHUNKS), REFUSED),
    "a WebSocket with no chunks": (
        get(WEBSOCKET, b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
        REFUSED,
    ),
    "a WebSocket with a body to our own path": (
        get(WEBSOCKET, b"Content-Length: 5\r\n", body=b"abcde", target=b"/-/live"),
        REFUSED,
    ),
    "a WebSocket with a chat": (chat(WEBSOCKET[:-2], b"Content-Length: " + SIZE), REFUSED),
    "a body, and a WebSocket without Connection": (
        get(b"Upgrade: websocket\r\nContent-Length: 5\r\n", body=b"abcde"),
        REFUSED,
    ),
    "a WebSocket among others, with a body": (
        get(WEBSOCKET.replace(b" websocket", b" h2c, websocket"), b"Content-Length: 5\r\n", body=b"abcde"),
        REFUSED,
    ),
    # Some clients (Java's) offer HTTP/2 with every request, and are served by HTTP/1.1.
    "HTTP/2 is offered": (get(H2C), LAST_GET),
    "HTTP/2 is offered with a chat": (chat(H2C[:-2], b"Content-Length: " + SIZE), LAST),
    "HTTP/2 is offered with a chat in chunks": (
        chat(H2C[:-2], b"Transfer-Encoding: chunked", body=CHUNKS),
        LAST,
    ),
    "another protocol": (get(b"Connection: Upgrade\r\nUpgrade: foo\r\n"), LAST_GET),
    "another protocol with a body": (
        get(b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n", body=b"abcde"),
        LAST_GET,
    ),
    "no protocol": (get(b"Connection: Upgrade\r\nUpgrade:\r\n"), LAST_GET),
}


class Client(asyncio.Protocol):
    """Keeps what it reads, whatever becomes of the connection."""

    def __init__(self) -> None:
        self.read = b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.read += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    @property
    def statuses(self) -> list[int]:
        return [int(each) for each in re.findall(rb"HTTP/\d\.\d (\d{3}) ", self.read)]


async def sent(sidecar: Sidecar, expected: Read, *pieces: bytes) -> Client:
    """What comes back, once all that is expected has come, and a little later."""
    loop, port = asyncio.get_running_loop(), int(sidecar.url.rsplit(":", 1)[1])
    transport, client = await loop.create_connection(Client, "127.0.0.1", port)
    for piece in pieces:
        transport.write(piece)
        await asyncio.sleep(0.01)
    await eventually(lambda: len(client.statuses) >= len(expected.statuses))
    with suppress(TimeoutError):
        await asyncio.wait_for(client.closed.wait(), 5 if expected.closed else 0.05)
    transport.abort()
    return client


@pytest.mark.parametrize("row", ROWS)
async def test_a_request_ends_in_one_place_or_is_refused(sidecar: Sidecar, upstream: Upstream, row: str):
    data, expected = ROWS[row]
    cut = data.index(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 8
    for pieces in ((data + NEXT,), (data[:cut], data[cut:] + NEXT), (data[: cut - 2], data[cut - 2 :], NEXT)):
        before = len(upstream.requests)
        client = await sent(sidecar, expected, *pieces)
        reached = [each.method for each in upstream.requests[before:]]
        assert Read(client.statuses, reached, closed=client.closed.is_set()) == expected, pieces
