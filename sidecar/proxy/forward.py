"""Sending a composed request on, and what becomes of it when the client does not wait for the answer."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiohttp import web

from sidecar.background.large_work import is_large
from sidecar.conversation.reconcile import Outcome
from sidecar.exchange.call import Call, ChatCall
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan
from sidecar.exchange.prompt import difference
from sidecar.proxy.fail_over import once
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import read_on
from sidecar.proxy.retries import send
from sidecar.proxy.services import Services
from sidecar.proxy.silent_cut import foreseen
from sidecar.proxy.stopped import is_stopped
from sidecar.proxy.translated import Translated, path_of
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.upstream.response import UpstreamResponse

__all__ = ["forward", "send_once"]


async def forward(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    progress: Progress,
    translated: Translated | None = None,
) -> tuple[UpstreamResponse, UpstreamRequest]:
    """Send the request on, shorter if need be; gives the answer, and what it is the answer to.

    Waits for the head of the answer, for as long as the client does or is to.
    """
    sending = send(services, call, plan, composed, request, progress)
    if plan.conversation is None or services.settings.history.on_disconnect == "cancel":
        return await _begun(services, call, plan, progress, *await sending)
    task = asyncio.ensure_future(sending)
    try:
        return await _begun(services, call, plan, progress, *await asyncio.shield(task))
    except asyncio.CancelledError:
        if is_stopped(request):
            task.cancel()
            await asyncio.wait((task,))
            raise
        unseen = _unseen(services, call, plan, progress, translated, task)
        await asyncio.wait((services.background.tasks.spawn(unseen),))
        raise


async def send_once(
    services: Services, call: Call, composed: UpstreamRequest, request: web.BaseRequest, progress: Progress
) -> UpstreamResponse:
    """Send what is none of a conversation; what the upstream says of it is the answer."""
    progress.sent, progress.prompt = time.monotonic(), composed.prompt
    upstream = await _sent(services, call, composed, request, progress)
    progress.head, progress.status = time.monotonic(), upstream.status
    progress.streamed = upstream.content_type == "text/event-stream"
    progress.answer = upstream
    return upstream


async def _sent(
    services: Services, call: Call, composed: UpstreamRequest, request: web.BaseRequest, progress: Progress
) -> UpstreamResponse:
    if composed.target is None and services.router is not None:
        return await once(services, call, composed, request, progress)
    target = composed.target or services.targets.default
    progress.target = target.name
    path = path_of(call, composed, request, target)
    return await target.send("POST", path, composed.headers, composed.body)


async def _unseen(
    services: Services,
    call: ChatCall,
    plan: Plan,
    progress: Progress,
    translated: Translated | None,
    sending: asyncio.Future[tuple[UpstreamResponse, UpstreamRequest]],
) -> None:
    """The client left before the answer began, and yet it is to be kept."""
    stopping = asyncio.ensure_future(services.background.tasks.stopping.wait())
    await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not sending.done():
        sending.cancel()
        return
    if sending.exception() is None:
        upstream, composed = await _begun(services, call, plan, progress, *sending.result())
        if composed.revision.member is not None:
            services = services.at(composed.revision.member.pool)
        # Its client may have been told by which id to ask for it.
        recording = recording_of(services, call, plan, upstream, composed, progress, translated)
        if recording is not None:
            await read_on(upstream, recording)
        upstream.close()


async def _begun(
    services: Services,
    call: ChatCall,
    plan: Plan,
    progress: Progress,
    upstream: UpstreamResponse,
    composed: UpstreamRequest,
) -> tuple[UpstreamResponse, UpstreamRequest]:
    """The upstream has begun to answer this: note what is known of that."""
    progress.target = (composed.target or services.targets.default).name
    if (member := composed.revision.member) is not None:
        services, progress.member = services.at(member.pool), member.told
    progress.status, progress.answer = upstream.status, upstream
    progress.streamed = upstream.content_type == "text/event-stream"
    progress.prompt = prompt = composed.prompt
    progress.silent_cut = foreseen(services, call, prompt)
    if plan.conversation is not None:
        if plan.outcome is not Outcome.START:
            cache = services.requests.cache
            before, of_before = cache.prompt(plan.conversation.id), cache.counted(plan.conversation.id)
            progress.difference = (
                await services.background.large_work.do("build", partial(difference, before, prompt))
                if is_large(call, plan)
                else difference(before, prompt)
            )
            progress.counted_before = of_before if progress.difference.cause == "grown" else None
        services.requests.cache.went(plan.conversation.id, call.chat, prompt)
    return upstream, composed
