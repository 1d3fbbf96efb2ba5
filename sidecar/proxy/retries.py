"""A request that is refused for its length or its form, sent again before the client has seen a byte.

Rules: at most `MAX_REQUESTS` go upstream for one of the client's, for all causes together; none but the first
to an upstream that is an agent, for its tools may have run. The client gets the last answer, but where no cut
helped against a prompt's length: then the one before the cuts, which is about the request that it made. What
is learned is learned only from a request that was taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from hashlib import blake2b

from aiohttp import web

from sidecar.conversation.exchange_record import Refusal, count_of
from sidecar.dialects.base import FormRefusal, Overflow
from sidecar.errors import SidecarError
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan
from sidecar.proxy import form_retry, overflow_retry
from sidecar.proxy.fail_over import sent_again, sent_to_any
from sidecar.proxy.journey import MAX_REQUESTS
from sidecar.proxy.services import Services
from sidecar.proxy.slot_files import bring_back
from sidecar.proxy.tracked import keep_words
from sidecar.proxy.translated import path_of
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.upstream.error_probe import PROBE_TIMEOUT, PROBES_TIMEOUT, error_of
from sidecar.upstream.response import UpstreamResponse

__all__ = ["send"]

log = logging.getLogger("sidecar.proxy")

_Cause = Overflow | FormRefusal
_Sent = tuple[UpstreamResponse, UpstreamRequest]


async def send(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    progress: Progress,
) -> _Sent:
    """Send a request until it is taken; gives the answer and what it is the answer to."""
    progress.sent = time.monotonic()
    requests = 1
    if composed.revision.member is None:
        if services.background.slot_files is not None:
            await bring_back(services, call, composed)
        first = await _answer(services, call, composed, request)
    else:
        services, first, composed, requests = await sent_to_any(
            services, call, plan, composed, request, progress
        )
    progress.head = time.monotonic()
    if services.settings.upstream_agent:
        return first, composed
    began = time.monotonic()
    try:
        error = await error_of(first, call.dialect)
    except BaseException:  # the client left: so must we
        first.close()
        raise
    if not error and services.background.forms.is_empty:
        return first, composed  # as most
    held = time.monotonic() - began
    tries = _Tries(services, call, plan, request, first, composed, error, held, requests, requests)
    try:
        await tries.heal()
    except BaseException:
        tries.close()
        raise
    if tries.requests > requests:
        progress.head = time.monotonic()
    if progress.tracked is not None:
        keep_words(progress.tracked, request, tries.answer.status, tries.error or error)
    progress.overflow_retries, progress.form_retries = tries.cuts, tries.forms
    progress.is_refused = tries.is_refused
    if tries.overflow is not None:
        progress.refusal = Refusal(count_of(tries.overflow.limit), count_of(tries.overflow.sent))
    return tries.answer, tries.composed


def _answer(
    services: Services, call: ChatCall, composed: UpstreamRequest, request: web.BaseRequest
) -> Awaitable[UpstreamResponse]:
    if composed.revision.member is not None:
        return sent_again(composed.revision.member, call, composed, request)
    target = composed.target or services.targets.default
    path = path_of(call, composed, request, target)
    return target.send("POST", path, composed.headers, composed.body, session=composed.session)


@dataclass(slots=True)
class _Tries:
    """The answer that there is by now, what it is the answer to, and what was tried."""

    services: Services
    call: ChatCall
    plan: Plan
    request: web.BaseRequest
    answer: UpstreamResponse
    composed: UpstreamRequest
    #: The error that the answer is; nothing if it is none.
    error: bytes
    #: So many seconds its answers were held back, until it was known what they are.
    held: float
    #: So many requests went out, and so many before it was known what the first answer is.
    requests: int
    before: int
    #: Requests that were sent anew, by their cause; of the answer that is given.
    cuts: int = 0
    forms: int = 0
    #: The answer before the first cut, until a shorter request is taken.
    before_cuts: _Sent | None = None
    #: The last refusal for length, and what was refused.
    overflow: Overflow | None = None
    refused: UpstreamRequest | None = None
    sent: set[bytes] = field(default_factory=set)

    async def heal(self) -> None:
        """Send it anew for as long as that may help."""
        first = self.composed.revision.form
        while (cause := self._cause()) is not None and self.requests < MAX_REQUESTS:
            if not self.sent:
                self.sent.add(_digest(self.composed))
            revised = await self._revised(cause)
            if revised is None or not await self._try(revised, cause):
                break
        if self.overflow is not None:
            self._end_of_cuts(is_taken=cause is None and not _is_refusal(self.answer.status))
        if self.requests > self.before or not self.services.background.forms.is_empty:
            form_retry.ended(self.services, self.call, self.plan, self.composed, first, self._is_taken(cause))

    @property
    def is_refused(self) -> bool:
        """Is the answer a refusal of what was asked?"""
        return self._cause() is not None

    def _is_taken(self, cause: _Cause | None) -> bool:
        return cause is None and self.answer.status < 400

    def _cause(self) -> _Cause | None:
        """Why the answer is a refusal that another request may spare; None if it is none."""
        if not self.error:
            return None
        overflow = self.call.dialect.overflow(self.answer.status, self.error, self.composed.body)
        if overflow is not None:
            return overflow if overflow_retry.heals(self.services, self.call) else None
        return self.call.dialect.form_refusal(self.answer.status, self.error)

    async def _revised(self, cause: _Cause) -> UpstreamRequest | None:
        about = self.services, self.call, self.plan, self.composed, self.request
        if isinstance(cause, FormRefusal):
            return await form_retry.in_another_form(*about, cause, self.sent)
        self.overflow = cause
        if self.cuts == overflow_retry.MAX_RETRIES:
            return None
        self.refused = self.composed
        return await overflow_retry.shorter(*about, cause)

    async def _try(self, revised: UpstreamRequest, cause: _Cause) -> bool:
        """Send it; False if that could not be done."""
        try:
            answer = await _answer(self.services, self.call, revised, self.request)
        except SidecarError as error:
            log.warning("a refused prompt could not be retried", extra={"error": error.message})
            return False
        self.requests += 1
        self.sent.add(_digest(revised))
        if isinstance(cause, FormRefusal):
            self.forms += 1
        else:
            self.cuts += 1
            if self.before_cuts is None:
                self.before_cuts = self.answer, self.composed
        if self.before_cuts is None or self.answer is not self.before_cuts[0]:
            self.answer.close()
        self.answer, self.composed = answer, revised
        began = time.monotonic()
        left = max(0.0, PROBES_TIMEOUT - self.held)
        self.error = await error_of(answer, self.call.dialect, min(PROBE_TIMEOUT, left))
        self.held += time.monotonic() - began
        return True

    def _end_of_cuts(self, *, is_taken: bool) -> None:
        assert self.overflow is not None
        about = {
            "model": self.call.chat.model,
            "window": self.overflow.limit,
            "sent": self.overflow.sent,
        }
        self.services.metrics.overflows.labels("yes" if is_taken else "no").inc()
        if is_taken:
            refused = self.refused or self.composed
            overflow_retry.took(self.services, self.call, self.composed, refused, self.overflow)
            about["retries"] = self.cuts
            log.info("the upstream refused a prompt for its length, and accepted a shorter one", extra=about)
        else:
            log.warning("the upstream refused a prompt for its length, and every shorter one", extra=about)
        if self.before_cuts is not None:
            spare = self.before_cuts
            if not is_taken:
                spare, self.answer, self.composed = (self.answer, self.composed), *self.before_cuts
                self.cuts = 0
            spare[0].close()
            self.before_cuts = None

    def close(self) -> None:
        """Let go of every answer."""
        self.answer.close()
        if self.before_cuts is not None:
            self.before_cuts[0].close()


def _digest(composed: UpstreamRequest) -> bytes:
    return blake2b(composed.body, digest_size=16).digest()


def _is_refusal(status: int) -> bool:
    """Does the upstream dislike the prompt that is left, where it had nothing else against the whole?"""
    return 400 <= status < 500 and status not in (401, 403, 408, 429)
