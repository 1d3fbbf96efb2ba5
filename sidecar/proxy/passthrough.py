"""Every other path and method: streamed through in both directions, WebSockets included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from sidecar.proxy.context import Context
from sidecar.proxy.relay import relay
from sidecar.proxy.server import is_websocket
from sidecar.upstream.headers import to_upstream
from sidecar.upstream.response import UpstreamResponse
from sidecar.upstream.target import WebSocket

__all__ = ["passthrough"]


async def passthrough(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request with the upstream's answer."""
    if is_websocket(request):
        return await _websocket(context, request)
    body = (lambda: _body(request)) if request.body_exists else None
    headers = to_upstream(request.headers, without=context.kept_back)
    upstream = await context.targets.default.send(request.method, request.raw_path, headers, body)
    return await relay(request, upstream, {})


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
    # aiohttp takes this for the first size that is too large.
    largest = context.settings.limits.websocket_message + 1
    headers = to_upstream(request.headers, without=_HANDSHAKE | context.kept_back)
    upstream = await context.targets.default.websocket(request.raw_path, headers, offered, largest)
    if isinstance(upstream, UpstreamResponse):  # it does not agree, or knows another place
        return await relay(request, upstream, {})
    async with upstream:
        client = web.WebSocketResponse(
            protocols=(upstream.protocol,) if upstream.protocol else (),
            autoping=False,
            autoclose=False,
            compress=False,  # what is compressed can be made to decompress to anything
            max_msg_size=largest,
        )
        await client.prepare(request)
        both = [asyncio.create_task(_pump(client, upstream)), asyncio.create_task(_pump(upstream, client))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            # The client may have gone before the upstream was told.
            await upstream.close(code=_sendable(client.close_code))
        return client


def _sendable(code: int | None) -> int:
    """What tells that a side broke off, 1006 or none, cannot be sent; the other must not take it for well."""
    return 1011 if code in (None, 1006) else 1000 if code == 1005 else code


_Socket = web.WebSocketResponse | WebSocket


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
            # An error tells with which code it was answered: 1009, for one, if the message was too large.
            code = message.data or 1000 if closed else getattr(message.data, "code", None)
            await target.close(
                code=_sendable(code), message=(message.extra or "").encode() if closed else b""
            )
            return
