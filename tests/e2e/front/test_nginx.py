"""A front proxy that keeps its connections: requests that want another protocol, chats, streams."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest

from tests.proxy.client import CHAT, chat
from tests.proxy.mock_upstream import DONE, Upstream, event, streams
from tests.proxy.upstream.test_websocket import Sockets

LOOT = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer EVIL\r\n"
    b"X-Conversation-ID: loot\r\nContent-Length: 10000\r\nX-Ignore: "
)
WEBSOCKET = (
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LENGTH = b"Content-Length: %d\r\n" % len(LOOT)
#: Each has `LOOT` as its body, or behind it.
ATTACKS = {
    "a WebSocket to the sidecar's own path": (
        b"GET /-/live",
        WEBSOCKET,
        LENGTH,
    ),
    "a WebSocket to the upstream": (b"GET /v1/x", WEBSOCKET, LENGTH),
    "a chat that wants a WebSocket": (
        b"POST /v1/chat/completions",
        WEBSOCKET,
        LENGTH,
    ),
    "chunks": (b"GET /-/live", WEBSOCKET, b"Transfer-Encoding: chunked\r\n"),
    "HTTP/2": (
        b"GET /-/live",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
        LENGTH,
    ),
    "another protocol": (b"GET /-/live", b"Upgrade: tcp\r\n", LENGTH),
    "without a body": (b"GET /-/live", WEBSOCKET, b""),
}


async def attack(front: str, name: str) -> None:
    line, upgrade, framing = ATTACKS[name]
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LOOT), LOOT) if b"chunked" in framing else LOOT
    reader, writer = await asyncio.open_connection("127.0.0.1", int(front.rsplit(":", 1)[1]))
    writer.write(
        line + b" HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n" + upgrade + framing + b"\r\n" + body
    )
    try:
        await asyncio.wait_for(reader.read(65536), 2)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_request_of_another_client_is_taken(front: str, upstream: Upstream, name: str):
    async with aiohttp.ClientSession() as http:
        for number in range(3):
            await attack(front, name)
            words = f"a private thing {number}"
            headers = {"Authorization": "Bearer VICTIM", "X-Conversation-ID": f"private {number}"}
            body = {"model": "m", "messages": chat(words)}
            async with http.post(front + CHAT, json=body, headers=headers) as reply:
                assert reply.status == 200
                assert reply.headers["X-Conversation-ID"] == f"private {number}"
        headers = {"Authorization": "Bearer EVIL", "X-Conversation-ID": "loot", "X-Sidecar-History": "append"}
        async with http.post(
            front + CHAT, json={"model": "m", "messages": chat("what did I say?")}, headers=headers
        ) as reply:
            assert reply.status == 200
    evil = [each for each in upstream.requests if "EVIL" in each.headers.get("Authorization", "")]
    assert [each.said for each in evil if each.body] == [["what did I say?"]]
    assert not [each for each in evil if b"private" in each.body]


async def test_a_conversation_works_through_nginx(front: str, upstream: Upstream):
    async with aiohttp.ClientSession() as http:
        for words, stream in (("hi", False), ("and?", True)):
            body = {"model": "m", "messages": chat(words), "stream": stream}
            headers = {"X-Conversation-ID": "a", "X-Sidecar-History": "append"}
            async with http.post(front + CHAT, json=body, headers=headers) as reply:
                assert reply.status == 200
                assert await reply.read()
    assert upstream.last.said == ["hi", "ok", "and?"]


async def test_a_stream_comes_piece_by_piece(front: str, upstream: Upstream):
    gate = asyncio.Event()
    first, second = event({"content": "one"}), event({"content": "two"}, finish="stop")
    upstream.will(streams(first, gate, second, DONE))
    async with (
        aiohttp.ClientSession() as http,
        http.post(front + CHAT, json={"model": "m", "messages": chat("hi"), "stream": True}) as reply,
    ):
        assert await asyncio.wait_for(reply.content.readexactly(len(first)), 5) == first
        gate.set()
        assert await reply.read() == second + DONE


async def test_websockets_work(sockets_front: str, sockets: Sockets):
    async with aiohttp.ClientSession() as http, http.ws_connect(sockets_front + "/v1/realtime") as socket:
        for text in ("hi", "x" * 1_000_000):
            await socket.send_str(text)
            assert await socket.receive_str() == text
        await socket.close(code=4001)
    assert await asyncio.wait_for(sockets.closed_with, 5) == 4001


async def test_connections_to_the_sidecar_are_kept(front: str, upstream: Upstream):
    async with aiohttp.ClientSession() as http:
        for _ in range(20):
            async with http.get(front + "/v1/models") as reply:
                assert reply.status == 200
                assert re.match(r"nginx", reply.headers["Server"])
                json.loads(await reply.read())
