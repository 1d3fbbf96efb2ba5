"""A request whose form the upstream refuses, in a form that it may take.

Rules: what is demanded and was dropped by the client is put in, for whole clients too; else a field that the
refusal names stays out of what we added; else it goes as the client sent it, and the history of one that did
not send it as plain text; else without such a field of answers, which the client sends back. No body goes
twice. What was taken is learned (`background/learned_forms.py`). A system message where the upstream takes
none is told by the user, over another API than Chat Completions: its clients do not know of such a rule. Into
a request that names no conversation nothing is put but what belongs to the calls that it brings itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from hashlib import blake2b

from aiohttp import web
from msgspec.structs import replace

from sidecar.background.learned_forms import Place
from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.conversation.tree import Node
from sidecar.dialects.base import FormRefusal
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan, Thin, Unrecorded, Whole
from sidecar.prompt.form import (
    EMPTY_ALONE,
    EVERY_ANSWER,
    OF_ANSWERS,
    OF_LIBRARIES,
    REMOVABLE,
    SYSTEM_FIRST,
    Form,
)
from sidecar.prompt.supply import NOTHING_HELD, Held, held, needs_what_is_held
from sidecar.proxy.build import compose
from sidecar.proxy.services import Services
from sidecar.proxy.upstream_request import FIRST, Revision, UpstreamRequest

__all__ = ["ended", "in_another_form", "learned"]

log = logging.getLogger("sidecar.proxy")


async def learned(services: Services, call: ChatCall, plan: Plan) -> Revision:
    """How a request is to be composed at once, by what earlier ones have taught."""
    place = None if services.background.forms.is_empty else _place(services, call, plan)
    form = services.background.forms.of(place) if place is not None else FIRST.form
    if not call.dialect.is_translated:
        form = replace(form, supplied=form.supplied - {SYSTEM_FIRST})
    if form == FIRST.form:
        return FIRST
    is_wanted = needs_what_is_held(form.supplied)
    return Revision(form=form, held=await _held(services, call, plan) if is_wanted else NOTHING_HELD)


async def in_another_form(
    services: Services,
    call: ChatCall,
    plan: Plan,
    composed: UpstreamRequest,
    request: web.BaseRequest,
    refused: FormRefusal,
    sent: set[bytes],
) -> UpstreamRequest | None:
    """The request in another form; None if there is none that has not been sent (by digests of bodies)."""
    if refused.demanded == SYSTEM_FIRST and not call.dialect.is_translated:
        refused = replace(refused, demanded=None)
    for form in _candidates(composed.revision.form, refused, _removable(services)):
        revision = replace(composed.revision, form=form)
        if needs_what_is_held(form.supplied) and revision.held is NOTHING_HELD:
            revision = replace(revision, held=await _held(services, call, plan))
        revised = await compose(services, call, plan, request, revision)
        if blake2b(revised.body, digest_size=16).digest() not in sent:
            return revised
    return None


def ended(
    services: Services, call: ChatCall, plan: Plan, composed: UpstreamRequest, first: Form, is_taken: bool
) -> None:
    """No more requests are sent for it: learn from what was taken, if anything was."""
    form, place = composed.revision.form, _place(services, call, plan)
    if form == first:
        is_doubted = is_taken and place is not None and services.background.forms.is_doubted(place)
        if is_doubted and place is not None and services.background.forms.taken(place, _added(composed)):
            services.background.shared_forms.changed()
        return
    about = {"model": call.chat.model, "supplied": sorted(form.supplied), "left_out": list(form.left_out)}
    if not is_taken:
        services.metrics.form_refusals.labels("no").inc()
        log.warning("the upstream refused the form of a request, and no other form was accepted", extra=about)
        return
    services.metrics.form_refusals.labels("as_sent" if form.as_sent else "yes").inc()
    log.info("the upstream refused the form of a request, and accepted another", extra=about)
    if place is not None:
        services.background.forms.learn(place, form)
        services.background.shared_forms.changed()


def _candidates(form: Form, refused: FormRefusal, removable: frozenset[str]) -> Iterator[Form]:
    """The forms that may help, the most telling first."""
    if refused.demanded is not None:
        more = form.supplied | {refused.demanded}
        yield replace(form, supplied=more, without=form.without - more)
        if refused.demanded in REASONING_FIELDS:
            yield replace(form, supplied=more | {EVERY_ANSWER}, without=form.without - more)
    unwanted = refused.unwanted & removable
    if unwanted:
        yield replace(form, supplied=form.supplied - unwanted, without=form.without | unwanted)
    yield Form(as_sent=True, stripped=form.stripped, supplied=form.supplied & {SYSTEM_FIRST})
    of_answers = refused.unwanted & OF_ANSWERS
    if of_answers:
        yield replace(form, stripped=form.stripped | of_answers | OF_LIBRARIES | EMPTY_ALONE)


def _removable(services: Services) -> frozenset[str]:
    """What can stay out of what we add: of messages, and of the request itself."""
    field = services.settings.session.field
    return REMOVABLE | {"id_slot", "cache_prompt", *([field] if field else [])}


def _added(composed: UpstreamRequest) -> list[str]:
    """The fields that may be refused in what we added; nothing if we added nothing."""
    added = [each.raw for each in composed.prompt.sent if getattr(each, "restored", False)]
    return [name for name in REMOVABLE if any(b'"%b"' % name.encode() in raw for raw in added)]


def _place(services: Services, call: ChatCall, plan: Plan) -> Place | None:
    if plan.conversation is None:
        return None
    target = services.there.name if services.there is not None else "default"
    return Place(call.identity.tenant, plan.conversation.id, call.chat.model or "", target)


async def _held(services: Services, call: ChatCall, plan: Plan) -> Held:
    """What is stored on the path of the request, as far as anything of it may be given back."""
    if isinstance(plan, Unrecorded):
        return NOTHING_HELD
    if isinstance(plan, Thin):
        return held(plan.line)
    path: list[Node] = []
    try:
        async with asyncio.timeout(services.settings.timeouts.store):
            for node in _ends(call, plan):
                if all(each.id != node for each in path):
                    path += await services.store.path(plan.conversation.id, node)
    except (StoreUnavailable, TimeoutError) as error:
        services.background.store_health.report("read", error)
        return NOTHING_HELD
    is_named = call.identity.key is not None
    known = held(path, calls_only=not is_named)
    return known if is_named else Held(by_call=known.by_call)


def _ends(call: ChatCall, plan: Whole) -> Iterator[bytes]:
    """The ends of the stored paths that count; without an id only of one that was sent word for word.

    A request under an id may bring calls, or results of calls, that stand behind the place where it goes on.
    """
    is_named = call.identity.key is not None
    if is_named and plan.conversation.tip is not None:
        yield plan.conversation.tip
    if plan.parent is not None and (is_named or plan.parent.hash in call.chat.path.hashes):
        yield plan.parent.id
