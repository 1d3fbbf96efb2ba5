"""WebSockets pass in both directions: text, bytes, pings, and how they end."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web

from sidecar.access import known_keys
from sidecar.proxy import websocket
from tests.proxy.client import CHAT, Sidecar, assert_error
from tests.proxy.client_keys import bearer, new_key, revoke
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, sends

HANDSHAKE = {
    "Connection": "upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "A" * 22 + "==",
}


class Sockets:
    """An upstream with one WebSocket, which echoes, and closes when it is told to."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.closed_with: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.pinged: asyncio.Queue[bytes] = asyncio.Queue()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(protocols=("realtime", "v2"), autoping=False, max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.PING:
                self.pinged.put_nowait(message.data)
                await socket.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "close":
                await socket.close(code=4002, message=b"as you wish")
            elif message.data == "more":
                await socket.send_str("x" * 1001)
            elif message.data == "vanish":
                assert request.transport is not None
                request.transport.abort()
            else:
                await socket.send_str(message.data)
        self.closed_with.set_result(socket.close_code)
        return socket


@pytest.fixture
async def sockets():
    served = Sockets()
    app = web.Application()
    app.router.add_get("/v1/realtime", served.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


@pytest.fixture
async def sidecar(start: Start, sockets: Sockets) -> Sidecar:
    return await start(upstream=sockets.url)


async def test_one_whose_key_is_revoked_is_closed_within_seconds(
    start: Start, sockets: Sockets, monkeypatch: pytest.MonkeyPatch
):
    assert websocket._LOOK + known_keys._FRESH < 5
    monkeypatch.setattr(websocket, "_LOOK", 0.02)
    monkeypatch.setattr(known_keys, "_FRESH", 0.0)
    sidecar = await start(upstream=sockets.url, keys={"enforcement": "required"})
    key = await new_key(sidecar.settings)
    async with sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime", headers=bearer(key)) as socket:
        await asyncio.sleep(0.1)
        await socket.send_str("a")
        assert await socket.receive_str() == "a"
        await revoke(sidecar.settings, key)
        closed = await socket.receive(timeout=5)
        assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1008)
    assert await asyncio.wait_for(sockets.closed_with, 5) is not None
    assert "sk-sc-" not in f"{sockets.requests[0].headers}"


async def test_messages_of_both_kinds_and_any_size_pass(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime?model=m", max_msg_size=0) as socket:
        for text in ("", "né 😀", "x" * 5_000_000):
            await socket.send_str(text)
            assert await socket.receive_str() == text
        for data in (b"", b"\x00\xff", b"y" * 5_000_000):
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data
    assert sockets.requests[0].path_qs == "/v1/realtime?model=m"


async def test_the_handshake_carries_headers_and_the_protocol(sidecar: Sidecar, sockets: Sockets):
    headers = {"Authorization": "Bearer k", "OpenAI-Beta": "realtime=v1"}
    async with sidecar.http.ws_connect(
        sidecar.url + "/v1/realtime", headers=headers, protocols=("other", "v2", "realtime")
    ) as socket:
        assert socket.protocol == "v2"
    assert headers.items() <= dict(sockets.requests[0].headers).items()
    assert sockets.requests[0].headers["Sec-WebSocket-Protocol"] == "other,v2,realtime"


async def test_without_a_protocol_there_is_none(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        assert socket.protocol is None
    assert "Sec-WebSocket-Protocol" not in sockets.requests[0].headers


async def test_a_ping_reaches_the_upstream_and_its_pong_the_client(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime", autoping=False) as socket:
        await socket.ping(b"are you there?")
        message = await socket.receive()
        assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"are you there?")
    assert sockets.pinged.get_nowait() == b"are you there?"


async def test_the_code_with_which_the_client_closes_reaches_the_upstream(sidecar: Sidecar, sockets: Sockets):
    socket = await sidecar.http.ws_connect(sidecar.url + "/v1/realtime")
    await socket.close(code=4001, message=b"enough")
    assert await asyncio.wait_for(sockets.closed_with, 2) == 4001


async def closing(socket: ClientWebSocketResponse) -> aiohttp.WSMessage:
    return await asyncio.wait_for(socket.receive(), 2)


async def test_the_code_and_reason_with_which_the_upstream_closes_reach_the_client(
    sidecar: Sidecar, sockets: Sockets
):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        await socket.send_str("close")
        message = await closing(socket)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4002, "as you wish")


async def test_a_client_that_vanishes_ends_the_upstreams_socket(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        await socket.send_str("hi")
        await socket.receive_str()
        transport = socket.get_extra_info("socket")
        assert transport is not None
        connection = socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        await asyncio.wait_for(sockets.closed_with, 2)


async def test_an_upstream_that_vanishes_ends_the_clients_socket_and_not_as_if_all_were_well(
    sidecar: Sidecar, sockets: Sockets
):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        await socket.send_str("vanish")
        message = await closing(socket)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)


async def test_a_handshake_that_the_upstream_refuses_is_refused(sidecar: Sidecar, sockets: Sockets):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sidecar.http.ws_connect(sidecar.url + "/v1/nothing")
    assert refused.value.status == 404


async def test_an_upstream_that_is_down_is_a_502(start: Start, upstream: Upstream):
    sidecar = await start()
    await upstream.stop()
    reply = await sidecar.send("GET", "/v1/realtime", headers=HANDSHAKE)
    assert_error(reply, 502, "upstream_unreachable")


async def test_a_turn_that_asks_for_an_upgrade_is_a_turn(start: Start, upstream: Upstream):
    sidecar = await start()
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    assert (await sidecar.ask("hi", id="a", headers=headers, path=CHAT)).outcome == "start"
    assert "Upgrade" not in upstream.last.headers
    assert "HTTP2-Settings" not in upstream.last.headers


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("binary", [False, True])
async def test_a_message_of_the_client_may_be_as_large_as_is_set(
    start: Start, sockets: Sockets, size: int, binary: bool
):
    sidecar = await start(upstream=sockets.url, limits={"websocket_message": 1000})
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        await (socket.send_bytes(b"x" * size) if binary else socket.send_str("x" * size))
        message = await closing(socket)
        if size == 1000:
            assert message.data == (b"x" * size if binary else "x" * size)
        else:
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
            assert await asyncio.wait_for(sockets.closed_with, 2) in (1009, 1011)


async def test_a_message_of_the_upstream_may_be_as_large_as_is_set(start: Start, sockets: Sockets):
    sidecar = await start(upstream=sockets.url, limits={"websocket_message": 1000})
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime") as socket:
        await socket.send_str("more")
        message = await closing(socket)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)


async def test_no_message_is_packed(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime", compress=15) as socket:
        assert socket.compress == 0
        await socket.send_str("hi")
        assert await socket.receive_str() == "hi"
    assert "Sec-WebSocket-Extensions" not in sockets.requests[0].headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_a_websocket_is_the_clients_to_follow(
    start: Start, upstream: Upstream, sockets: Sockets, status: int
):
    sidecar = await start()
    body = b"over there"
    upstream.will(sends(body, status=status, headers={"Location": f"{sockets.url}/realtime", "X-More": "1"}))
    async with sidecar.http.get(
        sidecar.url + "/v1/realtime", headers=HANDSHAKE, allow_redirects=False
    ) as reply:
        assert (reply.status, await reply.read()) == (status, body)
        assert (reply.headers["Location"], reply.headers["X-More"]) == (f"{sockets.url}/realtime", "1")
    assert sockets.requests == []


@pytest.mark.parametrize("status", [200, 401, 403, 426])
async def test_an_answer_that_refuses_a_websocket_passes_as_it_came(
    start: Start, upstream: Upstream, status: int
):
    sidecar = await start()
    body = b'{"error": {"message": "no"}}'
    upstream.will(sends(body, status=status, headers={"WWW-Authenticate": "Bearer"}))
    reply = await sidecar.send("GET", "/v1/realtime", headers=HANDSHAKE)
    assert (reply.status, reply.body, reply.headers["WWW-Authenticate"]) == (status, body, "Bearer")


async def test_an_upstream_that_agrees_wrongly_is_a_502(start: Start, upstream: Upstream):
    async def wrong(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\n"
        )

    sidecar = await start()
    upstream.will(wrong)
    reply = await sidecar.send("GET", "/v1/realtime", headers=HANDSHAKE)
    assert_error(reply, 502, "upstream_unreachable")


async def test_a_side_that_does_not_read_holds_up_the_other(sidecar: Sidecar, sockets: Sockets):
    async with sidecar.http.ws_connect(sidecar.url + "/v1/realtime", max_msg_size=0) as socket:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 400:
                await socket.send_bytes(b"x" * 1_000_000)
                sent += 1

        with pytest.raises(TimeoutError):  # it echoes, and the client reads none of it
            await asyncio.wait_for(flood(), 3)
        assert sent < 100
