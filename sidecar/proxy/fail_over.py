"""To which target a request goes, and to which one next where that cannot serve it.

Rules: nothing goes elsewhere once an engine may have begun: only where no connection came about, or the
answer is 429 or 503 (with `retries.gateway_errors` also 502 and 504) and speaks of no prompt that is too
long. Each target gets a request that was put together for it, with what is known of the models there. At most
`MAX_REQUESTS` go out, refusals of form and length included, and those go to the same target again. Where
nobody could serve it, its client gets the last answer that there was. A target that has as many requests as
it may have is passed over; where all have, the request waits a moment for room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web
from msgspec.structs import replace

from sidecar.conversation.reconcile import Outcome
from sidecar.errors import SidecarError, TargetsBusy
from sidecar.exchange.call import Call, ChatCall, TaskCall
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan, session_of
from sidecar.proxy.build import FIRST, Revision, UpstreamRequest, addressed, compose
from sidecar.proxy.form_retry import learned
from sidecar.proxy.services import Services
from sidecar.proxy.slot_files import bring_back
from sidecar.proxy.translated import path_of
from sidecar.upstream.error_probe import error_of
from sidecar.upstream.pool import Member
from sidecar.upstream.response import UpstreamResponse
from sidecar.upstream.router import Router

__all__ = ["MAX_REQUESTS", "TARGET", "begun", "once", "sent_again", "sent_to_any"]

log = logging.getLogger("sidecar.proxy")

MAX_REQUESTS = 5
#: The response header that names the target that answered, where there are several.
TARGET = "X-Sidecar-Target"

_BUSY = frozenset((429, 503))
_OF_GATEWAYS = frozenset((502, 504))

_ComposeFor = Callable[[Member], Awaitable[tuple[Services, UpstreamRequest]]]


class Sent(NamedTuple):
    """An answer, what it is the answer to, and how many requests it took."""

    services: Services
    answer: UpstreamResponse
    composed: UpstreamRequest
    requests: int


async def begun(services: Services, call: ChatCall, plan: Plan) -> tuple[Services, Revision]:
    """For whom a request is to be put together first, and how."""
    member = _router(services).candidates(call.chat.model, _session(call, plan))[0]
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

    async def compose_for(member: Member) -> tuple[Services, UpstreamRequest]:
        there, revision = await _for(services, call, plan, member)
        return there, await compose(there, call, plan, request, revision)

    journey = _Journey(_router(services), call, call.chat.model, _session(call, plan), compose_for)
    return await journey.run(services, composed, request, progress)


async def once(
    services: Services, call: Call, composed: UpstreamRequest, request: web.BaseRequest, progress: Progress
) -> UpstreamResponse:
    """Send what is not recorded; a task goes to whoever has least to do. Raises `SidecarError`."""
    is_task = isinstance(call, TaskCall)
    model = (is_task and services.settings.tasks.model) or call.chat.model
    session = None if is_task else call.conversation_id

    async def compose_for(member: Member) -> tuple[Services, UpstreamRequest]:
        return services.at(member.pool), addressed(composed, call.chat, member, model)

    router = _router(services)
    journey = _Journey(router, call, model, session, compose_for)
    there, first = await compose_for(router.candidates(model, session)[0])
    sent = await journey.run(there, first, request, progress)
    if sent.composed.target is not None:
        progress.target = sent.composed.target.name  # it may not be the last that was tried
    return sent.answer


async def sent_again(
    member: Member, call: Call, composed: UpstreamRequest, request: web.BaseRequest
) -> UpstreamResponse:
    """Send another form of a request to the same member, whose refusal of the first is an end of that."""
    return await _sent(member, call, composed, request, elsewhere=False)


async def _for(services: Services, call: ChatCall, plan: Plan, member: Member) -> tuple[Services, Revision]:
    there = services.at(member.pool)
    revision = FIRST if there.background.forms.is_empty else await learned(there, call, plan)
    return there, replace(revision, member=member)


def _router(services: Services) -> Router:
    assert services.router is not None
    return services.router


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


@dataclass(slots=True)
class _Journey:
    """One request on its way from target to target."""

    router: Router
    call: Call
    model: str | None
    session: str | None
    compose_for: _ComposeFor
    tried: set[Member] = field(default_factory=set)
    requests: int = 0
    #: The last answer that says that it was not served, and why there was none.
    spare: Sent | None = None
    failure: SidecarError | None = None
    #: Until when it waits for room.
    patience: float | None = None

    async def run(
        self, services: Services, composed: UpstreamRequest, request: web.BaseRequest, progress: Progress
    ) -> Sent:
        """Until somebody has served it, or nobody could."""
        spare: Sent | None
        try:
            while True:
                member = composed.revision.member
                assert member is not None
                if member in self.tried or not member.has_room:
                    other = await self._with_room(services)
                    if other is None:
                        return self._in_vain()
                    if other is not member:
                        services, composed = await self.compose_for(other)
                    continue  # it may have no room any more
                progress.target = member.pool.name
                sent = await self._try(services, composed, request, member)
                if sent is not None:
                    return sent
                self.tried.add(member)
        finally:
            spare, self.spare = self.spare, None
            if spare is not None:
                spare.answer.close()

    def _left(self) -> list[Member]:
        """Who may be tried yet, the first first."""
        if self.requests == MAX_REQUESTS:
            return []
        found = self.router.candidates(self.model, self.session)
        return [member for member in found if member not in self.tried]

    async def _with_room(self, services: Services) -> Member | None:
        """The first that has room, now or in a moment; None if there is none."""
        while True:
            left = self._left()
            free = next((member for member in left if member.has_room), None)
            if free is not None or not left:
                return free
            now = time.monotonic()
            if self.patience is None:
                self.patience = now + services.settings.retries.wait_for_room
            if not await self.router.room(left, self.patience - now):
                return None

    def _in_vain(self) -> Sent:
        """What its client gets where nobody served it."""
        if self.spare is not None:
            sent, self.spare = self.spare, None
            return sent
        if self.failure is not None:
            raise self.failure
        raise TargetsBusy(
            f"every target for {self.model or 'this request'} has as many requests as it may; try again soon"
        )

    async def _try(
        self, services: Services, composed: UpstreamRequest, request: web.BaseRequest, member: Member
    ) -> Sent | None:
        """Send it there; None if it is to go elsewhere, where there is anybody else."""
        health = services.background.target_health
        assert health is not None
        has_others = len(self._left()) > 1
        try:
            answer = await _sent(member, self.call, composed, request, services, elsewhere=has_others)
        except SidecarError as error:
            if error.status < 500:
                raise  # it is the request's
            health.failed(member)
            if not error.nothing_sent:
                raise
            self._note(services, member, has_others=has_others, why=error.message)
            self.failure = error
            return None
        self.requests += 1
        health.answered(member, answer.status)
        sent = Sent(services, answer, composed, self.requests)
        if not self._is_passed_on(services, answer.status) or await self._is_too_long(answer, composed):
            return sent
        self._note(services, member, has_others=has_others, why=f"it answered {answer.status}")
        if self.spare is not None:
            self.spare.answer.close()
        self.spare = sent
        return None

    def _is_passed_on(self, services: Services, status: int) -> bool:
        return status in _BUSY or (status in _OF_GATEWAYS and services.settings.retries.gateway_errors)

    async def _is_too_long(self, answer: UpstreamResponse, composed: UpstreamRequest) -> bool:
        """Is it about the length of the prompt, after all? Then no other target helps, but a shorter one."""
        try:
            error = await error_of(answer, self.call.dialect)
        except BaseException:
            answer.close()
            raise
        return bool(error) and self.call.dialect.overflow(answer.status, error, composed.body) is not None

    def _note(self, services: Services, member: Member, *, has_others: bool, why: str) -> None:
        if not has_others:
            return
        assert services.background.target_health is not None
        services.background.target_health.passed_over(member)
        log.info(
            "a request goes to another target",
            extra={"target": member.pool.name, "member": member.key, "reason": why},
        )
