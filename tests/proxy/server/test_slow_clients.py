"""Clients that do not finish what they begin, ask for too much at once, or are too many."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.proxy.client import CHAT, Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream
from tests.proxy.server.test_framing import Client

HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n".encode()
LIVE = b"GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"messages":[{"role":"user","content":"hi"}]}'


async def connected(sidecar: Sidecar) -> tuple[asyncio.Transport, Client]:
    port = int(sidecar.url.rsplit(":", 1)[1])
    return await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)


async def closed(client: Client) -> None:
    await asyncio.wait_for(client.closed.wait(), 5)


async def served(client: Client, count: int) -> None:
    await eventually(lambda: client.statuses == [200] * count)


def told(client: Client) -> dict[str, Any]:
    """The error that it was answered with."""
    error: dict[str, Any] = json.loads(client.read.split(b"\r\n\r\n", 1)[1])["error"]
    return error


@pytest.mark.parametrize("begun", [b"P", b"\r\n", HEAD, LIVE + HEAD])
async def test_a_header_block_that_does_not_come_to_its_end_is_a_408(start: Start, begun: bytes):
    sidecar = await start(timeouts={"request_head": 0.2})
    _, client = await connected(sidecar)
    transport, later = await connected(sidecar)
    transport.write(LIVE)
    await eventually(lambda: later.statuses == [200])
    for each, made in ((begun, _), (begun, transport)):
        made.write(each[:1])
        await asyncio.sleep(0.01)
        made.write(each[1:])
    await closed(client)
    await closed(later)
    assert client.statuses[-1] == later.statuses[-1] == 408
    assert b'"request_timeout"' in client.read
    assert b"timeouts.request_head" in client.read


async def test_a_header_block_that_comes_byte_by_byte_is_no_longer_waited_for(start: Start):
    sidecar = await start(timeouts={"request_head": 0.3})
    transport, client = await connected(sidecar)
    for byte in HEAD + b"X: " + b"y" * 1000:
        if client.closed.is_set():
            break
        transport.write(bytes([byte]))
        await asyncio.sleep(0.01)
    await closed(client)
    assert client.statuses == [408]


async def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(start: Start):
    sidecar = await start(timeouts={"request_head": 0.2})
    _, client = await connected(sidecar)
    await closed(client)
    assert client.read == b""


async def test_an_idle_connection_is_kept_for_longer_than_a_header_block_may_take(start: Start):
    sidecar = await start(timeouts={"request_head": 0.1, "keep_alive": 2.0})
    transport, client = await connected(sidecar)
    for count in (1, 2):
        transport.write(LIVE)
        await served(client, count)
        await asyncio.sleep(0.3)
        assert not client.closed.is_set()
    await closed(client)
    assert client.statuses == [200, 200]


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"]
)
async def test_a_body_that_does_not_move_is_a_408(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture, path: str, framing: bytes
):
    sidecar = await start(timeouts={"request_body": 0.2})
    transport, client = await connected(sidecar)
    transport.write(HEAD.replace(CHAT.encode(), path.encode()) + framing)
    await closed(client)
    assert client.statuses == [408]
    assert told(client)["code"] == "request_timeout"
    assert "timeouts.request_body" in told(client)["message"]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_a_body_may_take_longer_in_all_than_it_may_pause(start: Start, upstream: Upstream, path: str):
    sidecar = await start(timeouts={"request_body": 1.0})
    transport, client = await connected(sidecar)
    transport.write(HEAD.replace(CHAT.encode(), path.encode()) + b"Content-Length: %d\r\n\r\n" % len(BODY))
    for at in range(0, len(BODY), 4):
        await asyncio.sleep(0.12)
        transport.write(BODY[at : at + 4])
    await eventually(lambda: client.statuses == [200])
    assert upstream.last.body == BODY


async def test_an_upload_that_waits_for_the_upstream_is_not_slow(start: Start, upstream: Upstream):
    sidecar = await start(timeouts={"request_body": 1.0})
    upstream.reads_lazily = True

    async def reads_late(exchange: Exchange) -> None:
        await asyncio.sleep(1.6)
        size = sum([len(piece) async for piece in exchange.body()])
        await exchange.head(200, {}, 8)
        await exchange.send(b"%8d" % size)

    upstream.will(reads_late)
    reply = await sidecar.send("POST", "/v1/files", data=b"x" * 30_000_000)
    assert (reply.status, int(reply.body)) == (200, 30_000_000)


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_a_body_whose_framing_breaks_later_is_a_400(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture, path: str
):
    transport, client = await connected(sidecar)
    transport.write(
        HEAD.replace(CHAT.encode(), path.encode()) + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{mess"
    )
    await asyncio.sleep(0.05)
    transport.write(b"\r\nzz\r\n")
    await closed(client)
    assert client.statuses == [400]
    assert told(client)["code"] == "invalid_http"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"y" * 70_000 + b"\r\n",
        b"X: y\r\n" * 12_000,
        b"".join(b"X-%d: %b\r\n" % (at, b"y" * 5000) for at in range(14)),
        b"y" * 70_000 + b": x\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_header_block_above_the_limit_is_a_431(
    sidecar: Sidecar, upstream: Upstream, headers: bytes, pieces: int
):
    data = HEAD + b"Content-Length: %d\r\n" % len(BODY) + headers + b"\r\n" + BODY
    transport, client = await connected(sidecar)
    size = len(data) // pieces + 1
    for at in range(0, len(data), size):
        transport.write(data[at : at + size])
        await asyncio.sleep(0.01)
    await closed(client)
    assert client.statuses == [431]
    assert told(client)["code"] == "headers_too_large"
    assert "limits.header_block" in told(client)["message"]
    assert upstream.requests == []


async def test_a_long_target_is_a_431_as_well(start: Start):
    sidecar = await start(limits={"header_block": 5000})
    transport, client = await connected(sidecar)
    transport.write(b"GET /v1/x?" + b"y" * 6000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    await closed(client)
    assert client.statuses == [431]


@pytest.mark.parametrize("end", [b"", b"\r\n"])
async def test_more_than_a_thousand_headers_are_a_431_though_they_are_small(start: Start, end: bytes):
    sidecar = await start()
    transport, client = await connected(sidecar)
    transport.write(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 1500 + end)
    await closed(client)
    assert client.statuses == [431]
    assert "1000 headers" in told(client)["message"]


async def test_a_header_block_within_the_limit_passes_whatever_its_shape(
    sidecar: Sidecar, upstream: Upstream
):
    headers = {"X-Long": "y" * 30_000} | {f"X-{at}": "z" * 60 for at in range(300)}
    assert (await sidecar.ask("hi", headers=headers)).status == 200
    assert upstream.last.headers["X-Long"] == "y" * 30_000
    assert upstream.last.headers["X-299"] == "z" * 60


async def test_a_large_body_is_no_large_header_block(start: Start):
    sidecar = await start(limits={"header_block": 1000})
    transport, client = await connected(sidecar)
    body = b'{"messages":[{"role":"user","content":"%b"}]}' % (b"x" * 300_000)
    for _ in range(2):
        transport.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 50_000):
            transport.write(body[at : at + 50_000])
            await asyncio.sleep(0.005)
    await eventually(lambda: client.statuses == [200, 200])


async def test_of_requests_behind_one_that_is_answered_a_few_are_read(sidecar: Sidecar, upstream: Upstream):
    gate = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.head(200, {}, 0)

    upstream.otherwise = waits
    transport, client = await connected(sidecar)
    one = b"GET /v1/x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000 + b"\r\n\r\n"
    transport.write(one)
    await eventually(lambda: len(upstream.requests) == 1)
    for _ in range(1500):
        transport.write(one)
    await asyncio.sleep(0.5)
    assert transport.get_write_buffer_size() > 4_000_000  # the rest is where the system keeps it
    gate.set()
    await eventually(lambda: len(client.statuses) == 1501, within=60)


async def test_beyond_the_limit_the_oldest_idle_connection_gives_way(start: Start):
    sidecar = await start(limits={"connections": 3})
    made = [await connected(sidecar) for _ in range(3)]
    for transport, client in made:
        transport.write(LIVE)
        await served(client, 1)
    transport, newest = await connected(sidecar)
    transport.write(LIVE)
    await eventually(lambda: newest.statuses == [200])
    await closed(made[0][1])
    assert [each.closed.is_set() for _, each in made] == [True, False, False]


async def test_where_no_connection_is_idle_a_further_one_is_a_503(start: Start, upstream: Upstream):
    gate = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.head(200, {}, 0)

    upstream.otherwise = waits
    sidecar = await start(limits={"connections": 2})
    made = [await connected(sidecar) for _ in range(2)]
    for transport, _ in made:
        transport.write(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: len(upstream.requests) == 2)
    transport, refused = await connected(sidecar)
    transport.write(LIVE)
    await closed(refused)
    assert refused.statuses == [503]
    assert told(refused)["code"] == "too_many_connections"
    assert "limits.connections" in told(refused)["message"]
    gate.set()
    await eventually(lambda: all(client.statuses == [200] for _, client in made))
    transport, served = await connected(sidecar)
    transport.write(LIVE)
    await eventually(lambda: served.statuses == [200])


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.01, 0.05])
@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"Content-Length: 99\r\n\r\n{",
    ],
)
async def test_a_client_that_leaves_at_any_moment_is_no_error(
    sidecar: Sidecar, upstream: Upstream, caplog: pytest.LogCaptureFixture, seconds: float, request_: bytes
):
    async def streams(exchange: Exchange) -> None:
        await exchange.head(200, {"Content-Type": "text/event-stream"}, None)
        for _ in range(40):
            await exchange.piece(b"data: " + b"x" * 20_000 + b"\n\n")
        await exchange.send(b"0\r\n\r\n")

    upstream.otherwise = streams
    for _ in range(15):
        transport, _client = await connected(sidecar)
        transport.write(request_)
        await asyncio.sleep(seconds)
        transport.abort()
    await asyncio.sleep(0.1)
    assert (await sidecar.send("GET", "/-/live")).status == 200
    assert [each.getMessage() for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []
    assert "Traceback" not in caplog.text
