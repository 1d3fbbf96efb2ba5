"""Requests of the Responses API."""

from __future__ import annotations

from aiohttp import web

from sidecar.dialects.responses import PATH
from sidecar.dialects.responses.dialect import Responses, belongs
from sidecar.dialects.responses.refusal import InBackground
from sidecar.proxy.compact import PLACE, compact
from sidecar.proxy.handle import handle, handle_tracked
from sidecar.proxy.in_background import made_in_background
from sidecar.proxy.responses_socket import asked_over_socket, responses_socket
from sidecar.proxy.services import Services
from sidecar.state.ask import answer as answer_of_kept

__all__ = ["answer_over_responses"]


async def answer_over_responses(services: Services, request: web.BaseRequest) -> web.StreamResponse | None:
    """Its answer; None for what is none of this API, or the upstream's own. Raises `SidecarError`."""
    posted = _asked_of(services, request)
    if posted is None and services.own_responses is not None and belongs(request.path):
        await services.learn_of_responses(request)
        posted = _asked_of(services, request)
    if posted is not None:
        return await _posted(services, posted, request)
    if (spoken := asked_over_socket(services, request)) is not None:
        return await responses_socket(services, spoken, request)
    if (kept := await answer_of_kept(services, request)) is not None:
        return kept
    ours = services.requests.responses
    if ours is not None:
        if request.method == "POST" and request.path.endswith(PLACE):
            return await compact(services, ours, request)
        ours.refuse(request.path)
    return None


def _asked_of(services: Services, request: web.BaseRequest) -> Responses | None:
    """The API that answers what is posted here, as far as that is known."""
    return services.requests.responses if request.method == "POST" and request.path.endswith(PATH) else None


async def _posted(services: Services, dialect: Responses, request: web.BaseRequest) -> web.StreamResponse:
    """The answer; at once where it is to be made in the background."""
    try:
        return await (handle_tracked if services.is_tracked else handle)(services, dialect, request)
    except InBackground as wanted:
        return await made_in_background(services, dialect, request, wanted.asked)
