"""Connections of clients: how large, how slow and how many they may be, and when one is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo

from sidecar.aiohttp_internals.bodies import break_off

__all__ = [
    "MAX_HEADERS",
    "Bounds",
    "HeaderBlockTimeout",
    "HeaderBlockTooLarge",
    "RequestBodyTimeout",
    "Server",
    "ServerConnection",
    "SpecialRequest",
]

# Requests that may wait on a connection behind the one that is answered; then reading stops.
_MAX_PIPELINED = 4
# Headers of a request. A small one takes ten times its bytes in memory; clients send some dozens.
MAX_HEADERS = 1000
_TOO_MANY_HEADERS = "Too many headers received"  # in aiohttp's words
# Seconds in which a client that is turned away may read why, and how many may at once.
_TURNED_AWAY, _MOST_TURNED_AWAY = 0.5, 64
_LOOK_INTERVAL = 0.05  # seconds between two looks for connections that have been idle long enough


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may ask of a connection: bytes, seconds, and connections in all."""

    header_block: int
    head_time: float
    body_pause: float
    idle: float
    connections: int


class HeaderBlockTooLarge(HttpProcessingError):
    """The request line and the headers are more than `Bounds.header_block` bytes, or `MAX_HEADERS`."""

    code = 431


class HeaderBlockTimeout(HttpProcessingError):
    """They did not come within `Bounds.head_time`."""

    code = 408


class RequestBodyTimeout(RequestPayloadError):
    """No piece of a body came for `Bounds.body_pause`."""


class RequestParser(HttpRequestParser):
    """aiohttp's parser of requests; knows what the connection waits for, and for how long."""

    def __init__(
        self, connection: ServerConnection, loop: asyncio.AbstractEventLoop, bounds: Bounds, size: int
    ) -> None:
        super().__init__(
            connection,
            loop,
            size,
            max_line_size=bounds.header_block,
            max_field_size=bounds.header_block,
            max_headers=MAX_HEADERS,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=_MAX_PIPELINED,
        )
        self._connection = connection
        self._clock = loop.time
        self._bounds = bounds
        self._limit = bounds.header_block
        self._newest: StreamReader = EMPTY_PAYLOAD  # the body of the newest request
        self._in_body = False
        #: Bytes of a header block that is under way, and when it began; when the body last moved.
        self.unread = 0
        self.moved = 0.0

    @property
    def body(self) -> StreamReader | None:
        """The body that is under way."""
        return None if self._newest.is_eof() else self._newest

    def feed_data(self, data: bytes, *separators: Any) -> Any:
        """Parse a piece. Raises `HttpProcessingError` for what cannot be read, or is too much."""
        try:
            parsed = super().feed_data(data)
        except HttpProcessingError as error:
            self._connection.end_body(RequestPayloadError(), error)
            if error.message == _TOO_MANY_HEADERS:
                raise HeaderBlockTooLarge from error
            raise
        if parsed[0]:
            if self.unread + len(data) > self._limit:
                self._measure(parsed[0])
            self.unread = 0
            self._newest = parsed[0][-1][1]
            self._in_body = not self._newest.is_eof()
            self.moved = self._clock()
            if not self._connection.is_watched:
                self._connection.watch()
        elif data:
            self._wait_on(len(data))
        return parsed

    def _wait_on(self, size: int) -> None:
        """A piece came that ended no header block: of one, or of a body."""
        if self._in_body:
            self.moved = self._clock()
            self._in_body = not self._newest.is_eof()
            return
        if not self.unread:
            self.moved = self._clock()
            self._connection.watch()
        self.unread += size
        if self.unread > self._bounds.header_block:
            raise HeaderBlockTooLarge

    def is_begun(self) -> bool:
        """Has a header block begun? If so, nothing more can be parsed after that."""
        try:
            return self.unread > 0 or self.feed_eof() is not None
        except HttpProcessingError:
            return True

    def _measure(self, messages: Sequence[tuple[RawRequestMessage, object]]) -> None:
        for message, _ in messages:
            size = len(message.path) + sum(map(len, chain.from_iterable(message.raw_headers)))
            if size + 4 * len(message.raw_headers) > self._bounds.header_block:
                raise HeaderBlockTooLarge


Refusal = Callable[[int, BaseException | None], web.Response]


class ServerConnection(web.RequestHandler):
    """aiohttp's end of a connection to a client, which does not wait for it for ever."""

    __slots__ = ("_bounds", "_refusal", "_watch", "is_watched")

    def __init__(
        self,
        manager: Server,
        *,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
        refusal: Refusal,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, keepalive_timeout=bounds.idle, auto_decompress=False, **options)
        self._bounds = bounds
        self._refusal = refusal
        self._watch: asyncio.TimerHandle | None = None
        self.is_watched = False
        # aiohttp reads 32 requests ahead, whatever their size.
        self._max_msg_queue_size = _MAX_PIPELINED
        self._msg_queue_resume_size = _MAX_PIPELINED // 2
        self._parser = RequestParser(self, loop, bounds, self._read_bufsize)

    @property
    def is_idle(self) -> bool:
        """Is no request under way?"""
        waits = not self._request_count if self._waiter is None else not self._waiter.done()
        return waits and not self._messages

    def is_idle_since(self, moment: float) -> bool:
        """Is no request under way, and did the last answer end before this moment of the loop's clock?"""
        return self.is_idle and self._next_keepalive_close_time - self._keepalive_timeout <= moment

    def answer_last(self) -> None:
        """Say so with the answer that is under way, if its head has not gone, or else with the next."""
        if self._manager is None:  # the client has left
            return
        self._request_factory = cast(Server, self._manager).last_request
        if (request := self._current_request) is not None:
            request._message = request._message._replace(should_close=True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected. The first header block has to come as soon as any other."""
        manager = self._manager
        if manager is not None and not cast(Server, manager).has_room():
            BaseProtocol.connection_made(self, transport)
            self._turn_away(cast(asyncio.Transport, transport))
            return
        super().connection_made(transport)
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = self._loop.time() + self._bounds.head_time
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Say that there are too many, and close."""
        self._force_close = True  # what it sends is not looked at
        server = cast(Server, self._manager)
        if server.turned_away >= _MOST_TURNED_AWAY:
            transport.abort()
            return
        transport.write(server.busy)
        server.turned_away += 1
        self._watch = self._loop.call_later(_TURNED_AWAY, self._let_go, server, transport)

    def _let_go(self, server: Server, transport: asyncio.Transport) -> None:
        server.turned_away -= 1
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has left, or was told to."""
        if self._watch is not None and self._task_handler is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def watch(self, after: float | None = None) -> None:
        """Look after so many seconds whether what the connection waits for has come, if no look is due."""
        if self._watch is None:
            seconds = min(self._bounds.head_time, self._bounds.body_pause) if after is None else after
            self._watch = self._loop.call_later(seconds, self._look)
            self.is_watched = True

    def _look(self) -> None:
        self._watch = None
        self.is_watched = False
        parser = cast(RequestParser | None, self._parser)
        if parser is None or self._force_close or self._close:
            return
        if parser.body is None and not self.is_idle:  # the client waits for us
            self.watch()
            return
        if self._reading_paused or self._buffer_paused:  # it is we who do not read
            parser.moved = self._loop.time()
        patience = self._bounds.head_time if parser.body is None else self._bounds.body_pause
        left = parser.moved + patience - self._loop.time()
        if left > 0:
            self.watch(left)
        elif parser.body is not None:
            self.end_body(RequestBodyTimeout(), TimeoutError())
        elif parser.is_begun():
            self._refuse(HeaderBlockTimeout())

    def end_body(self, error: RequestPayloadError, cause: BaseException) -> None:
        """Tell whoever reads a body that no more of it comes, and read no further requests.

        aiohttp tells nobody where the framing breaks within a body.
        """
        body = cast(RequestParser, self._parser).body
        if body is not None:
            break_off(body, error, cause)
            self._close = True

    def _refuse(self, error: HttpProcessingError) -> None:
        """Answer what has not come, after what has, and read no more."""
        self._messages.append((_ErrInfo(error.code, error, error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._close = True

    def _process_keepalive(self) -> None:
        """Close an idle connection; one on which a header block is under way is told why it is closed."""
        parser = cast(RequestParser | None, self._parser)
        if parser is not None and parser.unread:
            self._keepalive_handle = None
        else:
            super()._process_keepalive()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read, which aiohttp would give in plain text; then it closes."""
        if isinstance(exc, ConnectionError):  # it has left, which is no error of ours, nor worth a word
            raise exc
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        response = self._refusal(status, exc)
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's server, with connections of ours."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        bounds: Bounds,
        refusal: Refusal,
        busy: bytes,
        **options: Any,
    ) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self._most = bounds.connections
        self._options = {"bounds": bounds, "refusal": refusal, **options}
        #: What a connection gets that is one too many, and how many are getting it.
        self.busy = busy
        self.turned_away = 0

    def __call__(self) -> web.RequestHandler:
        return ServerConnection(self, loop=self._loop, **self._options)

    def has_room(self) -> bool:
        """Is there room for one more connection? If need be, the oldest idle one goes."""
        if len(self._connections) < self._most:
            return True
        idle = next((each for each in self._connections if cast(ServerConnection, each).is_idle), None)
        if idle is None:
            return False
        idle.force_close()
        return True

    async def linger(self, seconds: float, until: float) -> None:
        """Let clients leave by themselves, until none is left, or until this moment of the loop's clock.

        Whoever is answered from now on is told that it was the last on this connection, so that the client
        sends its next request elsewhere. An answer whose head has gone cannot say that; the request that
        follows it is answered. A connection without one is closed after so many seconds.
        """
        clock = self._loop.time
        told = clock()
        self.request_factory = self.last_request
        for each in self._connections:
            cast(ServerConnection, each).answer_last()
        while self._connections and (now := clock()) < until:
            if now >= told + seconds:
                for each in list(self._connections):
                    if cast(ServerConnection, each).is_idle_since(now - seconds):
                        each.force_close()
            await asyncio.sleep(_LOOK_INTERVAL)

    def let_go(self) -> None:
        """Close each connection once it is answered; at once where nothing is asked: aiohttp leaves those
        open until all others are done, and looks at nothing that comes on them."""
        for each in list(self._connections):
            end = each.force_close if cast(ServerConnection, each).is_idle else each.close
            end()

    def last_request(self, message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
        """A request that is the last on its connection."""
        return self._request(message._replace(should_close=True), *rest)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """A request. After one that wants another protocol, or has an odd framing, the connection ends.

        What follows it may be meant for that protocol, or be a part of it to others on the way, and is never
        read as a request.
        """
        headers = message.headers
        if (
            message.version is HttpVersion11
            and not message.upgrade
            and "Upgrade" not in headers
            and "Transfer-Encoding" not in headers
            and "Expect" not in headers
        ):
            return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        if message.upgrade or "Upgrade" in headers or not _is_chunked(message):
            message = message._replace(should_close=True)
            if message.method == "CONNECT":  # aiohttp waits for a body that would last as long as the tunnel
                payload.feed_eof()
        return SpecialRequest(message, payload, protocol, writer, task, self._loop)


class SpecialRequest(web.BaseRequest):
    """A request with something in it that is to be looked at before it is answered; most have nothing."""


def _is_chunked(message: RawRequestMessage) -> bool:
    """Is its body only chunked, as everybody reads it, if it says anything of the kind?"""
    coding = message.headers.get("Transfer-Encoding")
    return coding is None or (message.version >= HttpVersion11 and coding.lower() == "chunked")
