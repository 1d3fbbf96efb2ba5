"""A request that came inside of another connection's talk, or is answered whether its client stays or not, in
the form in which those over HTTP come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = ["InnerWriter", "content_of", "detached_request", "inner_request"]


def inner_request(
    outer: web.BaseRequest,
    headers: CIMultiDict[str],
    body: bytes,
    writer: AbstractStreamWriter,
    path: str | None = None,
    *,
    method: str = "POST",
) -> web.BaseRequest:
    """A request to this path, or the same one, with these headers, whose answer goes to `writer`. Its
    connection is the outer one: whoever breaks it off ends both. What is known of who asks goes with it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    headers["Content-Length"] = str(len(body))
    path = path or outer.raw_path
    message = outer._message._replace(
        method=method,
        path=path,
        url=URL(path, encoded=True),
        headers=CIMultiDictProxy(headers),
        raw_headers=(),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
    )
    state = outer._state.copy()
    return web.BaseRequest(message, content_of(body), outer._protocol, writer, task, loop, state=state)


def content_of(body: bytes) -> StreamReader:
    """A body that has come, to be read. As large as it is: the one who sent it is not told to pause."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), len(body) + 1, loop=loop)
    content.feed_data(body)
    content.feed_eof()
    return content


def detached_request(
    outer: web.BaseRequest, headers: CIMultiDict[str], body: bytes, writer: AbstractStreamWriter
) -> web.BaseRequest:
    """As `inner_request`, but of no connection: whatever becomes of the outer one, it goes on. It is answered
    by the task that makes it."""
    request = inner_request(outer, headers, body, writer)
    # Of a connection it knows whence it came, and nobody closes one that another request came by.
    request._protocol = cast(Any, _NoConnection())
    return request


class _NoConnection:
    transport = None


class InnerWriter(AbstractStreamWriter):
    """Takes an answer in place of a connection: its status and headers, and then its pieces."""

    def __init__(self, tell: Callable[[int, bytes], Awaitable[None]]) -> None:
        """`tell` is told each piece of the body, with the status."""
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self._tell = tell

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """The head."""
        self.status, self.headers = int(status_line.split(" ", 2)[1]), headers

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """A piece."""
        if chunk:
            self.output_size += len(chunk)
            await self._tell(self.status, bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None:
        """The last piece."""
        await self.write(chunk)

    async def drain(self) -> None:
        """Nothing waits."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """It is not compressed."""

    def enable_chunking(self) -> None:
        """It has an end of its own."""
