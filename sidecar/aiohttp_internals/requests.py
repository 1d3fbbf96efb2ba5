"""Requests of clients that carry something else from now on than they came with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.aiohttp_internals.inner import content_of

__all__ = ["with_body", "with_headers"]


def with_headers(request: web.BaseRequest, changed: Mapping[str, str | None]) -> None:
    """Have a request carry these headers from now on, in place of those of their names; None takes one out.

    `clone`, which aiohttp has for that, fails where a header holds what is no UTF-8.
    """
    headers = CIMultiDict(request.headers)
    for name, value in changed.items():
        if value is not None:
            headers[name] = value
        else:
            headers.popall(name, None)
    request._headers = request._cache["headers"] = CIMultiDictProxy(headers)


def with_body(request: web.BaseRequest, body: bytes) -> None:
    """Have a request, whose body has been read, carry this one from now on, as it is."""
    request._payload = request._cache["content"] = content_of(body)
    length = {"Content-Length": str(len(body)), "Content-Encoding": None, "Transfer-Encoding": None}
    with_headers(request, length)
