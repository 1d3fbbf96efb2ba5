"""The connection to the backend: where a path leads, how often it is tried, what its failures are called.

The upstream is given as an OpenAI base URL. The client's `/v1/REST` goes to base + `/REST`, any other
path to the same path at the upstream's origin. Paths are passed on as they are spelled.

Only a request that the upstream cannot have begun to work on is tried again: the connection was
refused, or was closed without a byte so soon after sending that it was a kept connection going stale
or a server on its way up.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sidecar.aiohttp_internals.client import Connector, websocket
from sidecar.errors import BadRequest, SidecarError
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.upstream.failures import failure_of

__all__ = ["Upstream"]

# Many servers drop idle connections after 5 s (uvicorn, Node, cpp-httplib); be gone before them.
_KEEP_ALIVE = 4.0
# No model answers so soon, and no engine has done work worth having twice.
_STALE_WITHIN = 0.25
_LARGE = 1 << 20  # bytes
# Of an answer: bytes of one header, and how many there may be.
_HEADER, _HEADERS = 1 << 16, 512


class Upstream:
    """An HTTP client for one backend. Needs a running loop; `close` it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        base = settings.upstream_base
        self.origin = base.origin()
        self._origin = str(self.origin)
        self._base = self._origin + base.raw_path.rstrip("/")
        self._retries = settings.retries
        self._metrics = metrics
        timeouts = settings.timeouts
        self.session = aiohttp.ClientSession(
            connector=Connector(limit=0, keepalive_timeout=_KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=timeouts.connect, connect=None, sock_read=timeouts.idle
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            # Cookies of login proxies get that long, and lists of what a page may load; curl takes 100 kB.
            max_line_size=_HEADER,
            max_field_size=_HEADER,
            max_headers=_HEADERS,
        )

    async def close(self) -> None:
        """Drop all connections."""
        await self.session.close()

    def url(self, path: str) -> URL:
        """Where a client's path (as spelled, with its query) leads: always to this upstream.

        Raises `BadRequest` for what is none, as in `OPTIONS *` and `CONNECT host:port`.
        """
        if not path.startswith("/"):
            target = URL(path, encoded=True)
            if not target.absolute:
                raise BadRequest("the target of the request is no path", code="invalid_target")
            path = target.raw_path_qs  # a client that takes us for its proxy names a host as well
        if path.startswith("/v1") and path[3:4] in ("", "/", "?"):
            return URL(self._base + path[3:], encoded=True)
        return URL(self._origin + path, encoded=True)

    async def send(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | Callable[[], AsyncIterator[bytes]] | None,
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the headers of its answer.

        `body` is bytes, or a function that gives a stream, which is read once. Raises
        `UpstreamUnreachable` after the last try, `UpstreamTimeout` if the upstream stays silent.
        """
        for attempt in range(1, self._retries.attempts + 1):
            started = time.monotonic()
            payload = _payload(body)
            try:
                response = await self.session.request(
                    method,
                    url,
                    data=payload,
                    headers=headers,
                    allow_redirects=False,
                )
            except FAILURES as error:
                if isinstance(payload, _Upload) and payload.failed is not None:
                    raise payload.failed from error
                failure = self._failure(error)
                is_late = callable(body) or time.monotonic() - started > _STALE_WITHIN
                if not _may_try_again(error, is_late=is_late):
                    raise failure from error
            else:
                if response.status == 101:
                    response.close()
                    raise self._failure(ValueError("another protocol, which nobody had asked for"))
                return response
            if attempt < self._retries.attempts:
                self._metrics.upstream_retries.inc()
                await asyncio.sleep(self._retries.backoff * 2 ** (attempt - 1))
        raise failure

    async def websocket(
        self, url: URL, headers: CIMultiDict[str], protocols: Sequence[str], largest: int
    ) -> aiohttp.ClientResponse | aiohttp.ClientWebSocketResponse:
        """Open a WebSocket whose messages have at most `largest` bytes, or give the answer that refuses it.

        Raises as `send`.
        """
        try:
            return await websocket(self.session, url, headers, protocols, largest)
        except FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> SidecarError:
        failure = failure_of(error)
        failure.logged = {"upstream": self._origin}
        return failure


#: What the HTTP client raises where there is no answer.
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


def _may_try_again(error: BaseException, *, is_late: bool) -> bool:
    """Can the upstream not have begun to work on it?"""
    if isinstance(error, TimeoutError):
        return False
    if isinstance(error, aiohttp.ClientConnectorError):
        return True
    return not is_late and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)


class _Upload:
    """A client's body on its way. aiohttp sends a PUT again when a kept connection breaks: not half of it."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._begun = False
        #: Why the client's body ended early; the HTTP client would call that a failure of the upstream's.
        self.failed: Exception | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise aiohttp.ServerDisconnectedError("it had a part of the body already")
        return self

    async def __anext__(self) -> bytes:
        self._begun = True
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:  # whatever it is: it is about the client, and raised again where it counts
            self.failed = error
            raise


def _payload(body: bytes | Callable[[], AsyncIterator[bytes]] | None) -> Any:
    """A large body goes piece by piece, else one client's images would hold up everybody's streams."""
    if isinstance(body, bytes):
        return io.BytesIO(body) if len(body) > _LARGE else body
    return _Upload(body()) if body is not None else None
