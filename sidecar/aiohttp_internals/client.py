"""Connections to upstreams: timeouts that cost nothing, framing that breaks, bytes that nobody asked for."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import os
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_ws import ClientWSTimeout
from aiohttp.helpers import DEFAULT_CHUNK_SIZE
from aiohttp.http import WS_KEY, WebSocketReader, WebSocketWriter
from aiohttp.http_parser import HttpParser
from multidict import CIMultiDict
from yarl import URL

from sidecar.aiohttp_internals.bodies import break_off

__all__ = ["WAS_KEPT", "ClientConnection", "Connector", "TellingConnector", "websocket"]


class ClientConnection(ResponseHandler):
    """aiohttp's end of a connection to a server."""

    _due = 0.0

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """The connection failed. Tells whoever reads the body as well.

        aiohttp tells only whoever waits for the next answer: where the framing of a body breaks, its reader
        would wait for ever.
        """
        super().set_exception(exc, *cause)
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            break_off(payload, aiohttp.ClientPayloadError("the framing of the body is broken"), exc)

    def set_response_params(self, *, skip_payload: bool = False, **options: Any) -> None:
        """Called for each request. An answer without a body gets a parser that knows so."""
        super().set_response_params(skip_payload=skip_payload, **options)
        if skip_payload and self._parser is not None:
            self._parser = cast("HttpParser[Any]", _HeadAlone(self._parser))
            self.force_close()  # a body that comes late would be read as the next answer

    def _reschedule_timeout(self) -> None:
        """Start the read timeout anew, without a new timer for each piece.

        aiohttp's own takes a twentieth of what it costs to pass a piece on. Here only the time is noted,
        and the timer, when it goes off, is set for what is left.
        """
        if not self._read_timeout:
            self._drop_timeout()
            return
        self._due = self._loop.time() + self._read_timeout
        if self._read_timeout_handle is None:
            self._read_timeout_handle = self._loop.call_at(self._due, self._on_read_timeout)

    def _on_read_timeout(self) -> None:
        self._read_timeout_handle = None
        if self._loop.time() < self._due:
            self._read_timeout_handle = self._loop.call_at(self._due, self._on_read_timeout)
        else:
            super()._on_read_timeout()


class _HeadAlone:
    """Reads the header block of an answer to HEAD and drops what follows it.

    Some servers send the body all the same. aiohttp would read it as a second answer, find it malformed, and
    fail the request whose answer it had already.
    """

    _END = b"\r\n\r\n"

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._last = b""  # may be the beginning of the end of the header block
        self._is_read = False

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        """As that of aiohttp's parser."""
        messages: list[Any] = []
        while data and not self._is_read:
            end = (self._last + data).find(self._END)
            cut = len(data) if end < 0 else end + len(self._END) - len(self._last)
            self._last = b"" if end >= 0 else (self._last + data)[-3:]
            head, data = data[:cut], data[cut:]
            read, _, _ = self._parser.feed_data(head)
            messages += read
            self._is_read = any(message.code >= 200 for message, _ in read)
        return messages, False, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _connection(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return ClientConnection(loop)


class Connector(aiohttp.TCPConnector):
    """Kept connections, but none on which the upstream said something that nobody had asked for.

    That would be read as the answer to the next request, which may be another tenant's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(_connection, loop=self._loop)

    async def _get(self, key: Any, traces: Any) -> Any:
        # aiohttp itself looks only when a request ends.
        while (kept := await super()._get(key, traces)) is not None:
            assert kept.protocol is not None  # it is until the connection is given back
            if not kept.protocol.should_close:
                return kept
            kept.close()
        return None


#: Was the last connection of this task a kept one, which may go stale? Said by `TellingConnector` alone.
WAS_KEPT: ContextVar[bool] = ContextVar("WAS_KEPT", default=False)


class TellingConnector(Connector):
    """One that says whether a request went over a kept connection."""

    async def _get(self, key: Any, traces: Any) -> Any:
        kept = await super()._get(key, traces)
        WAS_KEPT.set(kept is not None)
        return kept


async def websocket(
    session: aiohttp.ClientSession,
    url: URL,
    headers: CIMultiDict[str],
    protocols: Sequence[str],
    largest: int,
    **options: Any,
) -> aiohttp.ClientResponse | aiohttp.ClientWebSocketResponse:
    """Open a WebSocket; where the server does not agree, gives its answer as it came.

    `ClientSession.ws_connect` follows redirects, to any host and with the credentials, and cannot be told
    not to. Messages above `largest` bytes end the connection (1009); none is compressed.
    `options` are for `ClientSession.request`, and what that raises is raised.
    """
    key = base64.b64encode(os.urandom(16))
    headers = headers.copy()
    headers.update(
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key.decode(),
        }
    )
    if protocols:
        headers["Sec-WebSocket-Protocol"] = ",".join(protocols)
    response = await session.request("GET", url, headers=headers, allow_redirects=False, **options)
    if response.status != 101:
        return response
    connection = response.connection
    accepted = base64.b64encode(hashlib.sha1(key + WS_KEY, usedforsecurity=False).digest()).decode()
    if connection is None or response.headers.get("Sec-WebSocket-Accept") != accepted:
        response.close()
        raise aiohttp.ClientPayloadError("this is no WebSocket")
    protocol, transport = connection.protocol, connection.transport
    assert protocol is not None
    assert transport is not None
    protocol.read_timeout = None  # they may be silent for as long as they like
    chosen = response.headers.get("Sec-WebSocket-Protocol")
    queue = WebSocketDataQueue(protocol, DEFAULT_CHUNK_SIZE, loop=asyncio.get_running_loop())
    made: aiohttp.ClientWebSocketResponse = aiohttp.ClientWebSocketResponse(
        queue,
        WebSocketWriter(protocol, transport, use_mask=True),
        chosen if chosen in protocols else None,
        response,
        ClientWSTimeout(),
        False,
        False,
        asyncio.get_running_loop(),
    )
    protocol.set_parser(WebSocketReader(queue, largest, compress=False, decode_text=True), queue)
    return made
