"""The HTTP server: each request goes straight to one handler, and what is none is answered in OpenAI's shape.

There are few paths and no middlewares, so this stands on aiohttp's low-level server: its application looks
for routes, signals and middlewares with each request, which would have to pay for that.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web

from sidecar.errors import BadRequest, ExpectationFailed, SidecarError

__all__ = ["Handler", "go_on", "runner"]

log = logging.getLogger("sidecar")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_UNWILLING = 0.5  # seconds for connections that stay open with nothing under way


def runner(handler: Handler) -> web.ServerRunner:
    """A server that answers with `handler`."""
    server = _Server(handler, handler_cancellation=True, access_log=None, auto_decompress=False)
    return web.ServerRunner(server, shutdown_timeout=_UNWILLING)


async def go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits to be told so to send its body (RFC 9110, 10.1.1)."""
    expected = request.headers.get("Expect")
    if expected and request.version >= HttpVersion11:
        if expected.lower() != "100-continue":
            raise ExpectationFailed(f"this cannot be expected here: {expected}", param="Expect")
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not read, which it would give in plain text; then it closes."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        said = " ".join((message or "it cannot be read").split())
        failure: SidecarError = BadRequest(f"this is no HTTP request: {said}", code="invalid_http")
        log.info("refused", extra={"status": status, "code": failure.code})
        response = web.json_response(failure.body(), status=status)
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)
