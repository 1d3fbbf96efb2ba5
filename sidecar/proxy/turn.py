"""The path of one chat request, from top to bottom."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from sidecar.doctor import Sight
from sidecar.errors import SidecarError
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import CLIENT_LEFT, Progress
from sidecar.proxy.compose import compose
from sidecar.proxy.context import Context
from sidecar.proxy.entropy import token
from sidecar.proxy.forward import forward
from sidecar.proxy.load import load
from sidecar.proxy.observers import answered, observed, response_headers, understood
from sidecar.proxy.receive import receive
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import relay, relay_recorded
from sidecar.proxy.summarise import summarise_later
from sidecar.proxy.unrecorded import finish

__all__ = ["turn"]


async def turn(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    progress = Progress(int(time.time() * 1000), time.monotonic(), token(4))
    try:
        with observed(context, request) as sight, context.bodies.hold() as held:
            progress.call = asked = await receive(context, request, held, progress)
            understood(context, sight, asked)
            try:
                async with context.appends.turn(asked.place_in_line):
                    return await _answer(context, asked, request, progress, sight)
            except SidecarError as error:
                error.conversation = asked.identity.key
                raise
    except SidecarError as error:
        progress.status, progress.error = error.status, error.code
        raise
    except (asyncio.CancelledError, ConnectionResetError):
        progress.error = CLIENT_LEFT
        raise
    finally:
        if not progress.is_recorded:
            finish(context, progress)


async def _answer(
    context: Context, asked: ChatCall, request: web.BaseRequest, progress: Progress, sight: Sight
) -> web.StreamResponse:
    progress.plan = plan = await load(context, asked)  # and reconcile
    composed = await compose(context, asked, plan, request)  # rebuild and trim
    progress.prompt = composed.prompt
    upstream, composed = await forward(context, asked, plan, composed, request, progress)
    if upstream.status < 400 and composed.target is None:
        context.windows.look(asked.chat.model, asked.identity.credential, request.headers)
    answered(sight, progress)
    said = response_headers(progress)
    recording = recording_of(context, asked, plan, upstream, composed, progress)
    if recording is None:
        return await relay(request, upstream, said, progress)
    response = await relay_recorded(request, upstream, said, recording)  # assemble and record
    summarise_later(context, composed.missing, request, asked.identity.credential)
    return response
