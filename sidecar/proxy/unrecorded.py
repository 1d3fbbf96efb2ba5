"""The end of an exchange whose reply is not recorded: it failed, was refused, or is kept nowhere.

Rules: it is counted in any case. Where its conversation is in the store, it is kept there, in the
background: no client waits for that, a store that fails is left alone, and if many wait to be written, those
that come are dropped and counted. A conversation is in the store once it has a message: what failed before
that is counted and logged alone, or a client that is always refused would fill the store with empty chats.
"""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import ConversationUpdate, Exchange
from sidecar.conversation.tree import Conversation
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import new_nodes
from sidecar.exchange.outcome import Answered, Progress, exchange_of
from sidecar.exchange.plan import Unrecorded
from sidecar.proxy.observers import count, log_line
from sidecar.proxy.services import Services

__all__ = ["finish"]

log = logging.getLogger("sidecar.proxy")

_MAX_PENDING_WRITES = 256  # writes that wait


def finish(services: Services, progress: Progress) -> None:
    """Count an exchange that has ended, and begin to keep it."""
    now = time.monotonic()
    parent = _parent(progress)
    exchange = exchange_of(progress, now, Answered(parent))
    count(services.metrics, progress, exchange, now)
    log_line(exchange)
    conversation = progress.plan.conversation if progress.plan is not None else None
    # A request that begins at another root has no parent; its conversation is known by its tip.
    if conversation is None or (beside := parent or conversation.tip) is None:
        return
    if services.background.store_health.is_failing or services.store.waiting()[1] >= _MAX_PENDING_WRITES:
        services.metrics.exchanges_dropped.inc()
        return
    services.background.tasks.spawn(_keep(services, conversation, exchange, beside))


def _parent(progress: Progress) -> bytes | None:
    """The newest stored message that the request ended with; None if there is none."""
    plan, call = progress.plan, progress.call
    if plan is None or isinstance(plan, Unrecorded) or not isinstance(call, ChatCall):
        return None
    if plan.outcome is Outcome.RETRY and plan.new:
        return new_nodes(call, plan, 0.0)[-1].id  # what is asked again is stored, under this id
    return plan.parent.id if plan.parent is not None else None


async def _keep(services: Services, conversation: Conversation, exchange: Exchange, beside: bytes) -> None:
    # What is known of the conversation as a whole stays as it is.
    update = ConversationUpdate(
        replace(conversation, tip=None, weights=None), (), exchange=exchange, beside=beside
    )
    try:
        await services.store.record(update)
    except StoreUnavailable as error:
        services.background.store_health.could_not_write(error)
    else:
        services.background.store_health.wrote()
