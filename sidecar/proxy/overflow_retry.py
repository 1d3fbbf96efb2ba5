"""A request that the upstream finds too long is cut and sent again, before the client has seen a byte.

Rules: what a refusal tells of the model's window and of the prompt's tokens is learned, if it agrees with
what was sent: many upstreams count nothing else, least of all in a stream. Each try is
shorter than the one before, and there are `RETRIES` of them. The answer gets never more than half of the
window, and what the client allows it is never changed: where the two cannot fit so, nothing is cut. Where no
cut helps, the client gets the upstream's first answer byte for byte: it is about the request that the client
made. So does a client that waits for that error, to compact its history by itself.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web
from msgspec.structs import replace

from sidecar.conversation.measure import Measure, measure_of_tools, total
from sidecar.dialects.chat.overflow import Overflow
from sidecar.errors import SidecarError
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan
from sidecar.prompt.model_lists import SMALLEST_WINDOW
from sidecar.proxy.budget import answer_room
from sidecar.proxy.build import UpstreamRequest, compose
from sidecar.proxy.services import Services
from sidecar.upstream.overflow_probe import refusal
from sidecar.upstream.response import UpstreamResponse

__all__ = ["RETRIES", "send"]

log = logging.getLogger("sidecar.proxy")

RETRIES = 3
# Of a prompt that is too long by an unknown length, so much is sent the next time.
_SHORTER = 0.7
# Where it is known, a little less than what would just fit: chat templates are not counted evenly.
_SAFE = 0.95
# An estimate is off by less than this, or the number is not about this prompt.
_FAR_OFF = 4


async def send(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    progress: Progress,
) -> tuple[UpstreamResponse, UpstreamRequest]:
    """Send a request until it is short enough; gives the answer and what it is the answer to."""
    progress.sent = time.monotonic()
    first = await _sent(services, composed, request)
    progress.head = time.monotonic()
    if call.is_task or call.mode == "off" or not _heals(services, call):
        return first, composed
    try:
        refused = await refusal(first)
        if refused is None:
            return first, composed
        healed = await _healed(services, call, plan, composed, request, refused)
    except BaseException:  # the client left: so must we
        first.close()
        raise
    about = {"model": call.chat.model, "window": refused.limit, "sent": refused.sent}
    if healed is None:
        services.metrics.overflows.labels("no").inc()
        log.warning("the upstream refused a prompt for its length, and no cut helped", extra=about)
        return first, composed
    first.close()
    services.metrics.overflows.labels("yes").inc()
    progress.head = time.monotonic()
    progress.overflow_retries = about["retries"] = healed[1].healed
    log.info("the upstream refused a prompt for its length, and took a shorter one", extra=about)
    return healed


def _heals(services: Services, call: ChatCall) -> bool:
    return services.settings.trim.on_overflow == "heal" and call.may_be_cut and not call.awaits_refusal


async def _healed(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    refused: Overflow,
) -> tuple[UpstreamResponse, UpstreamRequest] | None:
    """The answer to a shorter request; None if there is none."""
    for retry in range(1, RETRIES + 1):
        sent = _measure(call, composed)
        refused = _believable(refused, call, services.learned.weights(call.chat.model).tokens(sent))
        services.learned.refused(call.chat.model, sent, refused.sent or _least(services, call, refused))
        size = services.learned.weights(call.chat.model).tokens(sent)
        if refused.limit is not None:
            services.windows.learn(call.chat.model, call.identity.credential, refused.limit)
            if _is_the_answers_fault(call, refused, size):
                return None
        ceiling = _ceiling(services, call, refused, size)
        shorter = await compose(services, call, plan, request, ceiling)
        if shorter.body == composed.body:
            return None
        composed = shorter
        try:
            answer = await _sent(services, composed, request)
        except SidecarError as error:
            log.warning("a shorter prompt could not be sent", extra={"error": error.message})
            return None
        again = await _refused_again(answer)
        if again is None and not _is_our_fault(answer.status):
            if refused.limit is None:
                _guess(services, call, ceiling)
            return answer, replace(composed, healed=retry)
        answer.close()
        if again is None:
            return None
        refused = again
    return None


async def _sent(services: Services, composed: UpstreamRequest, request: web.BaseRequest) -> UpstreamResponse:
    target = composed.target or services.targets.default
    path = target.chat_path(request.raw_path)
    return await target.send("POST", path, composed.headers, composed.body)


async def _refused_again(answer: UpstreamResponse) -> Overflow | None:
    try:
        return await refusal(answer)
    except BaseException:
        answer.close()
        raise


def _is_our_fault(status: int) -> bool:
    """Does the upstream dislike the prompt that is left, where it had nothing else against the whole?"""
    return 400 <= status < 500 and status not in (401, 403, 408, 429)


def _measure(call: ChatCall, composed: UpstreamRequest) -> Measure:
    """What was sent."""
    return total([*(each.measure for each in composed.prompt.sent), measure_of_tools(call.chat.tools)])


def _believable(refused: Overflow, call: ChatCall, size: int) -> Overflow:
    """Without numbers that have nothing to do with what was sent: an error may be made to lie."""
    if refused.sent is not None:
        fits = size / _FAR_OFF <= refused.sent <= size * _FAR_OFF
    else:
        fits = refused.limit is None or refused.limit <= size * _FAR_OFF + (call.chat.max_tokens or 0)
    return refused if fits else Overflow()


def _is_the_answers_fault(call: ChatCall, refused: Overflow, size: int) -> bool:
    """Does the prompt take no more than its half of the window, and the answer more than the other?"""
    half = (refused.limit or 0) // 2
    return (call.chat.max_tokens or 0) > half >= (refused.sent or size)


def _ceiling(services: Services, call: ChatCall, refused: Overflow, size: int) -> int:
    """How much may be sent the next time, in estimated tokens; less than the last time in any case."""
    shorter = int(size * _SHORTER)
    if refused.limit is None:
        return shorter
    room = _room(services, call, refused)
    if refused.sent is None:
        return min(shorter, room)
    known = int(size * room / refused.sent * _SAFE)
    return known if known < size else shorter


def _room(services: Services, call: ChatCall, refused: Overflow) -> int:
    """What the window holds beside the answer, which gets half of it at most."""
    window = refused.limit or 0
    return max(window - answer_room(services, call, window), 1)


def _least(services: Services, call: ChatCall, refused: Overflow) -> int:
    """What was refused has more than this, if the upstream adds the whole answer; 1 if that is not known."""
    window = refused.limit or 0
    return max(window - (call.chat.max_tokens or int(window * services.settings.trim.answer_share)), 1)


def _guess(services: Services, call: ChatCall, ceiling: int) -> None:
    """The window is not known, but a prompt that is taken: the next request begins there."""
    share = services.settings.trim.answer_share
    answer = min(call.chat.max_tokens or int(ceiling * share / (1 - share)), ceiling)
    if ceiling + answer >= SMALLEST_WINDOW:
        services.windows.learn(call.chat.model, call.identity.credential, ceiling + answer)
