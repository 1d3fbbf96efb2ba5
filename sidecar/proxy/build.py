"""The request as it goes upstream: rebuilt, trimmed, with the session id. Untouched where nothing differs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict

from sidecar.background.large_work import is_large
from sidecar.conversation.exchange_record import Sent
from sidecar.conversation.identity import Kind
from sidecar.conversation.message import encode
from sidecar.exchange.call import ChatCall, UnrecordedCall
from sidecar.exchange.plan import Plan, Thin, Unrecorded, own_path, session_of
from sidecar.exchange.prompt import AS_IT_CAME, Prompt, heads, names_of, sent_of, steps_left_out
from sidecar.prompt.fit import Fitted, Full, Weighing, around, fit, surely_fits
from sidecar.prompt.form import AS_USUAL, SYSTEM_FIRST, Form
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.recall import Recalled
from sidecar.prompt.supply import system_first
from sidecar.prompt.trim import Budget, Trimmed
from sidecar.proxy.budget import budget_of
from sidecar.proxy.line import line_of, may_restore, reader_of, system_of, with_nothing_added, with_supplied
from sidecar.proxy.recall import recall, room_for_recall
from sidecar.proxy.services import Services
from sidecar.proxy.session import add_session, rename, renamed
from sidecar.proxy.summary import Summed, is_wanted, room_for_summary, summed_up
from sidecar.proxy.upstream_request import FIRST, Revision, UpstreamRequest, addressed
from sidecar.upstream.content_encoding import READABLE
from sidecar.upstream.headers import to_upstream
from sidecar.upstream.pool import Member

__all__ = ["as_it_came", "compose"]


def as_it_came(services: Services, call: UnrecordedCall, request: web.BaseRequest) -> UpstreamRequest:
    """What goes upstream of a request in which nothing is to be changed."""
    headers = to_upstream(request.headers, without=services.requests.kept_back_of_chats)
    rename(services, request, headers, call.conversation_id)
    return UpstreamRequest(renamed(services, call.chat, call.conversation_id), headers, Prompt())


async def compose(
    services: Services, call: ChatCall, plan: Plan, request: web.BaseRequest, revision: Revision = FIRST
) -> UpstreamRequest:
    """Put together what goes upstream."""
    headers = to_upstream(request.headers, without=services.requests.kept_back_of_chats)
    _readable_only(headers)
    form = revision.form
    if form.as_sent:
        plan = with_nothing_added(plan)
    budget = budget_of(services, call, revision.ceiling)
    session = session_of(plan) or call.conversation_id
    hint = session if call.identity.kind is Kind.CHAT else None
    do = services.background.large_work.do
    extra = _wanted(add_session(services, call, request, headers, session), form)
    member = revision.member
    if member is not None and session is not None and "id_slot" in extra:
        extra["id_slot"] = encode(member.slots.of(session))
    if not (may_restore(plan) or form.supplied or form.stripped) and _surely_fits(
        services, call, plan, budget
    ):
        # Most requests: nothing can be restored or cut, so nobody looks at what may be hundreds of messages.
        body, prompt = (
            await do("build", partial(_as_it_came, services, call, plan, budget, form, extra, session))
            if call.chat.is_large
            else _as_it_came(services, call, plan, budget, form, extra, session)
        )
        made = UpstreamRequest(body, headers, prompt, revision=revision, session=hint)
        return made if member is None else await _for(services, made, call, member)
    large = is_large(call, plan)
    cutting = partial(_cut, services, call, plan, budget, revision)
    cut = await do("build", cutting) if large else cutting()
    summed = await summed_up(services, call, plan, cut.full.line, cut.fitted.trimmed, cut.full.system)
    again = await recall(services, call, plan, cut.full, budget, cut.fitted)
    building = partial(_put_together, services, call, plan, cut, summed, again, extra, session, revision)
    body, prompt = await do("build", building) if large else building()
    made = UpstreamRequest(
        body,
        headers,
        prompt,
        missing=summed.missing,
        weights=cut.fitted.kept,
        revision=revision,
        session=hint,
    )
    return made if member is None else await _for(services, made, call, member)


async def _for(
    services: Services, composed: UpstreamRequest, call: ChatCall, member: Member
) -> UpstreamRequest:
    if call.chat.is_large and member.pool.renames:
        return await services.background.large_work.do(
            "build", partial(addressed, composed, call.chat, member, call.chat.model)
        )
    return addressed(composed, call.chat, member, call.chat.model)


class _Cut(msgspec.Struct, frozen=True):
    """The prompt before and after it was cut. `budget`: the tokens that it may have; where there are any, all
    of its messages have been measured."""

    full: Full
    fitted: Fitted
    budget: int | None

    @property
    def around(self) -> tuple[int, int]:
        """The tokens of the system prompt and of the tools, by that estimate; none where none are counted."""
        full = self.full
        return around(full.system, full.tools, self.fitted.weights) if self.budget is not None else (0, 0)

    @property
    def saved(self) -> int:
        """The tokens of what was left out, by the estimate that it was cut by."""
        trimmed, weights = self.fitted.trimmed, self.fitted.weights
        if self.budget is None or not trimmed.dropped:
            return 0
        return sum(each.tokens(weights) for each in self.full.line[: trimmed.first]) - sum(
            each.tokens(weights) for each in trimmed.kept[: trimmed.first - trimmed.dropped]
        )


def _cut(services: Services, call: ChatCall, plan: Plan, budget: Budget, revision: Revision) -> _Cut:
    full = Full(
        line_of(services, plan, call, revision),
        system_of(plan, call),
        call.chat.tools,
        summary=room_for_summary(services, call, budget),
        recall=0 if revision.form.as_sent else room_for_recall(services, budget),
    )
    weights = services.background.calibration.weights(call.chat.model)
    kept = plan.conversation.weights if plan.conversation else None
    weighing = Weighing(weights, reader_of(services, call), kept, fresh=revision.ceiling is not None)
    return _Cut(full, fit(full, budget, weighing), budget.max_input_tokens)


def _put_together(
    services: Services,
    call: ChatCall,
    plan: Plan,
    cut: _Cut,
    summed: Summed,
    again: Recalled | None,
    extra: dict[str, bytes],
    session: str | None,
    revision: Revision,
) -> tuple[bytes, Prompt]:
    """The body, and what is in it."""
    trimmed, form = cut.fitted.trimmed, revision.form
    # Shortened messages may have lost what was supplied.
    left = trimmed.kept if again is None else again.within(trimmed.kept)
    told = with_supplied(services, left, call, revision)
    sent = (*summed.system, *(system_first(told) if SYSTEM_FIRST in form.supplied else told))
    restored = sum(each.restored for each in sent)
    if restored or trimmed.dropped or trimmed.shortened:
        body = call.chat.with_messages([each.raw for each in sent], extra=extra)
    else:
        body = _with(call, extra)
    return renamed(services, call.chat, session, body), replace(
        _prompt(services, call, plan),
        sent=sent,
        leading=len(summed.system),
        restored=restored,
        dropped=trimmed.dropped,
        shortened=trimmed.shortened,
        recalled=len(again.messages) if again else 0,
        recalled_tokens=again.tokens if again else 0,
        summed=summed.messages,
        summary=summed.hash,
        over=trimmed.over,
        form=_form(call, plan, cut.full.line, trimmed),
        is_measured=cut.budget is not None,
        budget=cut.budget,
        saved=cut.saved,
        around=cut.around,
        quoted=_quoted(call, plan, cut.full.line, again),
        recall_score=round(again.score, 1) if again else 0.0,
        quoted_at=len(summed.system) + again.place if again else None,
        supplied=tuple(sorted(form.supplied)),
        left_out=form.left_out,
        system_put_in=_system_put_in(call, plan, cut.full),
        steps_left_out=_steps_left_out(call, plan, cut.full),
    )


def _system_put_in(call: ChatCall, plan: Plan, full: Full) -> bytes | None:
    """The hash of the leading system messages, where they are not the client's."""
    if isinstance(plan, Unrecorded) or plan.system is None or not any(each.restored for each in full.system):
        return None
    return call.chain.hash(None, plan.system)


def _steps_left_out(call: ChatCall, plan: Plan, full: Full) -> int:
    """Of what its client cannot know: a request without tools gets no steps of earlier turns."""
    return steps_left_out(full.line, plan.line) if isinstance(plan, Thin) and not call.chat.tools else 0


def _prompt(services: Services, call: ChatCall, plan: Plan) -> Prompt:
    """What is told of a prompt whatever is in it; no hashes where nothing is kept."""
    if plan.conversation is None:
        return Prompt(reader_of(services, call))
    before = services.requests.cache.prompt(plan.conversation.id)
    chat = call.chat
    return Prompt(
        reader_of(services, call),
        heads=heads(call.chain, chat.system, chat.tools, before.heads if before else None),
    )


def _as_it_came(
    services: Services,
    call: ChatCall,
    plan: Plan,
    budget: Budget,
    form: Form,
    extra: dict[str, bytes],
    session: str | None,
) -> tuple[bytes, Prompt]:
    """The body, and what is in it, where nothing of the store is."""
    chat = call.chat
    limit = budget.max_input_tokens
    taken = (0, 0)
    if limit is not None:
        taken = around(chat.system, chat.tools, services.background.calibration.weights(chat.model))
    return renamed(services, chat, session, _with(call, extra)), replace(
        _prompt(services, call, plan),
        sent=chat.sent,
        leading=len(chat.system),
        form=AS_IT_CAME if plan.conversation else None,
        is_measured=not budget.unlimited,
        budget=limit,
        around=taken,
        left_out=form.left_out if form is not AS_USUAL else (),
    )


def _form(call: ChatCall, plan: Plan, line: Sequence[Outgoing], trimmed: Trimmed) -> Sent | None:
    """Which stored messages go, and in which form; None where nothing is kept."""
    if plan.conversation is None:
        return None
    before = plan.line if isinstance(plan, Thin) else None
    return sent_of(line, trimmed, call.chain, own_path(plan, call.chat.path), before)


def _quoted(
    call: ChatCall, plan: Plan, line: Sequence[Outgoing], again: Recalled | None
) -> tuple[bytes, ...]:
    """The messages of which something stands again; none where nothing is kept."""
    if again is None or plan.conversation is None:
        return ()
    before = plan.line if isinstance(plan, Thin) else None
    return names_of(line, again.messages, call.chain, own_path(plan, call.chat.path), before)


def _surely_fits(services: Services, call: ChatCall, plan: Plan, budget: Budget) -> bool:
    """Can it be told without looking at each message that nothing is cut? False proves nothing."""
    if budget.unlimited:
        return True
    if (plan.conversation and plan.conversation.weights) or is_wanted(services, call):
        return False  # once cut, a chat is cut by the weights that it keeps
    return surely_fits(
        call.chat.measure, call.chat.tools, budget, services.background.calibration.weights(call.chat.model)
    )


def _with(call: ChatCall, extra: dict[str, bytes]) -> bytes:
    return call.chat.with_fields(extra) if extra else call.chat.body


def _wanted(extra: dict[str, bytes], form: Form) -> dict[str, bytes]:
    if form is AS_USUAL or not extra:
        return extra
    return {} if form.as_sent else {name: extra[name] for name in extra if name not in form.without}


def _readable_only(headers: CIMultiDict[str]) -> None:
    """Offer the upstream only codings that can be read on the way, so that its reply can be recorded."""
    offered = headers.get("Accept-Encoding")
    if offered:
        kept = [each for each in offered.split(",") if each.split(";")[0].strip().lower() in READABLE]
        headers["Accept-Encoding"] = ",".join(kept).strip() or "identity"
