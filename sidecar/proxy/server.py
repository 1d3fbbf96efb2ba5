"""Errors below the routes in OpenAI's shape: what is not even an HTTP request.

aiohttp answers those itself, in plain text; a control character in a header is the usual one.
"""

from __future__ import annotations

import logging

from aiohttp import web

from sidecar.errors import BadRequest, SidecarError

__all__ = ["Runner"]

log = logging.getLogger("sidecar")


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not read; the connection is closed after it."""
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


class Runner(web.AppRunner):
    """aiohttp's runner with connections that answer in OpenAI's shape."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)
