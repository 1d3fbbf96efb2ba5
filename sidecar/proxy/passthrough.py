"""Every other path and method: streamed through in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from sidecar.proxy.fail_over import TARGET
from sidecar.proxy.model_list import models
from sidecar.proxy.relay import relay
from sidecar.proxy.services import Services
from sidecar.proxy.websocket import is_websocket, websocket
from sidecar.upstream.headers import to_upstream

__all__ = ["passthrough"]


async def passthrough(services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request with the upstream's answer."""
    if is_websocket(request):
        return await websocket(services, request)
    body = (lambda: _body(request)) if request.body_exists else None
    headers = to_upstream(request.headers, without=services.requests.kept_back)
    if services.router is None:
        upstream = await services.targets.default.send(request.method, request.raw_path, headers, body)
        return await relay(request, upstream, {})
    if (answer := await models(services, request, headers)) is not None:
        return answer
    upstream = await services.targets.default.send(request.method, request.raw_path, headers, body)
    return await relay(request, upstream, {TARGET: services.targets.default.name})


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while chunk := await request.content.readany():
        yield chunk
