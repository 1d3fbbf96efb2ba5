"""To which target a chat goes, and to which one next where that cannot serve it.

Rules: those of `journey.py`; and what speaks of a prompt that is too long goes nowhere else. Each target gets
a request that was put together for it, with what is known of the models there. Refusals of form and length
count among the requests that may go out, and go to the same target again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from msgspec.structs import replace

from sidecar.conversation.reconcile import Outcome
from sidecar.exchange.call import Call, ChatCall, TaskCall
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan, session_of
from sidecar.proxy.build import compose
from sidecar.proxy.form_retry import learned
from sidecar.proxy.journey import Journey, router_of
from sidecar.proxy.services import Services
from sidecar.proxy.slot_files import bring_back
from sidecar.proxy.translated import path_of
from sidecar.proxy.upstream_request import FIRST, Revision, UpstreamRequest, addressed
from sidecar.upstream.error_probe import error_of
from sidecar.upstream.pool import Member
from sidecar.upstream.response import UpstreamResponse

__all__ = ["begun", "once", "sent_again", "sent_to_any"]

_Parcel = tuple[Services, UpstreamRequest]


class Sent(NamedTuple):
    """An answer, what it is the answer to, and how many requests it took."""

    services: Services
    answer: UpstreamResponse
    composed: UpstreamRequest
    requests: int


async def begun(services: Services, call: ChatCall, plan: Plan) -> tuple[Services, Revision]:
    """For whom a request is to be put together first, and how."""
    member = router_of(services).candidates(call.chat.model, _session(call, plan))[0]
    return await _for(services, call, plan, member)


async def sent_to_any(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    progress: Progress,
) -> Sent:
    """Send it to the member that it was put together for, else to the next. Raises `SidecarError`."""

    async def compose_for(member: Member) -> _Parcel:
        there, revision = await _for(services, call, plan, member)
        return there, await compose(there, call, plan, request, revision)

    journey = Journey(
        services,
        call.chat.model,
        _session(call, plan),
        compose_for,
        _sender(call, request, progress),
        _too_long(call),
    )
    member = composed.revision.member
    assert member is not None
    arrived = await journey.run(member, (services, composed))
    progress.no_room = journey.waited
    there, sent = arrived.parcel
    return Sent(there, arrived.answer, sent, arrived.requests)


async def once(
    services: Services, call: Call, composed: UpstreamRequest, request: web.BaseRequest, progress: Progress
) -> UpstreamResponse:
    """Send what is not recorded; a task goes to whoever has least to do. Raises `SidecarError`."""
    is_task = isinstance(call, TaskCall)
    model = (is_task and services.settings.tasks.model) or call.chat.model
    session = None if is_task else call.conversation_id

    async def compose_for(member: Member) -> _Parcel:
        return services.at(member.pool), addressed(composed, call.chat, member, model)

    send = _sender(call, request, progress)
    journey = Journey(services, model, session, compose_for, send, _too_long(call))
    member = router_of(services).candidates(model, session)[0]
    arrived = await journey.run(member, await compose_for(member))
    progress.no_room = journey.waited
    _note(progress, arrived.member)  # it may not be the last that was tried
    return arrived.answer


async def sent_again(
    member: Member, call: Call, composed: UpstreamRequest, request: web.BaseRequest
) -> UpstreamResponse:
    """Send another form of a request to the same member, whose refusal of the first is an end of that."""
    return await _sent(member, call, composed, request, elsewhere=False)


async def _for(services: Services, call: ChatCall, plan: Plan, member: Member) -> tuple[Services, Revision]:
    there = services.at(member.pool)
    revision = FIRST if there.background.forms.is_empty else await learned(there, call, plan)
    return there, replace(revision, member=member)


def _session(call: ChatCall, plan: Plan) -> str | None:
    """By what it stays where it is; None for a first question without an id, which is mostly the last."""
    if call.identity.key is None and plan.outcome is Outcome.START and len(call.chat.path.messages) == 1:
        return None
    return session_of(plan) or call.conversation_id


async def _sent(
    member: Member,
    call: Call,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    services: Services | None = None,
    *,
    elsewhere: bool,
) -> UpstreamResponse:
    """`services`: of a request that is sent there first."""
    path = path_of(call, composed, request, member.target)
    held = member.enter()
    try:
        if services is not None and services.background.slot_files is not None and isinstance(call, ChatCall):
            await bring_back(services, call, composed)
        answer = await member.target.send(
            "POST",
            path,
            composed.headers,
            composed.body,
            session=composed.session,
            elsewhere=elsewhere,
        )
    except BaseException:
        held.release()
        raise
    return held.over(answer)


def _sender(
    call: Call, request: web.BaseRequest, progress: Progress
) -> Callable[[Member, _Parcel, bool], Awaitable[UpstreamResponse]]:
    def send(member: Member, parcel: _Parcel, elsewhere: bool) -> Awaitable[UpstreamResponse]:
        _note(progress, member)
        services, composed = parcel
        return _sent(member, call, composed, request, services, elsewhere=elsewhere)

    return send


def _note(progress: Progress, member: Member) -> None:
    progress.target, progress.member = member.pool.name, member.told


def _too_long(call: Call) -> Callable[[UpstreamResponse, _Parcel], Awaitable[bool]]:
    async def is_too_long(answer: UpstreamResponse, parcel: _Parcel) -> bool:
        """Is it about the length of the prompt, after all? Then no other target helps, but a shorter one."""
        try:
            error = await error_of(answer, call.dialect)
        except BaseException:
            answer.close()
            raise
        return bool(error) and call.dialect.overflow(answer.status, error, parcel[1].body) is not None

    return is_too_long
