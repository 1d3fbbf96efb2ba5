"""The list of models, for a client whose key may not ask for all of them: it has those alone that it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from sidecar.access.models import allowed_list, is_list
from sidecar.aiohttp_internals.inner import InnerWriter, inner_request
from sidecar.errors import UpstreamUnreachable
from sidecar.proxy.model_list import LEFT_OUT, nothing_but
from sidecar.proxy.services import Services

__all__ = ["answer_with_list", "is_asked_for_list"]

_OK = 200
_MOST = 8 << 20  # bytes of a list
Answer = Callable[[Services, web.BaseRequest], Awaitable[web.StreamResponse]]


def is_asked_for_list(request: web.BaseRequest) -> bool:
    """Does it ask for a list of models?"""
    return request.method == "GET" and is_list(request.path)


async def answer_with_list(
    services: Services, request: web.BaseRequest, patterns: Sequence[str], answer: Answer
) -> web.StreamResponse:
    """What `answer` lists, without the models that fit none of the patterns. Raises `SidecarError`."""
    told = bytearray()

    async def tell(_status: int, piece: bytes) -> None:
        told.extend(piece)
        if len(told) > _MOST:
            raise _unreadable()

    writer, headers = InnerWriter(tell), CIMultiDict(request.headers)
    headers["Accept-Encoding"] = "identity"
    inner = inner_request(request, headers, b"", writer, method="GET")
    response = await answer(services, inner)
    await response.prepare(inner)  # if it has not begun
    await response.write_eof()
    if writer.status != _OK:
        return web.Response(status=writer.status, body=bytes(told), content_type="application/json")
    try:
        listed = allowed_list(patterns, bytes(told))
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error
    return web.Response(body=listed, headers=_missing(response, listed), content_type="application/json")


def _missing(response: web.StreamResponse, listed: bytes) -> dict[str, str]:
    """Whose models are not in the list since they do not tell. Raises `UpstreamUnreachable` where none is
    left: an empty list would say that this key has no models."""
    missing = response.headers.get(LEFT_OUT)
    if missing is None:
        return {}
    if not msgspec.json.decode(listed)["data"]:
        raise nothing_but(missing)
    return {LEFT_OUT: missing}


def _unreadable() -> UpstreamUnreachable:
    return UpstreamUnreachable("the upstream's list of models cannot be read", code="invalid_model_list")
