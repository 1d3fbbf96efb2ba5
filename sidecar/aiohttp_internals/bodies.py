"""Bodies: large ones are sent in slices; whoever reads one that ends early is told, at whatever moment."""

from __future__ import annotations

import asyncio

from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import set_exception
from aiohttp.payload import Payload
from aiohttp.streams import StreamReader

__all__ = ["SlicedBody", "break_off"]

_SLICE = 128 << 10  # bytes


class SlicedBody(Payload):
    """A body to be sent in slices, between which others are served.

    aiohttp does so for an `io.BytesIO`, and copies all of it at once to know its size.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = self._length = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """As text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send as much as is declared."""
        end = self._length if content_length is None else min(content_length, self._length)
        for begin in range(0, end, _SLICE):
            await writer.write(self._value[begin : min(begin + _SLICE, end)])
            await asyncio.sleep(0)


def break_off(body: StreamReader, error: Exception, cause: BaseException) -> None:
    """Have the reader of a body get `error`.

    A reader that was woken just before, by the end of a chunk, does not look for an error before it waits
    again. So it is set a second time, behind that reader's turn; and only then does the body count as read.
    """
    set_exception(body, error, cause)
    asyncio.get_running_loop().call_soon(_again, body, error, cause)


def _again(body: StreamReader, error: Exception, cause: BaseException) -> None:
    set_exception(body, error, cause)
    body.feed_eof()
