"""The path of one chat request, from top to bottom."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from sidecar.doctor import RequestSample
from sidecar.errors import SidecarError
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import CLIENT_LEFT, Progress
from sidecar.proxy.build import FIRST, compose
from sidecar.proxy.form_retry import learned
from sidecar.proxy.forward import forward
from sidecar.proxy.load import load
from sidecar.proxy.observers import answered, observed, response_headers, understood
from sidecar.proxy.receive import receive
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import relay, relay_recorded
from sidecar.proxy.services import Services
from sidecar.proxy.unrecorded import finish
from sidecar.random_ids import token

__all__ = ["turn"]


async def turn(services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    progress = Progress(int(time.time() * 1000), time.monotonic(), token(4))
    try:
        with observed(services, request) as sample, services.bodies.hold() as held:
            progress.call = call = await receive(services, request, held, progress)
            understood(services, sample, call)
            try:
                async with services.appends.turn(call.place_in_line):
                    return await _answer(services, call, request, progress, sample)
            except SidecarError as error:
                error.conversation = call.identity.key
                raise
    except SidecarError as error:
        progress.status, progress.error = error.status, error.code
        raise
    except (asyncio.CancelledError, ConnectionResetError):
        progress.error = CLIENT_LEFT
        raise
    finally:
        if not progress.is_recorded:
            finish(services, progress)


async def _answer(
    services: Services, call: ChatCall, request: web.BaseRequest, progress: Progress, sample: RequestSample
) -> web.StreamResponse:
    progress.plan = plan = await load(services, call)  # and reconcile
    revision = FIRST if services.forms.is_empty else await learned(services, call, plan)
    composed = await compose(services, call, plan, request, revision)  # rebuild and trim
    progress.prompt = composed.prompt
    upstream, composed = await forward(services, call, plan, composed, request, progress)
    if upstream.status < 400 and composed.target is None:
        services.windows.look(call.chat.model, call.identity.credential, request.headers)
    answered(sample, progress)
    said = response_headers(progress)
    recording = recording_of(services, call, plan, upstream, composed, progress)
    if recording is None:
        return await relay(request, upstream, said, progress)
    response = await relay_recorded(request, upstream, said, recording)  # assemble and record
    if composed.missing is not None and not services.store_health.is_failing:
        services.summaries.begin(composed.missing, request, call.identity.credential)
    return response
