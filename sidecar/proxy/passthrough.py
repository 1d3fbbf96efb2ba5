"""Every other path and method: streamed through in both directions.

Where there are several targets, it goes to the one that serves the model that it names, and to the default
one where it names none; elsewhere, where that one cannot serve it, by the rules of `journey.py`. A body that
is not held in memory can be sent once: once a part of it has gone, nobody else gets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web
from multidict import CIMultiDict

from sidecar.conversation.identity import key_of_agent
from sidecar.proxy.journey import TARGET, Arrived, Journey, router_of
from sidecar.proxy.model_list import models
from sidecar.proxy.named_model import Asked, Body, asked
from sidecar.proxy.relay import relay
from sidecar.proxy.services import Services
from sidecar.proxy.websocket import is_websocket, websocket
from sidecar.upstream.headers import NOT_AS_IT_CAME, to_upstream
from sidecar.upstream.pool import Member
from sidecar.upstream.response import UpstreamResponse

__all__ = ["passthrough"]

_Parcel = tuple[CIMultiDict[str], Body]


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
    with services.requests.bodies.hold() as held:
        wanted = await asked(request, services.settings, services.background.large_work, held)
        if wanted.model is None:
            default, sent = (
                services.targets.default,
                (_headers(services, request, wanted, 0), wanted.body(None)[0]),
            )
            upstream = await default.send(request.method, request.raw_path, *sent)
            return await relay(request, upstream, {TARGET: default.name})
        arrived = await _sent(services, request, wanted)
        return await relay(request, arrived.answer, {TARGET: arrived.member.pool.name})


async def _sent(
    services: Services, request: web.BaseRequest, wanted: Asked
) -> Arrived[_Parcel, UpstreamResponse]:
    """The answer of whoever serves it. Raises `SidecarError`."""
    do = services.background.large_work.do
    session = key_of_agent(request.headers.get, services.settings.identity.headers)

    async def parcel_for(member: Member) -> _Parcel:
        name = member.pool.named(wanted.model)
        renamed = partial(wanted.body, name)
        is_long = wanted.is_large and name != wanted.model
        body, longer = await do("build", renamed) if is_long else renamed()
        return _headers(services, request, wanted, longer), body

    async def send(member: Member, parcel: _Parcel, elsewhere: bool) -> UpstreamResponse:
        held = member.enter()
        try:
            answer = await member.target.send(request.method, request.raw_path, *parcel, elsewhere=elsewhere)
        except BaseException:
            held.release()
            raise
        return held.over(answer)

    async def is_settled(_answer: UpstreamResponse, _parcel: _Parcel) -> bool:
        return wanted.is_spent

    journey = Journey(services, wanted.model, session, parcel_for, send, is_settled)
    member = router_of(services).candidates(wanted.model, session)[0]
    return await journey.run(member, await parcel_for(member))


def _headers(services: Services, request: web.BaseRequest, wanted: Asked, longer: int) -> CIMultiDict[str]:
    if wanted.whole is not None:  # it may have been unpacked, and has a length of its own
        return to_upstream(request.headers, without=services.requests.kept_back | NOT_AS_IT_CAME)
    headers = to_upstream(request.headers, without=services.requests.kept_back)
    if longer and "Content-Length" in headers:
        headers["Content-Length"] = str(int(headers["Content-Length"]) + longer)
    return headers


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while chunk := await request.content.readany():
        yield chunk
