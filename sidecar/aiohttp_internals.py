"""Everything that stands on names which aiohttp keeps to itself: one place to look at when aiohttp changes.

Each override says why it is there; `tests/test_aiohttp_internals.py` shows that the name still exists and
that ours is called. No other module may use a private name of a library.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpParser

__all__ = ["Connector"]


class ClientConnection(ResponseHandler):
    """aiohttp's end of a connection to a server."""

    _due = 0.0

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
