"""WebSockets: every message passed on, in both directions, until one side closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

import aiohttp
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from sidecar.access.models import in_address
from sidecar.errors import InvalidKey, StoreUnavailable
from sidecar.proxy.journey import TARGET, Arrived, Journey, router_of
from sidecar.proxy.relay import relay
from sidecar.proxy.services import Services
from sidecar.upstream.headers import to_upstream
from sidecar.upstream.pool import Member
from sidecar.upstream.response import UpstreamResponse
from sidecar.upstream.target import Target, WebSocket

__all__ = ["is_websocket", "wants_websocket", "websocket"]

# The handshake's own headers are made anew on each side.
_LOOK = 2.0  # seconds between two looks whether a client's key is still valid
_HANDSHAKE = frozenset(
    (
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
    )
)


def is_websocket(request: web.BaseRequest) -> bool:
    """Does it ask for a WebSocket as RFC 6455 (4.1) has it? Else its `Upgrade` is ignored (RFC 9110, 7.8)."""
    return (
        "Upgrade" in request.headers
        and request.method == "GET"
        and request.version >= HttpVersion11
        and wants_websocket(request)
        and "upgrade" in _words(request, "Connection")
    )


def wants_websocket(request: web.BaseRequest) -> bool:
    """Does its `Upgrade` name a WebSocket, whatever else is right or wrong with it?"""
    return "websocket" in _words(request, "Upgrade")


def _words(request: web.BaseRequest, name: str) -> list[str]:
    return [each.strip() for each in ",".join(request.headers.getall(name, ())).lower().split(",")]


async def websocket(services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """Open one upstream and pass on what comes; or the upstream's answer, where it does not agree."""
    offered = [
        each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()
    ]
    # aiohttp takes this for the first size that is too large.
    largest = services.settings.limits.websocket_message + 1
    headers = to_upstream(request.headers, without=_HANDSHAKE | services.requests.kept_back)
    open_at = partial(_opened, headers, offered, largest)
    said: dict[str, str] = {}
    if services.router is None:
        opened = await open_at(request.raw_path, services.targets.default)
    else:
        arrived = await _by_model(services, request, open_at)
        opened, said = arrived.answer, {TARGET: arrived.member.pool.name}
    upstream = opened.socket
    if upstream is None:  # it does not agree, or knows another place
        assert opened.refusal is not None
        return await relay(request, opened.refusal, said)
    async with opened, upstream:
        client = web.WebSocketResponse(
            protocols=(upstream.protocol,) if upstream.protocol else (),
            autoping=False,
            autoclose=False,
            compress=False,  # what is compressed can be made to decompress to anything
            max_msg_size=largest,
        )
        client.headers.update(said)
        await client.prepare(request)
        both = [asyncio.create_task(_pump(client, upstream)), asyncio.create_task(_pump(upstream, client))]
        try:
            await _while_admitted(services, request, both)
        except InvalidKey as error:
            await client.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION, message=error.message.encode())
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            # The client may have gone before the upstream was told.
            await upstream.close(code=_sendable(client.close_code))
        return client


class _Opened(NamedTuple):
    """What became of a handshake: a WebSocket, or the answer that refuses it. `ended`: told of its end."""

    socket: WebSocket | None
    refusal: UpstreamResponse | None
    ended: Callable[[], None] = lambda: None

    @property
    def status(self) -> int:
        return 101 if self.refusal is None else self.refusal.status

    def close(self) -> None:
        """Nobody wants the answer."""
        if self.refusal is not None:
            self.refusal.close()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_error: object) -> None:
        self.ended()


_OpenAt = Callable[[str, Target], Awaitable[_Opened]]


async def _opened(
    headers: CIMultiDict[str], offered: Sequence[str], largest: int, path: str, target: Target
) -> _Opened:
    upstream = await target.websocket(path, headers, offered, largest)
    return _Opened(None, upstream) if isinstance(upstream, UpstreamResponse) else _Opened(upstream, None)


def _renamed(path: str, model: str | None, there: str | None) -> str:
    """The address with the name that a model has there in the parameter that names it."""
    bare, mark, query = path.partition("?")
    if there is None or there == model or not mark:
        return path
    fields = [each.partition("=") for each in query.split("&")]
    is_it = [name == "model" and unquote_plus(value) == model for name, _, value in fields]
    parts = [
        f"model={quote(there, safe='')}" if hit else "".join(field)
        for hit, field in zip(is_it, fields, strict=True)
    ]
    return f"{bare}?{'&'.join(parts)}"


async def _by_model(services: Services, request: web.BaseRequest, open_at: _OpenAt) -> Arrived[str, _Opened]:
    """Open it at the target for the model that its address names. Raises `SidecarError`."""
    named = [*request.query.getall("model", ()), *in_address(request.raw_path)]
    model = named[0] if named else None

    async def path_for(member: Member) -> str:
        return _renamed(request.raw_path, model, member.pool.named(model))

    async def send(member: Member, path: str, _elsewhere: bool) -> _Opened:
        held = member.enter()
        try:
            opened = await open_at(path, member.target)
        except BaseException:
            held.release()
            raise
        if opened.refusal is not None:
            return opened._replace(refusal=held.over(opened.refusal))
        return opened._replace(ended=held.release)

    member = router_of(services).candidates(model, None)[0]
    if model is None:  # it says nothing of how well the upstream is
        path = request.raw_path
        return Arrived(member, path, await send(member, path, False), 1)
    return await Journey(services, model, None, path_for, send).run(member, await path_for(member))


async def _while_admitted(
    services: Services, request: web.BaseRequest, both: Sequence[asyncio.Task[None]]
) -> None:
    """Until one side has closed. Raises `InvalidKey` once the client's key admits it no more."""
    patience = _LOOK if services.gate is not None else None
    while not (await asyncio.wait(both, timeout=patience, return_when=asyncio.FIRST_COMPLETED))[0]:
        if services.gate is not None:
            with suppress(StoreUnavailable):  # it cannot be told now
                await services.gate.admit_again(request)


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
