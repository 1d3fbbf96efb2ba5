"""A response of the upstream, of which the first bytes may have been read already.

Rule: whoever reads it gets every byte once, in order, also those that were peeked at to see what it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["STREAM_ERRORS", "HeldResponse", "OwnResponse", "UpstreamResponse"]

#: What reading from an upstream raises that breaks off or falls silent; a `RuntimeError` where it did so just
#: as the reader was about to wait.
STREAM_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, RuntimeError)


class UpstreamResponse:
    """Status, headers and the body, piece by piece. `head` is what was read ahead."""

    __slots__ = ("_response", "content_type", "head")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.content_type = response.content_type
        self.head = b""

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str | None:
        return self._response.reason

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._response.headers

    @property
    def is_unframed(self) -> bool:
        """Does its body end where the connection does (RFC 9112, 6.3), so that it may be a part?"""
        return "Transfer-Encoding" not in self.headers and "Content-Length" not in self.headers

    @property
    def is_over(self) -> bool:
        """Has all of it come, and been read?"""
        return not self.head and self._response.content.at_eof()

    @property
    def received(self) -> int:
        """Bytes of its body that have come, unpacked if the connection packs them."""
        return self._response.content.total_bytes

    def peek_nowait(self) -> None:
        """Read ahead what is there without waiting."""
        content = self._response.content
        if content.exception() is None:  # else whoever waits for it comes upon that
            self.head += content.read_nowait()

    async def peek(self) -> bytes:
        """The next piece, which `readany` will give all the same; nothing at the end."""
        piece = await self._response.content.readany()
        self.head += piece
        return piece

    def readany(self) -> Awaitable[bytes]:
        """The next piece; nothing at the end. To be awaited; raises one of `STREAM_ERRORS` if it broke."""
        if self.head:
            return self._head()
        return self._response.content.readany()

    async def _head(self) -> bytes:
        head, self.head = self.head, b""
        return head

    def close(self) -> None:
        """Let go of the connection; the upstream stops if it has not ended."""
        self._response.close()


class HeldResponse(UpstreamResponse):
    """One that says when it has ended, for whoever counts those that are under way."""

    __slots__ = ("_ended",)

    def __init__(self, answer: UpstreamResponse, ended: Callable[[], None]) -> None:
        self._response, self.content_type, self.head = answer._response, answer.content_type, answer.head
        self._ended = ended

    def close(self) -> None:
        super().close()
        self._ended()

    def __del__(self) -> None:
        self._ended()  # a client that leaves between two steps may leave nobody to close it


class OwnResponse(UpstreamResponse):
    """One that no upstream gave: an error of ours (JSON) in place of an answer."""

    __slots__ = ("_headers", "_status")

    def __init__(self, status: int, body: bytes) -> None:
        self._status, self.head = status, body
        self.content_type = "application/json"
        self._headers = CIMultiDictProxy(CIMultiDict({"Content-Type": self.content_type}))

    @property
    def status(self) -> int:
        return self._status

    @property
    def reason(self) -> None:
        return None

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._headers

    @property
    def is_over(self) -> bool:
        return not self.head

    @property
    def received(self) -> int:
        return 0

    def readany(self) -> Awaitable[bytes]:
        return self._head()

    def close(self) -> None:
        """There is nothing to let go of."""
