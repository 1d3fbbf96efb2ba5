"""What `sidecar doctor` gets to know of a request: how it named itself, and what it was taken for.

Rule: nothing is written down here that could not be read aloud; see `doctor/sights.py`.
"""

from __future__ import annotations

from aiohttp import web

from sidecar.doctor import Sight
from sidecar.doctor.sights import CHAT, FILLED
from sidecar.proxy.context import Context
from sidecar.proxy.load import Plan
from sidecar.proxy.receive import Asked

__all__ = ["answered", "observed", "passed_by", "understood"]

# Chats that come by another API pass through: who wonders why nothing is kept has to be told.
_UNREAD = ("/responses", "/messages", "/api/chat", "/api/generate", "/completions")


def observed(context: Context, request: web.BaseRequest) -> Sight:
    """The sight of a chat request, to be entered: an error that ends the request is seen as well."""
    return context.sights.see(CHAT, request.headers)


def understood(context: Context, sight: Sight, asked: Asked) -> None:
    """The request has been read."""
    chat, identity = asked.chat, asked.identity
    sight.kind = identity.kind.value
    sight.mode = asked.mode
    sight.tenant = hash(identity.tenant)
    sight.conversation = hash(asked.conversation_id) if asked.conversation_id else 0
    sight.single = len(chat.path) == 1 and not chat.tools and not chat.prefill
    if asked.is_task:
        mark = sight.states.get(context.settings.tasks.header.lower())
        sight.task = "header" if mark == FILLED else "opening"


def answered(sight: Sight, plan: Plan, status: int) -> None:
    """The upstream has begun to answer."""
    sight.outcome = plan.outcome.value
    sight.status = status
    sight.degraded = plan.degraded
    if plan.conversation is not None:
        sight.conversation = hash(plan.conversation.id)


def passed_by(context: Context, request: web.BaseRequest) -> None:
    """A request that is not read: chats by another API are remembered, and lists of models counted."""
    if request.method == "POST":
        for end in _UNREAD:
            if request.path.endswith(end):
                context.sights.see(end, request.headers)
                return
    elif request.path.endswith("/models"):
        context.sights.models_listed += 1
