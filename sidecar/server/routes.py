"""What answers a request: a page of the sidecar's own, an API that is read, or the upstream alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from sidecar.admin import health
from sidecar.dialects.responses.dialect import belongs
from sidecar.dialects.served import dialect_of
from sidecar.errors import NotFound
from sidecar.inspector.door import PLACE
from sidecar.proxy.gate import UNCOUNTED, Gate, asks
from sidecar.proxy.handle import handle, handle_tracked
from sidecar.proxy.observers import passed_by
from sidecar.proxy.passthrough import passthrough
from sidecar.proxy.responses_socket import asked_over_socket
from sidecar.proxy.services import Services
from sidecar.proxy.websocket import is_websocket
from sidecar.server.model_list import answer_with_list, is_asked_for_list
from sidecar.server.responses import answer_over_responses

__all__ = ["Answer", "answer_of", "own"]

Answer = Callable[[Services, web.BaseRequest], Awaitable[web.StreamResponse]]

# What the sidecar says of itself to whoever asks with GET or HEAD, and what to those whom it admits.
_OPEN: dict[str, Answer] = {"/-/live": health.live, "/-/ready": health.ready}
_ADMIN: dict[str, Answer] = {"/-/metrics": health.metrics, "/-/doctor": health.doctor}


def answer_of(services: Services) -> Answer:
    """What answers clients, by the settings."""
    if (gate := services.gate) is not None:
        return lambda services, request: _answer_behind(gate, services, request)
    return _answer_tracked if services.is_tracked else _answer


def _answer(services: Services, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
    services.requests.visitors.look(request)
    if request.method == "POST" and (dialect := dialect_of(request.path)) is not None:
        return handle(services, dialect, request)
    return _answer_other(services, request)


def _answer_tracked(services: Services, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
    """As `_answer`, where exchanges are logged or traced, or requests kept as they came."""
    services.requests.visitors.look(request)
    if request.method == "POST" and (dialect := dialect_of(request.path)) is not None:
        return handle_tracked(services, dialect, request)
    return _answer_other(services, request)


async def _answer_behind(gate: Gate, services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """As the others, once the gate has let it in; the sidecar's own pages have rules of their own."""
    services.requests.visitors.look(request)
    if (page := await own(services, request, at_admin=False)) is not None:
        return page
    await gate.admit(request)
    if services.own_responses is not None and belongs(request.path):
        await services.learn_of_responses(request)
    if asked_over_socket(services, request) is not None:
        return await _answer_let_in(services, request)  # each of its messages is a request
    if is_websocket(request):
        gate.check_socket(request)
        is_counted = True
    else:
        is_counted = asks(request)
    with await gate.counted(request) if is_counted else UNCOUNTED:
        if (patterns := gate.models(request)) is not None:
            await gate.check_models(request)
            if is_asked_for_list(request):
                return await answer_with_list(services, request, patterns, _answer_let_in)
        return await _answer_let_in(services, request)


def _answer_let_in(services: Services, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
    if request.method == "POST" and (dialect := dialect_of(request.path)) is not None:
        return (handle_tracked if services.is_tracked else handle)(services, dialect, request)
    return _answer_other(services, request)


async def _answer_other(services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """What is no chat: a page of the sidecar's own, or something for the upstream alone."""
    if (page := await own(services, request, at_admin=False)) is not None:
        return page
    if (answer := await answer_over_responses(services, request)) is not None:
        return answer
    passed_by(services, request)
    return await passthrough(services, request)


async def own(services: Services, request: web.BaseRequest, *, at_admin: bool) -> web.StreamResponse | None:
    """A page of the sidecar's own; None if it is none."""
    if f"{PLACE}/" in request.path.lower():
        # Somebody has the wrong port, or has written the address otherwise: no upstream must see the token.
        raise NotFound("the inspector is at the address that `sidecar serve` prints, a new one at each start")
    if request.method not in ("GET", "HEAD"):
        return None
    if (page := _OPEN.get(request.path)) is not None:
        return await page(services, request)
    if (page := _ADMIN.get(request.path)) is not None:
        services.requests.visitors.admit(request, at_admin=at_admin)
        return await page(services, request)
    return None
