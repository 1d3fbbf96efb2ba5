"""The end of an exchange whose reply is not recorded: it failed, was refused, or is kept nowhere.

Rules: it is counted in any case. Where its conversation is in the store, it is kept there, in the
background: no client waits for that, a store that fails is left alone, and if many wait to be written, those
that come are dropped and counted. A conversation is in the store once it has a message: what failed before
that is counted and logged alone, or a client that is always refused would fill the store with empty chats.
What is lost while the store fails is remembered with its outage, whatever became of it.

A question, or the results of calls, to which no answer began, since the upstream failed or the client left,
are kept where their client sends only what is new: they will not come again with the next request, and the
model would miss them. What was *refused* is not: the next request would be refused with it.
"""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import Conversation
from sidecar.doctor.outages import Lost
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import new_nodes
from sidecar.exchange.outcome import Answered, Progress, exchange_of
from sidecar.exchange.plan import Plan, Thin, Unrecorded, Whole
from sidecar.exchange.prompt import of_stored
from sidecar.exchange.threads import thread_after
from sidecar.proxy.observers import tell
from sidecar.proxy.services import Services

__all__ = ["finish", "is_failure", "keep_question"]

log = logging.getLogger("sidecar.proxy")

_MAX_PENDING_WRITES = 256  # writes that wait
#: Beside 5xx: no key, no money, too slow, too early, too many. A 403 may be about what was said.
_FAILURES = frozenset((401, 402, 408, 425, 429))
_OF_THE_CLIENT = frozenset(("user", "tool"))


def finish(services: Services, progress: Progress) -> None:
    """Count an exchange that has ended, and begin to keep it."""
    now = time.monotonic()
    parent = _parent(progress)
    exchange = exchange_of(progress, now, Answered(parent))
    tell(services.metrics, progress, exchange, now)
    health = services.background.store_health
    if (lost := _lost(services, progress)) is not None:
        health.outages.lost(lost, progress.when / 1000)
    conversation = progress.plan.conversation if progress.plan is not None else None
    # A request that begins at another root has no parent; its conversation is known by its tip.
    if conversation is None or (beside := parent or conversation.tip) is None:
        return
    if health.is_failing or services.store.waiting()[1] >= _MAX_PENDING_WRITES:
        services.metrics.exchanges_dropped.inc()
        if health.is_failing and lost is None:
            health.outages.lost(Lost(conversation.id, conversation.key))
        return
    services.background.tasks.spawn(_keep(services, progress, conversation, exchange, beside))


def _lost(services: Services, progress: Progress) -> Lost | None:
    """What is lost since the store could not be read: the request was refused for that, or it went on as it
    came."""
    call, plan = progress.call, progress.plan
    is_refused = progress.error == StoreUnavailable.code
    is_passed = isinstance(plan, Unrecorded) and plan.degraded
    if not isinstance(call, ChatCall) or not (is_refused or is_passed):
        return None
    if call.conversation_id is None and services.settings.identity.fallback == "none":
        return None  # nothing of it would have been kept
    return Lost(call.conversation_id, call.identity.key, is_refused)


def is_failure(status: int, progress: Progress) -> bool:
    """Did the upstream fail, rather than refuse what it was asked?"""
    return (status >= 500 or status in _FAILURES) and not progress.is_refused


def keep_question(services: Services, call: ChatCall, plan: Plan, progress: Progress) -> None:
    """Begin to keep a question, or results, without an answer; the next request waits for that."""
    if not isinstance(plan, Thin) or plan.outcome is not Outcome.APPEND or not plan.new:
        return
    if any(each.role not in _OF_THE_CLIENT for each in plan.new):
        return
    if not services.background.store_health.is_failing:
        progress.question = writing = services.background.tasks.spawn(_keep_question(services, call, plan))
        services.requests.running.is_being_written(plan.conversation.id, writing)


async def _keep_question(services: Services, call: ChatCall, plan: Thin) -> bytes | None:
    now = time.time()
    asked = new_nodes(call, plan, now)
    head = asked[-1]
    conversation = replace(plan.conversation, tip=head.id, weights=None, updated_at=now)
    thread = thread_after(call, plan, asked, (), head, now)
    update = ConversationUpdate(conversation, (*plan.moved, *asked), thread=thread)
    return head.id if await _write(services, update) else None


def _parent(progress: Progress) -> bytes | None:
    """The newest stored message that the request ended with; None if there is none."""
    plan, call = progress.plan, progress.call
    if plan is None or isinstance(plan, Unrecorded) or not isinstance(call, ChatCall):
        return None
    if plan.outcome is Outcome.RETRY and plan.new:
        return new_nodes(call, plan, 0.0)[-1].id  # what is asked again is stored, under this id
    if plan.moved:
        return plan.moved[0].parent
    return plan.parent.id if plan.parent is not None else None


def _naming_stored(exchange: Exchange, progress: Progress) -> Exchange:
    """The same, naming none of the request's new messages: they are not kept."""
    sent, plan, call = exchange.detail.sent, progress.plan, progress.call
    if sent is None or not (sent.first or sent.exceptions):
        return exchange
    if not isinstance(plan, Thin | Whole) or not isinstance(call, ChatCall) or plan.outcome is Outcome.RETRY:
        return exchange
    new = (*plan.moved, *new_nodes(call, plan, 0.0))
    return replace(exchange, detail=replace(exchange.detail, sent=of_stored(sent, new)))


async def _keep(
    services: Services, progress: Progress, conversation: Conversation, exchange: Exchange, beside: bytes
) -> None:
    question = await progress.question if progress.question is not None else None
    if question is not None:
        exchange = replace(exchange, parent=question)
    else:
        exchange = _naming_stored(exchange, progress)
    # What is known of the conversation as a whole stays as it is; a name takes it over with what it brings.
    about = replace(conversation, key=None, tip=None, weights=None)
    update = ConversationUpdate(about, (), exchange=exchange, beside=beside)
    if await _write(services, update, conversation) and progress.tracked is not None:
        services.background.kept_requests.keep(progress.tracked, exchange)


async def _write(services: Services, update: ConversationUpdate, of: Conversation | None = None) -> bool:
    """`of`: the conversation of which an exchange is lost if this fails."""
    try:
        await services.store.record(update)
    except StoreUnavailable as error:
        lost = Lost(of.id, of.key) if of is not None else None
        services.background.store_health.could_not_write(error, lost=lost)
        return False
    services.background.store_health.wrote()
    return True
