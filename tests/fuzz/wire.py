"""Requests and responses with anything changed in their bytes, on real sockets, from many clients at once.

What must hold, whatever is sent: the sidecar lives and answers others, its log has no traceback, nobody is
sent another client's mark, and no request goes upstream in which two clients' marks stand.
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

_CLIENTS = 8
_CHAT = b"X-Conversation-ID"
_PATIENCE = 3.0  # seconds for one response; many are never complete, by design
_LIVE = 5.0  # seconds in which others have to be served

_SPLICES = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"\xed\xa0\x80", b"0", b"-1", b"9" * 30),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Connection: close\r\n"),
    *(b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"X-Task: title\r\n"),
    *(b"X-Conversation-ID: {{CHAT_ID}}\r\n", b"X-Sidecar-History: append\r\n", b"X-Sidecar-History: off\r\n"),
    *(b"0\r\n\r\n", b"ffffffff\r\n", b"data: [DONE]\n\n", b"data: {}\n\n", b"event: error\n"),
    *(b'"choices":[{}],', b'"tool_calls":[{}],', b'"messages":[],', b"null", b"NaN", b"1e999"),
    *(b"{", b"[", b'"', b"}"),
)


def mutated(random: random.Random, data: bytes) -> bytes:
    """These bytes with a few things changed; now and then none."""
    for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice((0, 1, 2, 8, 64)))
        put = random.choice(
            (b"", b"", random.choice(_SPLICES), random.randbytes(random.choice((1, 3))), data[at:end] * 2)
        )
        data = data[:at] + put + data[end:]
    return data


async def run(seconds: float, seed: int, folder: Path) -> Findings:
    """Fuzz both sides of the wire for so long."""
    found = Findings()
    chance = random.Random(seed)
    backend = Backend(lambda answer: mutated(chance, answer) if chance.random() < 0.5 else answer)
    server = await backend.serve()
    async with serving(server.sockets[0].getsockname()[1], folder, found) as process:
        end = time.monotonic() + seconds
        clients = [_client(number, seed, process, end, found) for number in range(1, _CLIENTS + 1)]
        await asyncio.gather(*clients, _others(process, end, found))
    server.close()
    found.faults += [f"marks of two clients in one request upstream: {head!r}" for head in backend.mixed[:5]]
    return found


async def _client(number: int, seed: int, process: Process, end: float, found: Findings) -> None:
    chance = random.Random(seed * 1000 + number)
    while time.monotonic() < end and not process.has_ended and len(found.faults) < 10:
        requests = [_request(chance, number) for _ in range(chance.choice((1, 1, 2, 3)))]
        data = b"".join(_odd(chance, each, number) for each in requests)
        answer = await _exchange(process, data, chance)
        found.tried += len(requests)
        foreign = marks(answer) - {number}
        if foreign:
            found.faults.append(f"client {number} was sent marks {foreign}; it had sent {data!r}")


def _odd(chance: random.Random, request: bytes, number: int) -> bytes:
    """The request with anything changed, now and then; but it still names its client, before its chat: those
    who send no credential are one tenant, and share what they say under one id."""
    data = mutated(chance, request) if chance.random() < 0.8 else request
    head, _, _ = data.partition(_CHAT)
    return data if f"\r\nAuthorization: Bearer {mark(number)}\r\n".encode() in head else request


def _request(chance: random.Random, number: int) -> bytes:
    own = mark(number)
    texts = [f"{own} {chance.randrange(6)}" for _ in range(chance.choice((1, 1, 3, 5)))]
    roles = ("user", "assistant")
    body = {
        "model": "m",
        "stream": chance.random() < 0.5,
        "messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)],
    }
    data = json.dumps(body).encode()
    head = [
        chance.choice(("POST /v1/chat/completions HTTP/1.1",) * 4 + ("GET /v1/models HTTP/1.1",)),
        "Host: 127.0.0.1",
        f"Authorization: Bearer {own}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    ]
    if chance.random() < 0.7:
        head.append(f"X-Conversation-ID: shared-{chance.randrange(3)}")
    return "\r\n".join([*head, "", ""]).encode() + data


async def _exchange(process: Process, data: bytes, chance: random.Random) -> bytes:
    """Send these bytes, in pieces, and read what comes until there is nothing more."""
    answer = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    except OSError:
        return answer
    with suppress(OSError, TimeoutError):
        cut = chance.randrange(len(data) + 1)
        async with asyncio.timeout(chance.choice((0.05, 0.3, _PATIENCE))):
            writer.write(data[:cut])
            await writer.drain()
            writer.write(data[cut:])
            await writer.drain()
            if chance.random() < 0.5:
                writer.write_eof()
            while piece := await reader.read(1 << 16):
                answer += piece
    writer.transport.abort()
    return answer


async def _others(process: Process, end: float, found: Findings) -> None:
    """Somebody else, who has to be served all the while."""
    while time.monotonic() < end and not process.has_ended:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(_LIVE):
                answer = await _live(process)
        except (OSError, TimeoutError) as error:
            answer = repr(error).encode()
        if b" 200 " not in answer[:20]:
            took = time.monotonic() - begun
            found.faults.append(f"/-/live did not answer within {took:.1f} s: {answer[:100]!r}")
            return
        await asyncio.sleep(0.2)


async def _live(process: Process) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer
