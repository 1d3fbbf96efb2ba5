"""An upstream that is down, silent, or has something against the request."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.proxy.client import CHAT, Sidecar, assert_error, chat, eventually, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, cuts, event, says, sends, streams, waits

RETRIES = "sidecar_upstream_retries_total"


async def test_an_upstream_that_is_down_is_tried_as_often_as_set_and_then_502(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(retries={"attempts": 4, "backoff": 0.01})
    await upstream.stop()
    error = assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable", type="upstream_error")
    assert error["message"] == "the upstream failed: it refuses connections"
    assert [each.__dict__.get("upstream") for each in caplog.records if each.message == "failed"] == [
        f"http://127.0.0.1:{upstream.port}"
    ]
    (line,) = [each for each in caplog.records if each.name == "sidecar"]
    assert (line.levelname, line.getMessage(), vars(line)["error"]) == ("WARNING", "failed", error["message"])
    assert await sidecar.metric(RETRIES) == 3
    assert await sidecar.stored() == []


async def test_the_pause_doubles_from_try_to_try(start: Start, upstream: Upstream):
    sidecar = await start(retries={"attempts": 3, "backoff": 0.05})
    await upstream.stop()
    began = time.monotonic()
    await sidecar.ask("hi")
    assert 0.15 <= time.monotonic() - began < 5


async def test_an_upstream_that_comes_up_meanwhile_answers(start: Start, upstream: Upstream):
    sidecar = await start(retries={"attempts": 3, "backoff": 0.1})
    await upstream.stop()
    asked = asyncio.create_task(sidecar.ask("hi", id="a"))
    await asyncio.sleep(0.05)
    await upstream.start()
    assert (await asked).status == 200
    assert len(upstream.requests) == 1
    assert (await sidecar.only()).branches == [["hi", "ok"]]


async def test_a_connection_that_is_dropped_at_once_is_tried_again(sidecar: Sidecar, upstream: Upstream):
    upstream.will(cuts(), cuts())
    assert (await sidecar.ask("hi", id="a")).status == 200
    assert len(upstream.requests) == 3
    assert (await sidecar.only()).branches == [["hi", "ok"]]


async def test_a_connection_that_is_always_dropped_is_a_502(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = cuts()
    assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")
    assert len(upstream.requests) == 3


async def test_a_kept_connection_gone_stale_is_no_error(sidecar: Sidecar, upstream: Upstream):
    async def once(exchange: Exchange) -> None:
        await says("one")(exchange)
        exchange.writer.close()

    upstream.will(once)
    await sidecar.ask("hi", id="a")
    assert (await sidecar.ask("and?", id="a")).status == 200
    assert (await sidecar.only()).branches == [["hi", "one", "and?", "ok"]]


async def test_nothing_is_tried_again_once_the_upstream_may_have_begun(sidecar: Sidecar, upstream: Upstream):
    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.4)
        await cuts()(exchange)

    upstream.otherwise = late
    assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")
    assert len(upstream.requests) == 1


async def test_an_upload_is_not_sent_twice(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = cuts()
    reply = await sidecar.send("POST", "/v1/files", data=b"once")
    assert_error(reply, 502, "upstream_unreachable")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_half_an_upload_is_never_sent_as_if_it_were_the_whole(
    sidecar: Sidecar, upstream: Upstream, method: str
):
    """When a kept connection breaks, aiohttp itself sends again what may be sent again; the body is gone."""
    await sidecar.send("GET", "/v1/models")  # there is a kept connection now
    seen: list[bytes] = []

    async def takes_the_first_piece(exchange: Exchange) -> None:
        seen.append(await anext(exchange.body()))
        await cuts()(exchange)

    async def takes_all(exchange: Exchange) -> None:
        seen.append(b"".join([piece async for piece in exchange.body()]))
        await sends(b"{}")(exchange)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"piece"
            await asyncio.sleep(0.01)

    upstream.reads_lazily = True
    upstream.will(takes_the_first_piece, takes_all)
    async with sidecar.http.request(method, sidecar.url + "/v1/files/1", data=pieces()) as response:
        assert response.status == 502
    assert seen == [b"piece"]


async def test_an_upstream_that_stays_silent_is_a_504(start: Start, upstream: Upstream):
    sidecar = await start(timeouts={"idle": 0.1})
    upstream.will(waits(asyncio.Event(), says()))
    assert_error(await sidecar.ask("hi", id="a"), 504, "upstream_timeout", type="upstream_error")
    await eventually(upstream.last.gone.is_set)
    assert len(upstream.requests) == 1
    upstream.will(waits(asyncio.Event(), says()))
    assert_error(await sidecar.send("GET", "/v1/models"), 504, "upstream_timeout")


async def test_a_stream_may_last_longer_than_the_idle_time(start: Start, upstream: Upstream):
    sidecar = await start(timeouts={"idle": 0.6})
    pieces = [event({"content": f" {number}"}) for number in range(5)]
    upstream.will(streams(*(step for piece in pieces for step in (0.15, piece))))
    reply = await sidecar.ask("count", stream=True)
    assert reply.body == b"".join(pieces)


async def test_an_upstream_that_does_not_take_connections_is_a_504(start: Start):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        sidecar = await start(
            upstream=f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeouts={"connect": 0.1}
        )
        assert_error(await sidecar.ask("hi"), 504, "upstream_timeout")
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    "noise", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02"]
)
async def test_an_upstream_that_speaks_no_http_is_a_502(sidecar: Sidecar, upstream: Upstream, noise: bytes):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(noise)
        exchange.writer.close()

    upstream.otherwise = answer
    assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_the_upstream_passes_byte_for_byte(
    sidecar: Sidecar, upstream: Upstream, status: int, stream: bool
):
    await sidecar.ask("hi", id="a")
    before = await sidecar.stored()
    body = b'{"error" : {"message":"no\\u00e4", "code": 1.0}}\n'
    headers = {"Content-Type": "application/json", "Retry-After": "7", "x-request-id": "r1"}
    upstream.will(sends(body, status=status, headers=headers))
    reply = await sidecar.ask("hi", "ok", "and?", id="a", stream=stream)
    assert (reply.status, reply.body) == (status, body)
    assert {name: reply.headers[name] for name in headers} == headers
    assert reply.headers["X-Conversation-ID"] == "a"
    assert len(upstream.requests) == 2
    assert await sidecar.stored() == before


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_the_clients_to_follow(sidecar: Sidecar, upstream: Upstream, status: int):
    upstream.will(sends(b"", status=status, headers={"Location": "https://elsewhere.example/v1"}))
    body = json.dumps({"messages": chat("hi")}).encode()
    async with sidecar.http.post(
        sidecar.url + CHAT, data=body, headers=named("a"), allow_redirects=False
    ) as response:
        assert response.status == status
        assert response.headers["Location"] == "https://elsewhere.example/v1"
    assert len(upstream.requests) == 1
    assert await sidecar.stored() == []


async def test_an_error_page_that_is_no_json_passes(sidecar: Sidecar, upstream: Upstream):
    page = b"<html>502 Bad Gateway</html>"
    upstream.will(sends(page, status=502, headers={"Content-Type": "text/html"}))
    reply = await sidecar.ask("hi", id="a")
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (502, page, "text/html")
