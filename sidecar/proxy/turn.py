"""The path of one chat request, from top to bottom."""

from __future__ import annotations

from aiohttp import web

from sidecar.doctor import Sight
from sidecar.errors import SidecarError
from sidecar.proxy.compose import compose, told
from sidecar.proxy.context import Context
from sidecar.proxy.forward import forward
from sidecar.proxy.load import load
from sidecar.proxy.observe import answered, observed, understood
from sidecar.proxy.receive import Asked, receive
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import relay, relay_recorded
from sidecar.proxy.summarise import summarise_later

__all__ = ["turn"]


async def turn(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    with observed(context, request) as sight, context.bodies.hold() as held:
        asked = await receive(context, request, held)
        understood(context, sight, asked)
        try:
            async with context.appends.turn(asked.place_in_line):
                return await _answer(context, asked, request, sight)
        except SidecarError as error:
            error.conversation = asked.identity.key
            raise


async def _answer(
    context: Context, asked: Asked, request: web.BaseRequest, sight: Sight
) -> web.StreamResponse:
    plan = await load(context, asked)  # and reconcile
    composed = await compose(context, asked, plan, request)  # rebuild and trim
    upstream, composed = await forward(context, asked, plan, composed, request)
    if upstream.status < 400 and composed.target is None:
        context.windows.look(asked.chat.model, asked.identity.credential, request.headers)
    answered(sight, plan, upstream.status)
    said = told(context, asked, plan, composed)
    recording = recording_of(context, asked, plan, upstream, composed)
    if recording is None:
        return await relay(request, upstream, said)
    response = await relay_recorded(request, upstream, said, recording)  # assemble and record
    summarise_later(context, composed.missing, request, asked.identity.credential)
    return response
