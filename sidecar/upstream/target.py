"""A target: one backend, through which every request to it leaves. It alone knows URL, credentials, session.

It is given as an OpenAI base URL. A client's `/v1/REST` goes to base + `/REST`, any other path to the same
path at its origin. Paths are passed on as they are spelled.

Only a request that the upstream cannot have begun to work on is tried again: the connection was
refused, or was closed without a byte so soon after sending that it was a kept connection going stale
or a server on its way up. The environment's proxies are not asked: what is not in the settings is not used.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.aiohttp_internals.bodies import SlicedBody
from sidecar.aiohttp_internals.client import WAS_KEPT, Connector, TellingConnector, websocket
from sidecar.errors import BadRequest, SidecarError
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.upstream.addresses import OneAddress
from sidecar.upstream.credentials import CredentialPolicy
from sidecar.upstream.failures import ProxyRefused, cure_of, failure_of, is_about_tls
from sidecar.upstream.response import UpstreamResponse
from sidecar.upstream.session_header import SessionHeader, header_of_answer

__all__ = ["Address", "Fetched", "Target", "WebSocket", "proxy_credential"]

# Many servers drop idle connections after 5 s (uvicorn, Node, cpp-httplib); be gone before them.
_KEEP_ALIVE_TIMEOUT = 4.0
# No model answers so soon, and no engine has done work worth having twice.
_STALE_WITHIN = 0.25
_LARGE_BODY = 1 << 20  # bytes
# Of an answer: bytes of one header, and how many there may be.
_MAX_HEADER_SIZE, _MAX_HEADERS = 1 << 16, 512

_NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())

WebSocket = aiohttp.ClientWebSocketResponse
_Body = bytes | Callable[[], AsyncIterator[bytes]] | None


class Address(NamedTuple):
    """Where a target is, and how it is reached."""

    base: URL
    proxy: str
    """Its URL, with its credentials if it wants any; empty for none."""
    tls: ssl.SSLContext | None
    """None for the usual one."""
    takes_paths: bool
    """Do clients' paths mean something there, or only those of the API?"""
    only_at: str = ""
    """The one of its name's addresses that is meant; empty for any."""


class Fetched(NamedTuple):
    """A small answer that was read whole, or up to a limit."""

    status: int
    body: bytes
    is_cut: bool
    headers: CIMultiDictProxy[str] = _NO_HEADERS


class Target:
    """An HTTP client for one backend. Needs a running loop; `close` it."""

    def __init__(
        self,
        name: str,
        address: Address,
        policy: CredentialPolicy,
        settings: Settings,
        metrics: Metrics,
        session_header: SessionHeader | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._session_header = session_header
        self._origin = str(address.base.origin())
        self._base = self._origin + address.base.raw_path.rstrip("/")
        #: By what it is told from others; empty for one of several addresses of a name, which come and go.
        self.where = "" if address.only_at else self._base
        self._takes_paths = address.takes_paths
        self._is_proxied = bool(address.proxy)
        self._policy = policy
        self._as_it_came = policy.changes_nothing
        self._attempts = settings.retries.attempts
        self._backoff = settings.retries.backoff
        self._metrics = metrics
        self._session = _session(address, settings)
        self._options = _proxy_options(address)

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    @property
    def takes(self) -> frozenset[str]:
        """The credential headers of clients (lower case) that go there."""
        return self._policy.travelling

    def url(self, path: str) -> URL:
        """Where a client's path (as spelled, with its query) leads: always to this target.

        Raises `BadRequest` for what is none, as in `OPTIONS *` and `CONNECT host:port`.
        """
        if not path.startswith("/"):
            target = URL(path, encoded=True)
            if not target.absolute:
                raise BadRequest("the target of the request is not a path", code="invalid_target")
            path = target.raw_path_qs  # a client that takes us for its proxy names a host as well
        if path.startswith("/v1") and path[3:4] in ("", "/", "?"):
            return URL(self._base + path[3:], encoded=True)
        return URL(self._origin + path, encoded=True)

    def learn(self, models: Fetched) -> None:
        """Its list of models came: know by it in which header it takes a session, if nobody has said so."""
        if self._session_header is None and models.status == 200 and not models.is_cut:
            self._session_header = header_of_answer(self._settings, models.headers, models.body)

    def chat_path(self, path: str) -> str:
        """The path at which it completes chats: the client's, which may be one of its own (Azure's)."""
        return path if self._takes_paths else "/v1/chat/completions"

    async def send(
        self,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: _Body = None,
        *,
        attempts: int | None = None,
        session: str | None = None,
        elsewhere: bool = False,
    ) -> UpstreamResponse:
        """Send a request and wait for the headers of its answer.

        `path` is a client's. `body` is bytes, or a function that gives a stream, which is read once.
        `session`: the id of the chat that it is a turn of. With `elsewhere` there is another target for it,
        so that nobody waits for this one to be connected to. Raises `UpstreamUnreachable` after the last try,
        `UpstreamTimeout` if the upstream stays silent, `BadRequest` as `url` does.
        """
        return UpstreamResponse(
            await self._sent(
                method, path, headers, body, attempts or self._attempts, session, elsewhere=elsewhere
            )
        )

    async def fetch(
        self,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: bytes | None = None,
        *,
        timeout: float,
        limit: int,
        attempts: int | None = None,
    ) -> Fetched:
        """Read an answer up to `limit` bytes, within `timeout` seconds in all. Raises as `send`."""
        try:
            async with asyncio.timeout(timeout):
                response = await self._sent(method, path, headers, body, attempts or self._attempts)
                try:
                    return Fetched(response.status, *await _read(response, limit), response.headers)
                finally:
                    response.close()
        except (*FAILURES, RuntimeError) as error:
            raise self._failure(error) from error

    async def _sent(
        self,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: _Body,
        attempts: int,
        session: str | None = None,
        *,
        elsewhere: bool = False,
    ) -> aiohttp.ClientResponse:
        url = self.url(path)
        if self._session_header is not None:
            headers = self._session_header.applied(method, headers, session)
        if not self._as_it_came:
            headers = self._policy.applied(headers, path)
        may_have_begun = False
        for attempt in range(1, attempts + 1):
            started = time.monotonic()
            payload = _payload(body)
            try:
                response = await self._session.request(
                    method,
                    url,
                    data=payload,
                    headers=headers,
                    allow_redirects=False,
                    **self._options,
                )
            except FAILURES as error:
                if isinstance(payload, _Upload) and payload.failed is not None:
                    raise payload.failed from error
                failure = self._failure(error)
                # A new connection that breaks may have brought down who began: nobody else gets that.
                may_have_begun = may_have_begun or not (failure.nothing_sent or WAS_KEPT.get())
                failure.nothing_sent = failure.nothing_sent and not may_have_begun
                is_late = callable(body) or time.monotonic() - started > _STALE_WITHIN
                if not _may_try_again(error, is_late=is_late) or (elsewhere and failure.nothing_sent):
                    raise failure from error
            else:
                if response.status == 101 or (response.status == 407 and self._is_proxied):
                    response.close()
                    raise self._failure(_unasked(response.status))
                return response
            if attempt < attempts:
                self._metrics.upstream_retries.inc()
                await asyncio.sleep(self._backoff * 2 ** (attempt - 1))
        raise failure

    async def websocket(
        self, path: str, headers: CIMultiDict[str], protocols: Sequence[str], largest: int
    ) -> UpstreamResponse | WebSocket:
        """Open a WebSocket whose messages have at most `largest` bytes, or give the answer that refuses it.

        Raises as `send`.
        """
        url = self.url(path)
        headers = self._policy.applied(headers, path)
        try:
            opened = await websocket(self._session, url, headers, protocols, largest, **self._options)
        except FAILURES as error:
            raise self._failure(error) from error
        if isinstance(opened, WebSocket):
            return opened
        if opened.status == 407 and self._is_proxied:
            opened.close()
            raise self._failure(_unasked(407))
        return UpstreamResponse(opened)

    def _failure(self, error: BaseException) -> SidecarError:
        failure = failure_of(error)
        failure.logged = {"upstream": self._origin, "target": self.name}
        failure.nothing_sent = isinstance(error, _NO_CONNECTION) and not is_about_tls(error)
        if cure := cure_of(error, self.name, is_tls=self._origin.startswith("https:")):
            failure.logged["cure"] = cure
        return failure


def _session(address: Address, settings: Settings) -> aiohttp.ClientSession:
    timeouts = settings.timeouts
    proxy = URL(address.proxy) if address.proxy else None
    only = {"resolver": OneAddress(address.only_at)} if address.only_at else {}
    return aiohttp.ClientSession(
        connector=(TellingConnector if settings.targets else Connector)(
            limit=0, keepalive_timeout=_KEEP_ALIVE_TIMEOUT, ssl=address.tls or True, **only
        ),
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=timeouts.connect,
            # A proxy that takes the connection may leave it at that: its answer to CONNECT counts as well.
            connect=timeouts.connect if proxy is not None else None,
            sock_read=timeouts.idle,
        ),
        proxy=proxy.with_user(None) if proxy is not None else None,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        # Cookies of login proxies get that long, and lists of what a page may load; curl takes 100 kB.
        max_line_size=_MAX_HEADER_SIZE,
        max_field_size=_MAX_HEADER_SIZE,
        max_headers=_MAX_HEADERS,
    )


def proxy_credential(proxy: str) -> dict[str, str]:
    """The header that says who asks the proxy (RFC 9110, 11.7.2; RFC 7617); none where its URL does not."""
    url = URL(proxy)
    if url.user is None and url.password is None:
        return {}
    pair = f"{url.user or ''}:{url.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _proxy_options(address: Address) -> dict[str, Any]:
    """For each request: what the proxy alone is told when it is asked for a tunnel."""
    headers = proxy_credential(address.proxy) if address.base.scheme == "https" else {}
    return {"proxy_headers": headers} if headers else {}


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The body, and whether it has more than `limit` bytes, of which the first are given."""
    data = b""
    while len(data) <= limit and (piece := await response.content.readany()):
        data += piece
    return data[:limit], len(data) > limit


def _unasked(status: int) -> Exception:
    if status == 407:
        return ProxyRefused()
    return ValueError("another protocol, which nobody had asked for")


#: What the HTTP client raises where there is no answer.
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
# And where there was no connection on which anything could have been sent.
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def _may_try_again(error: BaseException, *, is_late: bool) -> bool:
    """Can the upstream not have begun to work on it?"""
    if isinstance(error, TimeoutError) or is_about_tls(error):
        return False  # or no other try would end otherwise
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


def _payload(body: _Body) -> Any:
    """A large body goes piece by piece, else one client's images would hold up everybody's streams."""
    if isinstance(body, bytes):
        return SlicedBody(body) if len(body) > _LARGE_BODY else body
    return _Upload(body()) if body is not None else None
