"""Responses over a WebSocket: each message is a request, which takes the path that one over HTTP takes.

Rules: one request after another, as they come. A client that leaves ends the one that is answered, as over
HTTP. What the connection has to remember of responses that are kept nowhere (`dialects/responses/frames.py`)
has a room that all connections share; where it is full, the client is told that nothing is there to go on
from, and sends everything. A connection on which nothing is asked holds up no shutdown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from sidecar.aiohttp_internals.inner import InnerWriter, inner_request
from sidecar.conversation.exchange_record import exchange_id
from sidecar.conversation.pieces import LARGE
from sidecar.dialects.responses import PATH
from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.responses.frames import (
    Held,
    body_of,
    error_frame,
    frame_of,
    held_after,
    messages_in,
    not_found,
    with_headers,
)
from sidecar.dialects.responses.references import UnknownItems
from sidecar.errors import Forbidden, SidecarError
from sidecar.proxy.handle import handle, handle_tracked
from sidecar.proxy.receive import identify
from sidecar.proxy.referred import with_items
from sidecar.proxy.services import Services
from sidecar.proxy.websocket import is_websocket
from sidecar.random_ids import token

__all__ = ["asked_over_socket", "responses_socket"]

log = logging.getLogger("sidecar.proxy")

# Of the handshake, and of no request that is sent over it.
_OF_THE_HANDSHAKE = (
    *("Connection", "Upgrade", "Content-Length", "Content-Encoding", "Transfer-Encoding"),
    *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"),
    # SDKs count how often they have connected, which says nothing of the requests; nor is it any of them.
    *("x-stainless-retry-count", "X-Request-ID"),
)
_OK = 200
_FAREWELL = 0.2  # seconds in which a client may close its side, once the sidecar ends
T = TypeVar("T")


def asked_over_socket(services: Services, request: web.BaseRequest) -> Responses | None:
    """The API, where a request asks to speak it over a WebSocket."""
    return services.requests.responses if request.path.endswith(PATH) and is_websocket(request) else None


async def responses_socket(
    services: Services, dialect: Responses, request: web.BaseRequest
) -> web.StreamResponse:
    """Answer whatever is asked, until one side leaves. Raises `SidecarError` for whom may ask nothing."""
    if services.requests.visitors.foreign_page(request) is not None:
        # A browser sends no such header of its own accord but this, and asks nobody before it connects.
        raise Forbidden("a web page of another site may not connect: name its origin in `access.origins`")
    identify(services, dialect, request)
    socket = web.WebSocketResponse(
        timeout=_FAREWELL,
        compress=False,  # what is compressed can be made to decompress to anything
        # aiohttp takes this for the first size that is too large.
        max_msg_size=services.settings.limits.websocket_message + 1,
    )
    await socket.prepare(request)
    services.requests.open.end(asyncio.current_task())
    connection = _Connection(services, dialect, request, socket)
    try:
        await connection.run()
    finally:
        connection.hold(None)
    return socket


class _Connection:
    def __init__(
        self, services: Services, dialect: Responses, request: web.BaseRequest, socket: web.WebSocketResponse
    ) -> None:
        self._services, self._dialect = services, dialect
        self._request, self._socket = request, socket
        self._held: Held | None = None

    async def run(self) -> None:
        """Answer one message after another. The next may come meanwhile, and waits; or the client leaves."""
        coming = asyncio.create_task(self._next())
        ending = asyncio.create_task(self._services.requests.open.ending.wait())
        answering: asyncio.Task[None] | None = None
        try:
            while await _first(coming, ending) and (data := coming.result()) is not None:
                coming = asyncio.create_task(self._next())
                answering = asyncio.create_task(self._answer(data))
                await asyncio.wait((coming, answering), return_when=asyncio.FIRST_COMPLETED)
                if coming.done() and coming.result() is None:
                    return
                await answering
            if ending.done():
                coming.cancel()
                await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        except ConnectionResetError:
            pass  # it has left
        finally:
            tasks = [each for each in (coming, ending, answering) if each is not None]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> bytes | None:
        """The next message; None once none comes any more."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data).encode()
        return bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else None

    async def _answer(self, data: bytes) -> None:
        task = self._services.requests.open.begin()
        gate = self._services.gate
        try:
            if gate is None:
                await self._served(data)
            else:
                await gate.admit_again(self._request)
                with await gate.counted(self._request):
                    await self._served(data)
        except SidecarError as error:
            level, event = (logging.INFO, "refused") if error.status < 500 else (logging.WARNING, "failed")
            about = {"status": error.status, "code": error.code, "error": error.message}
            log.log(level, event, extra={**about, **error.logged})
            await self._refuse(error)
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:  # the client is told in words that it understands, and the log the trace
            log.exception("an unexpected error", extra={"path": self._request.path})
            await self._refuse(SidecarError("the sidecar failed; see its log"))
        finally:
            self._services.requests.open.end(task)

    async def _refuse(self, error: SidecarError) -> None:
        headers = dict(error.headers)
        if error.conversation:
            headers["X-Conversation-ID"] = error.conversation
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        await self._fail(error.status, json.dumps(error.body()).encode(), headers)

    async def _fail(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Say what an error with this body is, and what its headers tell of it."""
        await self._socket.send_str(with_headers(error_frame(status, body), headers).decode())

    async def _served(self, data: bytes) -> None:
        """One request, and what is held after it."""
        frame = await self._done(len(data), partial(frame_of, data))
        held = self._held if self._held is not None and self._held.id == frame.previous else None
        if held is not None:
            self.hold(None)
        elif frame.previous is not None and not frame.is_kept:
            raise not_found(frame.previous)
        dialect = self._dialect.holding(held.id) if held is not None else self._dialect
        size = len(data) + (len(held.items) if held is not None else 0)
        body = await self._done(size, partial(body_of, frame, held))
        if self._services.gate is not None:
            body = await self._services.gate.plain(self._request, body)
        answer = _Answer(self._socket)
        if frame.generates:
            await self._ask(dialect, body, answer)
        else:
            events, answer.headers = await self._prepared(dialect, body)
            await answer.tell(_OK, events)
        if not (frame.is_kept and frame.generates) and answer.last:
            size += len(answer.last)
            self.hold(await self._done(size, partial(held_after, frame, held, answer.last)))

    async def _prepared(self, dialect: Responses, body: bytes) -> tuple[bytes, Mapping[str, str]]:
        """The answer to what asks for none, and its headers."""
        exchange = exchange_id(int(time.time() * 1000), token(4))
        try:
            return await self._done(len(body), partial(dialect.prepared, body, exchange, time.time))
        except UnknownItems as unknown:
            identity = identify(self._services, dialect, self._request)
            body = await with_items(self._services, identity, unknown, body)
            return await self._done(len(body), partial(dialect.prepared, body, exchange, time.time))

    async def _done(self, size: int, work: Callable[[], T]) -> T:
        """What this gives, which takes as long as so many bytes do; not here, if others would wait for it."""
        return await self._services.background.large_work.do("parse", work) if size > LARGE else work()

    async def _ask(self, dialect: Responses, body: bytes, answer: _Answer) -> None:
        headers = CIMultiDict(self._request.headers)
        for name in _OF_THE_HANDSHAKE:
            headers.popall(name, None)
        headers["Content-Type"] = "application/json"
        request = inner_request(self._request, headers, body, answer.writer)
        asking = handle_tracked if self._services.is_tracked else handle
        response = await asking(self._services, dialect, request)
        await response.prepare(request)  # if it has not begun
        await response.write_eof()
        if answer.writer.status != _OK:
            await self._fail(answer.writer.status, bytes(answer.error), answer.writer.headers)

    def hold(self, held: Held | None) -> None:
        """Remember this in place of what was; nothing, if there is no room for it."""
        room = self._services.requests.held_by_sockets
        if self._held is not None:
            room.give_back(len(self._held.items))
        self._held = held if held is not None and room.take(len(held.items)) else None


async def _first(one: asyncio.Task[Any], other: asyncio.Task[Any]) -> bool:
    """Is the one done before the other? Waits until either is."""
    await asyncio.wait((one, other), return_when=asyncio.FIRST_COMPLETED)
    return one.done()


class _Answer:
    """An answer on its way to the client. `last`: its last event; `error`: what is none; `headers`: what its
    first event tells besides, if that is not what its head does."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.writer = InnerWriter(self.tell)
        self.headers: Mapping[str, str] = {}
        self.last = b""
        self.error = bytearray()

    async def tell(self, status: int, piece: bytes) -> None:
        """A piece of it, under this status."""
        if status != _OK:
            self.error += piece
            return
        for message in messages_in(piece):
            said = message if self.last else with_headers(message, self.headers or self.writer.headers)
            self.last = message
            await self._socket.send_str(said.decode())
