"""The messages that may go upstream: those of the request, with what of the store belongs to them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan, Thin, Unrecorded, Whole
from sidecar.prompt.form import Form
from sidecar.prompt.plain import plain, stripped, without
from sidecar.prompt.rebuild import Outgoing, Reader, as_before, rebuilt
from sidecar.prompt.supply import supplied
from sidecar.prompt.thin_history import remembered
from sidecar.proxy.services import Services
from sidecar.proxy.upstream_request import Revision

__all__ = ["line_of", "may_restore", "reader_of", "system_of", "with_nothing_added", "with_supplied"]


def system_of(plan: Plan, call: ChatCall) -> list[Outgoing]:
    """The leading system messages: the client's, or the conversation's own where those stand in for them."""
    own = [Outgoing(each.role, each.raw) for each in call.chat.system]
    if isinstance(plan, Unrecorded) or plan.system is None:
        return own
    stored = [bytes(raw) for raw in msgspec.json.decode(plan.system, type=list[msgspec.Raw])]
    if stored == [each.raw for each in own]:
        return own
    return [Outgoing("system", raw, restored=True) for raw in stored]


def with_nothing_added(plan: Plan) -> Plan:
    """The plan with nothing to restore. A client that sends only what is new still needs its history."""
    return replace(plan, steps=(), system=None) if isinstance(plan, Whole) else plan


def may_restore(plan: Plan) -> bool:
    """May something of the store stand in what goes upstream?"""
    match plan:
        case Unrecorded():
            return False
        case Whole():
            return bool(plan.steps) or plan.system is not None
        case Thin():
            return True


def line_of(services: Services, plan: Plan, call: ChatCall, revision: Revision) -> Sequence[Outgoing]:
    """Everything after the leading system messages."""
    line, form = _restored(services, plan, call, revision.form), revision.form
    if form.without:
        line = without(line, form.without)
    if form.stripped:
        line = stripped(line, form.stripped)
    return with_supplied(services, line, call, revision)


def with_supplied(
    services: Services, line: Sequence[Outgoing], call: ChatCall, revision: Revision
) -> Sequence[Outgoing]:
    """The messages with what the upstream demands back of earlier answers, once that is known."""
    wanted = revision.form.supplied
    return supplied(line, wanted, revision.held, reader_of(services, call)) if wanted else line


def reader_of(services: Services, call: ChatCall) -> str | None:
    """The model that reads it, by the name under which what only that understands is stored."""
    there, model = services.there, call.chat.model
    return model if there is None else there.maker(model)


def _restored(services: Services, plan: Plan, call: ChatCall, form: Form) -> list[Outgoing]:
    chat, rules = call.chat, services.requests.restore
    sent = chat.sent[len(chat.system) :]
    reader = Reader(reader_of(services, call), chat.tools, time.time())
    match plan:
        case Thin() if form.as_sent:
            return plain(plan.line, sent[plan.again :])
        case Thin():
            line = remembered(plan.line, sent[plan.again :], rules, reader)
            before = services.requests.cache.prompt(plan.conversation.id)
            return as_before(line, before.sent) if before else line
        case Whole():
            return rebuilt(sent, plan.steps, rules, reader)
        case Unrecorded():
            return rebuilt(sent, (), rules, reader)
