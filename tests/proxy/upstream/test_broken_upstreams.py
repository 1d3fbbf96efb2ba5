"""Upstreams whose HTTP is broken: the response ends as a cut, at once, and nobody is told their bytes."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from sidecar.errors import UpstreamTimeout, UpstreamUnreachable
from sidecar.upstream.failures import failure_of, kind_of
from tests.proxy.client import CHAT, Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import EVENTS, Answer, Exchange, Upstream, completion, event, sends
from tests.proxy.server.test_slow_clients import HEAD, closed, connected

SECRET = b"SECRET-of-another-client"
FIRST = event({"role": "assistant", "content": "Hel"})
CHUNK = b"%x\r\n%b" % (len(FIRST), FIRST)
BODY = b'{"stream":true,"messages":[{"role":"user","content":"hi"}]}'
ASKED = HEAD + b"X-Conversation-ID: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def breaks(*pieces: bytes, pause: float = 0.02) -> Answer:
    """A chunked response, and then these pieces as they are."""

    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, EVENTS, None)
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(pause)
        await asyncio.Event().wait()

    return answer


GARBAGE = {
    "plain text": (CHUNK + b"\r\n", b"Internal Server Error " + SECRET),
    "a second response": (
        CHUNK + b"\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nX: " + SECRET + b"\r\n\r\n",
    ),
    "a wrong size": (CHUNK + b"\r\n", b"5\r\nabcdefgh\r\n" + SECRET),
    "behind the end of a chunk": (CHUNK, b"\r\nzz\r\n" + SECRET),
    "a negative size": (CHUNK, b"\r\n-1\r\n" + SECRET),
    "before any chunk": (b"zz\r\n" + SECRET,),
    "within the first piece": (CHUNK + b"\r\nzz\r\n" + SECRET,),
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("path", [CHAT, "/v1/other"])
async def test_broken_framing_ends_the_response_as_a_cut_at_once(
    sidecar: Sidecar, upstream: Upstream, caplog: pytest.LogCaptureFixture, garbage: str, path: str
):
    upstream.will(breaks(*GARBAGE[garbage]))
    transport, client = await connected(sidecar)
    transport.write(ASKED.replace(CHAT.encode(), path.encode()))
    await eventually(lambda: client.closed.is_set() or client.statuses == [502])
    assert client.read.count(b"HTTP/1.1 ") == 1
    assert not client.read.endswith(b"0\r\n\r\n")
    assert SECRET not in client.read
    assert SECRET.decode() not in caplog.text
    assert "Traceback" not in caplog.text
    if path == CHAT and client.statuses == [200]:
        stored = await sidecar.stored()
        assert [each["state"] for each in stored[0].messages if each["source"] == "upstream"] == ["failed"]


async def test_an_append_behind_a_broken_reply_does_not_wait(sidecar: Sidecar, upstream: Upstream):
    upstream.will(breaks(CHUNK, b"\r\nzz\r\n"))
    transport, client = await connected(sidecar)
    transport.write(ASKED)
    await closed(client)
    assert (await sidecar.ask("and?", id="a")).status == 200


async def test_what_an_upstream_sends_behind_an_answer_is_told_to_nobody(
    sidecar: Sidecar, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    async def says_more(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await asyncio.sleep(0.03)
        await exchange.send(SECRET + b"\r\n\r\n")

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await sends(completion("ok"))(exchange)

    seen = []
    for path in (CHAT, "/-/ready", "/v1/models") * 3:
        upstream.will(says_more, late)
        await sidecar.ask("a", headers={"Authorization": "Bearer A"})
        sends_ = sidecar.ask("b") if path == CHAT else sidecar.send("GET", path)
        seen.append((await sends_).body)
        upstream._script.clear()
    assert not [each for each in seen if SECRET in each]
    assert SECRET.decode() not in caplog.text


@pytest.mark.parametrize(
    "noise",
    [SECRET + b"\r\n", b"HTTP/1.1 200 OK\r\nX" + SECRET + b" y\r\n\r\n", b"HTTP/1.1 " + SECRET + b"\r\n\r\n"],
)
async def test_what_is_no_http_is_quoted_nowhere(
    sidecar: Sidecar, upstream: Upstream, caplog: pytest.LogCaptureFixture, noise: bytes
):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(noise)

    upstream.otherwise = answer
    replies = [await sidecar.ask("hi", id="a"), await sidecar.send("GET", "/v1/models")]
    for reply in replies:
        error = assert_error(reply, 502, "upstream_unreachable")
        assert error["message"] == "the upstream failed: what it sent is no HTTP"
    ready = await sidecar.send("GET", "/-/ready")
    assert ready.json["upstream"] == "not reachable"
    assert SECRET.decode() not in caplog.text


@pytest.mark.parametrize(
    "extra",
    [
        {"Set-Cookie": "s=" + "s3cret" * 5500},
        {f"X-{at}": "v" for at in range(256)},
        {"Content-Security-Policy": "x" * 60_000},
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/other"])
async def test_large_headers_of_an_upstream_pass(
    sidecar: Sidecar, upstream: Upstream, extra: dict[str, str], path: str
):
    upstream.will(sends(completion("ok"), headers=extra))
    transport, client = await connected(sidecar)
    transport.write(ASKED.replace(CHAT.encode(), path.encode()))
    await eventually(lambda: client.read.endswith(completion("ok")))
    for name, value in extra.items():
        assert f"\r\n{name}: {value}\r\n".encode() in client.read


async def test_headers_that_are_too_large_are_quoted_nowhere(
    sidecar: Sidecar, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    upstream.will(sends(completion("ok"), headers={"Set-Cookie": "s3cret" * 20_000}))
    reply = await sidecar.ask("hi", id="a")
    assert_error(reply, 502, "upstream_unreachable")
    assert b"s3cret" not in reply.body
    assert "s3cret" not in caplog.text


async def test_an_upstream_that_switches_protocols_unasked_is_a_502(sidecar: Sidecar, upstream: Upstream):
    async def switches(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1"
        )

    upstream.otherwise = switches
    assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")
    assert_error(await sidecar.send("GET", "/v1/models"), 502, "upstream_unreachable")


@pytest.mark.parametrize("path", ["/v1/models", "/-/ready", "/-/doctor"])
async def test_no_client_is_told_where_the_upstream_is(start: Start, upstream: Upstream, path: str):
    sidecar = await start(retries={"attempts": 1})
    await upstream.stop()
    reply = await sidecar.send("GET", path)
    assert str(upstream.port).encode() not in reply.body
    assert b"refuses connections" in reply.body or b"not reachable" in reply.body


async def test_a_host_without_an_address_is_told_as_such(start: Start):
    sidecar = await start(upstream="http://nowhere.invalid/v1", retries={"attempts": 1})
    error = assert_error(await sidecar.send("GET", "/v1/models"), 502, "upstream_unreachable")
    assert error["message"] == "the upstream failed: its host name has no address"


def test_each_failure_has_words_of_ours_and_a_status():
    assert kind_of(aiohttp.ServerDisconnectedError("secret")) == "it closed the connection"
    assert kind_of(aiohttp.ClientPayloadError("secret")) == "its answer broke off"
    assert kind_of(ConnectionResetError("secret")) == "it closed the connection"
    assert kind_of(KeyError("secret")) == "KeyError"
    assert kind_of(UpstreamUnreachable("ours")) == "ours"
    assert isinstance(failure_of(TimeoutError("secret")), UpstreamTimeout)
    assert "secret" not in failure_of(ValueError("secret")).message


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_a_character_that_no_header_may_have_is_a_space_to_the_client(start: Start, path: str):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = completion("hi")
        head = (
            b"HTTP/1.1 200 O\x01K\r\nX-Odd: a\x02b\x7f\r\nX-Fine: a\tb\xe9\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sidecar = await start(upstream=f"http://127.0.0.1:{port}/v1")
        transport, client = await connected(sidecar)
        transport.write(ASKED.replace(CHAT.encode(), path.encode()))
        await eventually(lambda: b"hi" in client.read)
        assert client.read.startswith(b"HTTP/1.1 200 O K\r\n")
        assert b"\r\nX-Odd: a b\r\n" in client.read or b"\r\nX-Odd: a b \r\n" in client.read
        assert b"\r\nX-Fine: a\tb" in client.read
