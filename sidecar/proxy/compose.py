"""The request as it goes upstream: rebuilt, trimmed, with the session id. Untouched where nothing differs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict

from sidecar.conversation.rebuild import Outgoing, rebuilt, remembered
from sidecar.conversation.records import Sent
from sidecar.conversation.steady import Steady, steady
from sidecar.conversation.tokens import Weights, measure_of_tools
from sidecar.conversation.trim import Budget, Trimmed
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan
from sidecar.exchange.prompt import AS_IT_CAME, Prompt, heads, sent_of
from sidecar.proxy.budget import budget_of
from sidecar.proxy.context import Context
from sidecar.proxy.session import add_session, rename, renamed
from sidecar.proxy.summary import Missing, is_wanted, summed_up, trimmed_with_room
from sidecar.proxy.tasks import task
from sidecar.upstream.content_encoding import READABLE
from sidecar.upstream.headers import NOT_AS_IT_CAME, to_upstream
from sidecar.upstream.target import Target

__all__ = ["Composed", "compose"]


class Composed(msgspec.Struct, frozen=True):
    """Body and headers for the upstream, and what is in them."""

    body: bytes
    headers: CIMultiDict[str]
    prompt: Prompt
    #: How often the upstream found it too long before.
    healed: int = 0
    #: Where it goes, if not to the default target.
    target: Target | None = None
    #: What has yet to be summed up.
    missing: Missing | None = None
    #: What the conversation is to keep of the weights that it was cut by, if it has not got it yet.
    weights: bytes | None = None


async def compose(
    context: Context, asked: ChatCall, plan: Plan, request: web.BaseRequest, ceiling: int | None = None
) -> Composed:
    """Put together what goes upstream.

    `ceiling` is what it may hold at most, in tokens as they are estimated by the weights of the day.
    """
    if asked.is_task:
        return _task(context, asked, request)
    headers = to_upstream(request.headers, without=NOT_AS_IT_CAME | context.kept_back)
    if asked.mode == "off":
        rename(context, request, headers, asked.conversation_id)
        return Composed(renamed(context, asked.chat, asked.conversation_id), headers, Prompt())
    _readable_only(headers)
    budget = budget_of(context, asked, ceiling)
    session = plan.conversation.id if plan.conversation else asked.conversation_id
    extra = add_session(context, asked, request, headers, session)
    as_it_came = not plan.steps and plan.line is None and plan.system is None
    if as_it_came and (budget.unlimited or _surely_fits(context, asked, plan, budget)):
        # Most requests: nothing can be restored or cut, so nobody looks at what may be hundreds of messages.
        body = renamed(context, asked.chat, session, _with(asked, extra))
        return Composed(body, headers, _as_it_came(context, asked, plan, budget))
    system, line = _system(plan, asked), _line(context, plan, asked)
    steadied = _cut(context, asked, plan, system, line, budget, fresh=ceiling is not None)
    trimmed = steadied.trimmed
    summed = await summed_up(context, asked, plan, line, trimmed, system)
    sent = (*summed.system, *trimmed.kept)
    restored = sum(each.restored for each in sent)
    if restored or trimmed.dropped or trimmed.shortened:
        body = asked.chat.with_messages([each.raw for each in sent], extra=extra)
    else:
        body = _with(asked, extra)
    return Composed(
        renamed(context, asked.chat, session, body),
        headers,
        replace(
            _prompt(context, asked, plan),
            sent=sent,
            leading=len(summed.system),
            restored=restored,
            dropped=trimmed.dropped,
            shortened=trimmed.shortened,
            summed=summed.messages,
            summary=summed.hash,
            over=trimmed.over,
            form=_form(asked, plan, line, trimmed),
            is_measured=budget.max_input_tokens is not None,
        ),
        missing=summed.missing,
        weights=steadied.kept,
    )


def _prompt(context: Context, asked: ChatCall, plan: Plan) -> Prompt:
    """What is told of a prompt whatever is in it; no hashes where nothing is kept."""
    if plan.conversation is None:
        return Prompt(asked.chat.model)
    before = context.recent.prompt(plan.conversation.id)
    chat = asked.chat
    return Prompt(
        chat.model, heads=heads(asked.chain, chat.system, chat.tools, before.heads if before else None)
    )


def _as_it_came(context: Context, asked: ChatCall, plan: Plan, budget: Budget) -> Prompt:
    chat, form = asked.chat, AS_IT_CAME if plan.conversation else None
    return replace(
        _prompt(context, asked, plan),
        sent=chat.sent,
        leading=len(chat.system),
        form=form,
        is_measured=not budget.unlimited,
    )


def _form(asked: ChatCall, plan: Plan, line: Sequence[Outgoing], trimmed: Trimmed) -> Sent | None:
    """Which stored messages go, and in which form; None where nothing is kept."""
    if plan.conversation is None:
        return None
    return sent_of(line, trimmed, asked.chain, asked.chat.path, plan.line)


def _task(context: Context, asked: ChatCall, request: web.BaseRequest) -> Composed:
    made = task(context, asked, request)
    return Composed(made.body, made.headers, Prompt(shortened=int(made.is_shorter)), target=made.target)


def _surely_fits(context: Context, asked: ChatCall, plan: Plan, budget: Budget) -> bool:
    """Can it be told without looking at each message that nothing is cut? False proves nothing."""
    if budget.max_messages is not None or budget.max_turns is not None or is_wanted(context, asked):
        return False
    if budget.max_input_tokens is None or (plan.conversation and plan.conversation.weights):
        return False  # once cut, a chat is cut by the weights that it keeps
    chat, weights = asked.chat, context.learned.weights(asked.chat.model)
    tools = weights.tokens(measure_of_tools(chat.tools)) if chat.tools else 0
    return weights.most(chat.measure) + tools <= budget.max_input_tokens


def _cut(
    context: Context,
    asked: ChatCall,
    plan: Plan,
    system: Sequence[Outgoing],
    line: Sequence[Outgoing],
    budget: Budget,
    *,
    fresh: bool,
) -> Steady:
    """The line cut to its budget; by weights that change only with a step, unless it is to be `fresh`."""

    def cut(line: Sequence[Outgoing], weights: Weights) -> Trimmed:
        return trimmed_with_room(context, asked, budget, system, line, weights)

    weights = context.learned.weights(asked.chat.model)
    if budget.max_input_tokens is None:
        return Steady(cut(line, weights))
    kept = plan.conversation.weights if plan.conversation else None
    return steady(cut, line, weights, asked.chat.model, kept, fresh=fresh)


def _with(asked: ChatCall, extra: dict[str, bytes]) -> bytes:
    return asked.chat.with_fields(extra) if extra else asked.chat.body


def _system(plan: Plan, asked: ChatCall) -> list[Outgoing]:
    """The leading system messages: the client's, or the conversation's own where those stand in for them."""
    own = [Outgoing(each.role, each.raw) for each in asked.chat.system]
    if plan.system is None:
        return own
    stored = [bytes(raw) for raw in msgspec.json.decode(plan.system, type=list[msgspec.Raw])]
    if stored == [each.raw for each in own]:
        return own
    return [Outgoing("system", raw, restored=True) for raw in stored]


def _line(context: Context, plan: Plan, asked: ChatCall) -> list[Outgoing]:
    """Everything after the leading system messages."""
    chat, rules = asked.chat, context.restore
    sent = (*chat.path.messages, chat.prefill) if chat.prefill else chat.path.messages
    if plan.line is not None:
        return remembered(plan.line, sent, rules, chat.model)
    return rebuilt(sent, plan.steps, rules, asked.chain, chat.model)


def _readable_only(headers: CIMultiDict[str]) -> None:
    """Offer the upstream only codings that can be read on the way, so that its reply can be recorded."""
    offered = headers.get("Accept-Encoding")
    if offered:
        kept = [each for each in offered.split(",") if each.split(";")[0].strip().lower() in READABLE]
        headers["Accept-Encoding"] = ",".join(kept).strip() or "identity"
