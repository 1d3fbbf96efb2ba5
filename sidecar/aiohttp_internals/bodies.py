"""Bodies that end early: whoever reads one is told, at whatever moment."""

from __future__ import annotations

import asyncio

from aiohttp.helpers import set_exception
from aiohttp.streams import StreamReader

__all__ = ["break_off"]


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
