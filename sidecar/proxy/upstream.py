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
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sidecar.aiohttp_internals import Connector
from sidecar.errors import BadRequest, SidecarError, UpstreamTimeout, UpstreamUnreachable
from sidecar.metrics import Metrics
from sidecar.settings import Settings

__all__ = ["Upstream"]

# Many servers drop idle connections after 5 s (uvicorn, Node, cpp-httplib); be gone before them.
_KEEP_ALIVE = 4.0
# No model answers so soon, and no engine has done work worth having twice.
_STALE_WITHIN = 0.25
_LARGE = 1 << 20  # bytes


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
                raise BadRequest(f"the target {path} is no path", code="invalid_target")
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
            try:
                return await self.session.request(
                    method,
                    url,
                    data=_payload(body),
                    headers=headers,
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorError as error:
                failure: SidecarError = UpstreamUnreachable(f"cannot connect to the upstream: {error}")
                failure.__cause__ = error
            except (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError, TimeoutError) as error:
                raise UpstreamTimeout(f"the upstream did not answer in time: {_said(error)}") from error
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                failure = UpstreamUnreachable(f"the upstream closed the connection: {_said(error)}")
                failure.__cause__ = error
                if callable(body) or time.monotonic() - started > _STALE_WITHIN:
                    raise failure from error
            except (aiohttp.ClientError, ValueError) as error:
                raise UpstreamUnreachable(f"the upstream is no HTTP server: {_said(error)}") from error
            if attempt < self._retries.attempts:
                self._metrics.upstream_retries.inc()
                await asyncio.sleep(self._retries.backoff * 2 ** (attempt - 1))
        raise failure


class _Upload:
    """A client's body on its way. aiohttp sends a PUT again when a kept connection breaks: not half of it."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise aiohttp.ServerDisconnectedError("it had a part of the body already")
        return self

    async def __anext__(self) -> bytes:
        self._begun = True
        return await anext(self._pieces)


def _payload(body: bytes | Callable[[], AsyncIterator[bytes]] | None) -> Any:
    """A large body goes piece by piece, else one client's images would hold up everybody's streams."""
    if isinstance(body, bytes):
        return io.BytesIO(body) if len(body) > _LARGE else body
    return _Upload(body()) if body is not None else None


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
