"""The HTTP server: each request goes straight to one handler, and what is none is answered in OpenAI's shape.

There are few paths and no middlewares, so this stands on aiohttp's low-level server: its application looks
for routes, signals and middlewares with each request, which would have to pay for that.

Rule: where two readers of a request could differ on where it ends, it is refused, and the connection closed
(RFC 9112, 6.1 and 11.2). aiohttp refuses most of what is ambiguous; the rest is here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from aiohttp import HttpVersion10, HttpVersion11, web

from sidecar.aiohttp_internals.server import (
    MAX_HEADERS,
    Bounds,
    HeaderBlockTimeout,
    HeaderBlockTooLarge,
    RequestBodyTimeout,
    Server,
)
from sidecar.errors import (
    BadRequest,
    ExpectationFailed,
    HeadersTooLarge,
    RequestTimeout,
    SidecarError,
    TooManyConnections,
)
from sidecar.proxy.websocket import wants_websocket
from sidecar.settings import Settings

__all__ = ["NO_HEADERS", "Handler", "admit", "body_failed", "runner"]

log = logging.getLogger("sidecar")

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_IDLE_CLOSE_TIMEOUT = 0.5  # seconds for connections that stay open with nothing under way


def runner(handler: Handler, settings: Settings, always: Mapping[str, str] = NO_HEADERS) -> web.ServerRunner:
    """A server that answers with `handler`. `always`: headers of what is answered without it."""
    limits, timeouts = settings.limits, settings.timeouts
    bounds = Bounds(
        header_block=limits.header_block,
        head_time=timeouts.request_head,
        body_pause=timeouts.request_body,
        idle=timeouts.keep_alive,
        connections=limits.connections,
    )
    full = TooManyConnections(f"more than `limits.connections` = {limits.connections} connections are open")
    server = Server(
        handler,
        bounds=bounds,
        refusal=lambda status, error: _refusal(settings, error, always),
        busy=_raw(full, always),
        access_log=None,
    )
    return web.ServerRunner(server, shutdown_timeout=_IDLE_CLOSE_TIMEOUT)


async def admit(request: web.BaseRequest) -> None:
    """See that a request can be read in one way only, and let a client that waits for it send its body.

    Raises `BadRequest`, `ExpectationFailed`.
    """
    headers = request.headers
    if "Transfer-Encoding" in headers and (
        request.version < HttpVersion11 or headers["Transfer-Encoding"].strip().lower() != "chunked"
    ):
        # With another coding, or in HTTP/1.0, others on the way may see another end (RFC 9112, 6.1).
        raise _unclear("`Transfer-Encoding` may be `chunked` alone, in HTTP/1.1")
    if "Upgrade" in headers and request.body_exists and wants_websocket(request):
        # Whoever takes it for a WebSocket takes the body for its first bytes, or for another request.
        raise _unclear("a request for a WebSocket has no body")
    if request.version < HttpVersion10:
        raise _unclear("this is no HTTP/1.0 or newer")
    if request.method == "CONNECT":
        raise _unclear("this is no proxy for other protocols")
    expected = headers.get("Expect")
    if expected and request.version >= HttpVersion11:
        if expected.lower() != "100-continue":
            raise ExpectationFailed("only 100-continue can be expected here", param="Expect")
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


def body_failed(error: Exception, settings: Settings) -> SidecarError:
    """The error for a request whose body did not arrive as it should."""
    failure: SidecarError = BadRequest("the framing of the body is broken", code="invalid_http")
    if isinstance(error, RequestBodyTimeout):
        patience = settings.timeouts.request_body
        failure = RequestTimeout(f"no piece of the body came for `timeouts.request_body` = {patience:g} s")
    log.info("refused", extra={"status": failure.status, "code": failure.code})
    return failure


def _unclear(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_http")


def _refusal(settings: Settings, error: BaseException | None, always: Mapping[str, str]) -> web.Response:
    """The answer to a request that could not be read. What aiohttp says of it quotes the client's bytes."""
    limit, patience = settings.limits.header_block, settings.timeouts.request_head
    failure: SidecarError = BadRequest("this is not a valid HTTP request", code="invalid_http")
    if isinstance(error, HeaderBlockTooLarge) or type(error).__name__ == "LineTooLong":
        failure = HeadersTooLarge(
            f"the header block is larger than `limits.header_block` = {limit} bytes, or has more than"
            f" {MAX_HEADERS} headers"
        )
    elif isinstance(error, HeaderBlockTimeout):
        failure = RequestTimeout(
            f"the header block did not come within `timeouts.request_head` = {patience:g} s"
        )
    log.info("refused", extra={"status": failure.status, "code": failure.code})
    return web.json_response(failure.body(), status=failure.status, headers=always)


def _raw(failure: SidecarError, always: Mapping[str, str]) -> bytes:
    body = json.dumps(failure.body()).encode()
    head = (
        f"HTTP/1.1 {failure.status} Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Retry-After: 1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    more = "".join(f"{name}: {value}\r\n" for name, value in always.items())
    return f"{head}{more}\r\n".encode() + body
