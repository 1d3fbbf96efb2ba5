"""Every other path and method: streamed through in both directions, WebSockets included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from sidecar.errors import UpstreamUnreachable
from sidecar.proxy.answer import Answer
from sidecar.proxy.context import Context
from sidecar.proxy.headers import to_upstream
from sidecar.proxy.relay import relay

__all__ = ["passthrough"]


async def passthrough(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request with the upstream's answer."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _websocket(context, request)
    url = context.upstream.url(request.raw_path)
    body = (lambda: _body(request)) if request.body_exists else None
    upstream = await context.upstream.send(
        request.method, url, to_upstream(request.headers, without=context.kept_back), body
    )
    return await relay(request, Answer(upstream), {})


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while chunk := await request.content.readany():
        yield chunk


# The handshake's own headers are made anew on each side.
_HANDSHAKE = frozenset(
    (
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
    )
)


async def _websocket(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    offered = [
        each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()
    ]
    try:
        upstream = await context.upstream.session.ws_connect(
            context.upstream.url(request.raw_path),
            protocols=offered,
            headers=to_upstream(request.headers, without=_HANDSHAKE | context.kept_back),
            autoping=False,
            autoclose=False,
            max_msg_size=0,
        )
    except aiohttp.WSServerHandshakeError as error:
        return web.Response(status=error.status, text=error.message)
    except aiohttp.ClientError as error:
        raise UpstreamUnreachable(f"cannot open a WebSocket to the upstream: {error}") from error
    async with upstream:
        protocols = (upstream.protocol,) if upstream.protocol else ()
        client = web.WebSocketResponse(protocols=protocols, autoping=False, autoclose=False, max_msg_size=0)
        await client.prepare(request)
        both = [asyncio.create_task(_pump(client, upstream)), asyncio.create_task(_pump(upstream, client))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        return client


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: _Socket, target: _Socket) -> None:
    """Pass messages on until one side closes; then close the other with the same code and reason."""
    while True:
        message = await source.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.PING:
            await target.ping(message.data)
        elif message.type is aiohttp.WSMsgType.PONG:
            await target.pong(message.data)
        else:
            closed = message.type is aiohttp.WSMsgType.CLOSE
            # 1005 and 1006 tell that no code came; they must not be sent. A side that broke off did not
            # end well, and the other must not take it for that: 1011, as 1006 cannot be said.
            code = (message.data or 1000) if closed else 1011
            await target.close(
                code=1000 if code in (1005, 1006) else code,
                message=(message.extra or "").encode() if closed else b"",
            )
            return
