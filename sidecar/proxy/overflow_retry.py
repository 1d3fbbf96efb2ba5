"""A request that the upstream finds too long, cut so that it can be sent again.

Rules: what a refusal tells of the model's window and of the prompt's tokens is learned, if it agrees with
what was sent: many upstreams count nothing else, least of all in a stream. Each try is shorter than the one
before, and there are `MAX_RETRIES` of them. The answer gets never more than half of the window, and what the
client allows it is never changed: where the two cannot fit so, nothing is cut. A client that waits for that
error, to compact its history by itself, gets it.
"""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from sidecar.conversation.measure import Measure, measure_of_tools, total
from sidecar.dialects.base import Overflow
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan
from sidecar.prompt.model_lists import SMALLEST_WINDOW
from sidecar.proxy.budget import answer_room
from sidecar.proxy.build import compose
from sidecar.proxy.services import Services
from sidecar.proxy.upstream_request import UpstreamRequest

__all__ = ["MAX_RETRIES", "heals", "shorter", "took"]

MAX_RETRIES = 3
# Of a prompt that is too long by an unknown length, so much is sent the next time.
_SHRINK = 0.7
# Where it is known, a little less than what would just fit: chat templates are not counted evenly.
_MARGIN = 0.95
# An estimate is off by less than this, or the number is not about this prompt.
_MAX_ERROR_FACTOR = 4


def heals(services: Services, call: ChatCall) -> bool:
    """Is a refusal for length to be healed, and not the client's own business?"""
    return services.settings.trim.on_overflow == "heal" and call.may_be_cut and not call.awaits_refusal


async def shorter(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    refused: Overflow,
) -> UpstreamRequest | None:
    """The request in fewer tokens than were refused; None if there is none."""
    sent = _measure(call, composed)
    refused = _believable(
        refused, call, services.background.calibration.weights(call.chat.model).tokens(sent)
    )
    services.background.calibration.refused(
        call.chat.model, sent, refused.sent or _least(services, call, refused)
    )
    size = services.background.calibration.weights(call.chat.model).tokens(sent)
    if refused.limit is not None:
        services.background.windows.learn(call.chat.model, call.identity.credential, refused.limit)
    if _is_the_answers_fault(call, refused, size):
        return None
    revision = replace(composed.revision, ceiling=_ceiling(services, call, refused, size))
    cut = await compose(services, call, plan, request, revision)
    return None if cut.body == composed.body else cut


def took(
    services: Services, call: ChatCall, taken: UpstreamRequest, before: UpstreamRequest, refused: Overflow
) -> None:
    """A cut request has been taken, after one before it was refused so."""
    size = services.background.calibration.weights(call.chat.model).tokens(_measure(call, before))
    if _believable(refused, call, size).limit is None and taken.revision.ceiling is not None:
        _guess(services, call, taken.revision.ceiling)


def _measure(call: ChatCall, composed: UpstreamRequest) -> Measure:
    """What was sent."""
    return total([*(each.measure for each in composed.prompt.sent), measure_of_tools(call.chat.tools)])


def _believable(refused: Overflow, call: ChatCall, size: int) -> Overflow:
    """Without numbers that have nothing to do with what was sent: an error may be made to lie."""
    if refused.sent is not None:
        fits = size / _MAX_ERROR_FACTOR <= refused.sent <= size * _MAX_ERROR_FACTOR
    else:
        fits = refused.limit is None or refused.limit <= size * _MAX_ERROR_FACTOR + (
            call.chat.max_tokens or 0
        )
    return refused if fits else Overflow(with_answer=refused.with_answer)


def _is_the_answers_fault(call: ChatCall, refused: Overflow, size: int) -> bool:
    """Would the answer need more than half of the window, whatever is left of the prompt?"""
    answer = call.chat.max_tokens or 0
    if refused.limit is None:  # prompt and answer are more than the window together
        return refused.with_answer and answer > size
    half = refused.limit // 2
    return answer > half and (refused.with_answer or half >= (refused.sent or size))


def _ceiling(services: Services, call: ChatCall, refused: Overflow, size: int) -> int:
    """How much may be sent the next time, in estimated tokens; less than the last time in any case."""
    shorter = int(size * _SHRINK)
    if refused.limit is None:
        return shorter
    room = _room(services, call, refused)
    if refused.sent is None:
        return min(shorter, room)
    known = int(size * room / refused.sent * _MARGIN)
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
        services.background.windows.learn(call.chat.model, call.identity.credential, ceiling + answer)
