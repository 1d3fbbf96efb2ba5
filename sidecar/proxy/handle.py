"""The path of one chat request, from top to bottom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from aiohttp import web

from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation
from sidecar.dialects.base import Dialect
from sidecar.dialects.responses.refusal import InBackground
from sidecar.doctor import RequestSample
from sidecar.errors import ConversationBusy, SidecarError
from sidecar.exchange.call import Call, ChatCall, TaskCall, UnrecordedCall
from sidecar.exchange.outcome import CLIENT_LEFT, Begun, Progress, Tracked
from sidecar.exchange.plan import Plan, Thin, Unrecorded
from sidecar.proxy.append_lock import line_of
from sidecar.proxy.build import as_it_came, compose
from sidecar.proxy.fail_over import begun
from sidecar.proxy.form_retry import learned
from sidecar.proxy.forward import forward, send_once
from sidecar.proxy.journey import TARGET
from sidecar.proxy.load import load
from sidecar.proxy.observers import answered, observed, response_headers, understood
from sidecar.proxy.receive import receive
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import relay, relay_recorded
from sidecar.proxy.services import Services
from sidecar.proxy.tasks import task
from sidecar.proxy.tracked import track
from sidecar.proxy.translated import Translated, has_begun, instead_of, patiently, translated_answer
from sidecar.proxy.unrecorded import finish, is_failure, keep_question
from sidecar.proxy.upstream_request import FIRST, UpstreamRequest
from sidecar.random_ids import token
from sidecar.upstream.response import UpstreamResponse

__all__ = ["handle", "handle_tracked"]


def handle_tracked(
    services: Services, dialect: Dialect, request: web.BaseRequest
) -> Awaitable[web.StreamResponse]:
    """`handle`, of a request that others are to find again."""
    return handle(services, dialect, request, track(services, request))


async def handle(
    services: Services,
    dialect: Dialect,
    request: web.BaseRequest,
    tracked: Tracked | None = None,
    begun: Begun | None = None,
) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    progress = Progress(int(time.time() * 1000), time.monotonic(), token(4), tracked)
    if begun is not None:
        progress.begun = begun
    services.requests.under_way.add(progress)
    try:
        with observed(services, request) as sample, services.requests.bodies.hold() as held:
            progress.call = call = await receive(services, dialect, request, held, progress)
            understood(services, sample, call)
            try:
                match call:
                    case ChatCall(brings_no_history=True):
                        return await _seen_by_others(services, call, request, progress, sample)
                    case ChatCall():
                        return await _answer(services, call, None, request, progress, sample)
                    case TaskCall():
                        composed = task(services, call, request)
                        return await _pass_on(
                            services, call, Outcome.TASK, composed, request, progress, sample
                        )
                    case UnrecordedCall():
                        composed = as_it_came(services, call, request)
                        return await _pass_on(
                            services, call, Outcome.BYPASS, composed, request, progress, sample
                        )
            except SidecarError as error:
                error.conversation = call.identity.key
                raise
    except InBackground:  # whoever makes it there tells of it
        services.requests.samples.forget(sample)
        progress.is_recorded = True
        raise
    except SidecarError as error:
        progress.status, progress.error = error.status, error.code
        raise
    except (asyncio.CancelledError, ConnectionResetError):
        progress.error = CLIENT_LEFT
        raise
    finally:
        services.requests.under_way.discard(progress)
        if not progress.is_recorded:
            finish(services, progress)


async def _pass_on(
    services: Services,
    call: Call,
    outcome: Outcome,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    progress: Progress,
    sample: RequestSample,
) -> web.StreamResponse:
    """What is none of a conversation: sent once, as it is, and not recorded."""
    if progress.begun is not None:
        await progress.begun(progress)
    progress.plan = Unrecorded(outcome)
    translated = translated_answer(request, progress, progress.plan)
    sending = send_once(services, call, composed, request, progress)
    try:
        upstream = await patiently(translated, sending)
    except SidecarError as error:
        if (instead := instead_of(translated, error)) is None:
            raise
        upstream = instead
    answered(sample, progress)
    said = _said(services, progress, upstream)
    return await relay(request, upstream, said, progress, translated)


def _said(services: Services, progress: Progress, upstream: UpstreamResponse) -> dict[str, str]:
    """The headers that its client gets beside those of the answer."""
    said = response_headers(progress, upstream.headers)
    if services.router is not None:
        said[TARGET] = progress.target
    return said


async def _seen_by_others(
    services: Services, call: ChatCall, request: web.BaseRequest, progress: Progress, sample: RequestSample
) -> web.StreamResponse:
    """One that may rely on the store; others have to know of it while it is answered."""
    with services.requests.running.entered(call) as is_unseen:
        began = time.monotonic()
        plan = await load(services, call, is_unseen=is_unseen)
        progress.reading += time.monotonic() - began
        return await _in_line(services, call, plan, request, progress, sample, is_unseen=is_unseen)


async def _in_line(
    services: Services,
    call: ChatCall,
    plan: Plan,
    request: web.BaseRequest,
    progress: Progress,
    sample: RequestSample,
    *,
    is_unseen: bool = False,
) -> web.StreamResponse:
    """Those of one thread that rely on the store are answered one after another."""
    if _in_line_for(call, plan) is None:
        return await _answer(services, call, plan, request, progress, sample)
    is_told, known = await _told_where(progress, plan), plan.conversation
    translated = None if is_told else translated_answer(request, progress, plan)
    async with AsyncExitStack() as line:
        waiting = _first_in_line(services, call, plan, progress, line, is_unseen=is_unseen)
        try:
            plan = await patiently(translated, waiting)
            if (is_told or has_begun(translated)) and not _is_of(plan, known):
                raise ConversationBusy("the conversation was taken away while this message stood in line")
        except SidecarError as error:
            if (instead := instead_of(translated, error)) is None:
                raise
            return await relay(request, instead, {}, progress, translated)
        if not has_begun(translated):
            translated = None
        return await _answer(services, call, plan, request, progress, sample, translated)


async def _told_where(progress: Progress, plan: Plan) -> bool:
    """Tell whoever wants to know where it is kept; is there anybody?"""
    if progress.begun is None:
        return False
    progress.plan = plan
    await progress.begun(progress)
    progress.begun = None
    return True


async def _first_in_line(
    services: Services,
    call: ChatCall,
    plan: Plan,
    progress: Progress,
    line: AsyncExitStack,
    *,
    is_unseen: bool,
) -> Plan:
    """The plan, once nobody stands before it; it is kept its place until the line is left."""
    held: set[str] = set()
    name = _in_line_for(call, plan)
    progress.is_in_line = True
    while name is not None and name not in held:
        began = time.monotonic()
        waited = await line.enter_async_context(services.requests.append_locks.hold(name))
        held.add(name)
        plan = await load(services, call, is_unseen=is_unseen)  # what was said meanwhile counts
        progress.waited += waited
        progress.reading += time.monotonic() - began - waited
        name = _in_line_for(call, plan)
    progress.is_in_line = False
    return plan


def _is_of(plan: Plan, conversation: Conversation | None) -> bool:
    """Is what it plans for still in this conversation?"""
    there = plan.conversation
    return (there and there.id) == (conversation and conversation.id)


def _in_line_for(call: ChatCall, plan: Plan) -> str | None:
    """What it has to wait for: the thread that it goes on in, or, if it says so, the one that it begins. What
    names the response that it goes on from waits for nothing."""
    if call.chat.behind is not None:
        return None
    if isinstance(plan, Thin):
        return line_of(plan.conversation.id, plan.root)
    if call.mode == "append" and call.brings_no_history and not isinstance(plan, Unrecorded):
        return line_of(plan.conversation.id, plan.root)
    return None


async def _answer(
    services: Services,
    call: ChatCall,
    plan: Plan | None,
    request: web.BaseRequest,
    progress: Progress,
    sample: RequestSample,
    translated: Translated | None = None,
) -> web.StreamResponse:
    """One request about a conversation. Without a plan it has brought its history, as most do, and has yet to
    find out whether it has to wait for others all the same. `translated`: its answer, if that has begun."""
    if plan is None:
        began = time.monotonic()
        plan = await load(services, call)
        progress.reading += time.monotonic() - began
        if _in_line_for(call, plan) is not None:
            return await _in_line(services, call, plan, request, progress, sample)
    progress.plan = plan
    if progress.begun is not None:
        await _told_where(progress, plan)
    if services.router is not None:
        services, revision = await begun(services, call, plan)
    else:
        revision = FIRST if services.background.forms.is_empty else await learned(services, call, plan)
    composed = await compose(services, call, plan, request, revision)  # rebuild and trim
    progress.prompt = composed.prompt
    translated = translated or translated_answer(request, progress, plan)
    sending = forward(services, call, plan, composed, request, progress, translated)
    try:
        upstream, composed = await patiently(translated, sending)
    except (SidecarError, asyncio.CancelledError) as error:
        if (instead := instead_of(translated, error)) is None:
            keep_question(services, call, plan, progress)
            raise
        upstream = instead
    if composed.revision.member is not None:
        services = services.at(composed.revision.member.pool)
    if upstream.status < 400:
        services.background.windows.look(call.chat.model, call.identity.credential, request.headers)
    answered(sample, progress)
    said = _said(services, progress, upstream)
    recording = recording_of(services, call, plan, upstream, composed, progress, translated)
    if recording is None:
        if is_failure(upstream.status, progress):
            keep_question(services, call, plan, progress)
        return await relay(request, upstream, said, progress, translated)
    response = await relay_recorded(request, upstream, said, recording, translated)  # assemble and record
    if composed.missing is not None and not services.background.store_health.is_failing:
        services.background.summaries.begin(composed.missing, request, call.identity.credential)
    return response
