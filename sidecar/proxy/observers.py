"""Who is told of an exchange: the client by headers, the counters, the log, and `sidecar doctor`.

Rules: they read what is known of it (`exchange/outcome.py`) and find nothing out by themselves. The doctor
is told nothing that could not be read aloud; see `doctor/samples.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.reconcile import Outcome
from sidecar.doctor import RequestSample
from sidecar.doctor.samples import CHAT, FILLED
from sidecar.exchange.call import Call, TaskCall
from sidecar.exchange.gen_ai import error_type
from sidecar.exchange.outcome import Progress, Tracked
from sidecar.exchange.plan import Plan, session_of
from sidecar.exchange.prompt import Prompt
from sidecar.logs import EXCHANGES
from sidecar.metrics import Metrics
from sidecar.proxy.services import Services
from sidecar.proxy.tracked import add_ids, fields
from sidecar.settings.openings import COMPACTIONS
from sidecar.upstream.headers import DEGRADED

__all__ = [
    "answered",
    "headers_in_line",
    "observed",
    "passed_by",
    "response_headers",
    "tell",
    "understood",
]

log = logging.getLogger(EXCHANGES)

# Chats that come by another API pass through: who wonders why nothing is kept has to be told.
_UNREAD = ("/responses", "/messages", "/api/chat", "/api/generate", "/completions")
_REFUSED = "refused"  # before it was known what it is


def response_headers(progress: Progress, upstream: Mapping[str, str]) -> dict[str, str]:
    """The headers that tell the client what was done to its request; `upstream`: those of the answer."""
    call, plan, prompt = progress.call, progress.plan, progress.prompt
    assert call is not None
    assert plan is not None
    said = {"X-Sidecar-Outcome": plan.outcome.value}
    name = call.identity.key or session_of(plan)
    if name:
        said["X-Conversation-ID"] = name
    _add_counts(said, prompt, progress.overflow_retries)
    if prompt.supplied:
        said["X-Sidecar-Supplied"] = ", ".join(prompt.supplied)
    if prompt.left_out:
        said["X-Sidecar-Left-Out"] = ", ".join(prompt.left_out)
    if prompt.over:
        said["X-Sidecar-Over-Budget"] = ", ".join(prompt.over)
    if progress.silent_cut:
        said["X-Sidecar-Silent-Cut"] = progress.silent_cut
    if plan.degraded:
        said[DEGRADED] = "store"
    if progress.tracked is not None:
        add_ids(said, progress.tracked, upstream)
    return said


def headers_in_line(progress: Progress, plan: Plan) -> dict[str, str]:
    """Those of an answer that begins while its request is in line: what is done to it is yet to be seen."""
    call = progress.call
    assert call is not None
    name = call.identity.key or session_of(plan)
    said = {"X-Conversation-ID": name} if name else {}
    if progress.tracked is not None:
        add_ids(said, progress.tracked, {})
    return said


def _add_counts(said: dict[str, str], prompt: Prompt, overflow_retries: int) -> None:
    """How many messages are not as the client sent them; of most requests none."""
    if prompt.restored:
        said["X-Sidecar-Restored"] = str(prompt.restored)
    if prompt.dropped:
        said["X-Sidecar-Trimmed"] = str(prompt.dropped)
    if prompt.shortened:
        said["X-Sidecar-Shortened"] = str(prompt.shortened)
    if prompt.recalled:
        said["X-Sidecar-Recalled"] = str(prompt.recalled)
    if prompt.summed:
        said["X-Sidecar-Summary"] = str(prompt.summed)
    if prompt.steps_left_out:
        said["X-Sidecar-Steps-Left-Out"] = str(prompt.steps_left_out)
    if overflow_retries:
        said["X-Sidecar-Healed"] = str(overflow_retries)


def tell(metrics: Metrics, progress: Progress, exchange: Exchange, now: float) -> None:
    """An exchange has ended, at `now`: count it, and log and trace it if that is wanted."""
    detail = exchange.detail
    metrics.outcome(exchange.outcome or _REFUSED).inc()
    metrics.duration[progress.streamed].observe(now - progress.arrived)
    for state in progress.recorded:
        metrics.reply(state).inc()
    if progress.sent:
        metrics.added_latency.observe(progress.sent - progress.received)
        _count_inference(metrics, progress, exchange, now)
    if progress.head:
        metrics.first_byte.observe(progress.head - progress.arrived)
    if detail.first_token_ms is not None:
        metrics.first_token.observe(progress.first - progress.arrived)
    if exchange.input_tokens:
        metrics.prompt_tokens.inc(exchange.input_tokens)
    if exchange.output_tokens:
        metrics.completion_tokens.inc(exchange.output_tokens)
    if detail.cached_tokens:
        metrics.cached_tokens.inc(detail.cached_tokens)
    if detail.restored or detail.dropped:
        _count_changes(metrics, progress.prompt)
    for limit in progress.prompt.over:
        metrics.over_budget.labels(limit).inc()
    if log.isEnabledFor(logging.INFO):
        _log_line(progress, exchange)
    if progress.tracked is not None:
        _end_trace(progress.tracked, progress, exchange, now)


def _end_trace(tracked: Tracked, progress: Progress, exchange: Exchange, now: float) -> None:
    if tracked.trace is not None:
        tracked.trace.end(progress, exchange, now)


def _count_inference(metrics: Metrics, progress: Progress, exchange: Exchange, now: float) -> None:
    """Count it once more, as any client of a model does."""
    told = metrics.inferences(exchange.model, is_known=(exchange.status or 500) < 400)
    told.duration(error_type(exchange)).observe(now - progress.sent)
    if exchange.detail.first_token_ms is not None:
        told.first_chunk.observe(progress.first - progress.sent)
    if exchange.input_tokens is not None:
        told.input_tokens.observe(exchange.input_tokens)
    if exchange.output_tokens is not None:
        told.output_tokens.observe(exchange.output_tokens)
    if exchange.detail.cached_tokens is not None:
        told.cached_tokens.observe(exchange.detail.cached_tokens)


def _count_changes(metrics: Metrics, prompt: Prompt) -> None:
    """Count what of the history was put in, left out, and quoted of that."""
    if prompt.restored:
        metrics.restored.inc(prompt.restored)
    if prompt.dropped:
        metrics.trimmed.inc(prompt.dropped)
    if prompt.recalled:
        metrics.recalls.inc()
        metrics.recalled.inc(prompt.recalled)
        metrics.recalled_tokens.inc(prompt.recalled_tokens)


def _log_line(progress: Progress, exchange: Exchange) -> None:
    """One line: names, ids, numbers; never a word of what was said."""
    detail, tracked = exchange.detail, progress.tracked
    about = {
        **(fields(tracked) if tracked is not None else {}),
        "key": progress.call.identity.client if progress.call is not None else None,
        "outcome": exchange.outcome or _REFUSED,
        "conversation": exchange.conversation or None,
        "exchange": exchange.id.hex() if exchange.conversation else None,
        "model": exchange.model,
        "answered_by": detail.answered_by if detail.answered_by != exchange.model else None,
        "target": detail.target,
        "member": detail.member,
        "status": exchange.status,
        "error": exchange.error,
        "finish": detail.finish,
        "duration_ms": exchange.duration_ms,
        "head_ms": detail.head_ms,
        "first_piece_ms": detail.first_token_ms,
        "input": exchange.input_tokens,
        "output": exchange.output_tokens,
        "cached": detail.cached_tokens,
        "reasoning": detail.reasoning_tokens,
        "estimated": detail.estimated_tokens,
        "restored": detail.restored or None,
        "trimmed": detail.dropped or None,
        "shortened": detail.shortened or None,
        "recalled": detail.recalled or None,
        "summarised": progress.prompt.summed or None,
        "overflow_retries": detail.overflow_retries or None,
        "form_retries": detail.form_retries or None,
        "degraded": detail.degraded or None,
        "silently_cut": detail.silent_cut or None,
        "differs": detail.difference.cause if detail.difference else None,
    }
    log.info("exchange", extra={name: value for name, value in about.items() if value is not None})


def observed(services: Services, request: web.BaseRequest) -> RequestSample:
    """The doctor's sample of a chat request, to be entered: an error that ends it is seen as well."""
    return services.requests.samples.see(CHAT, request.headers)


def understood(services: Services, sample: RequestSample, call: Call) -> None:
    """The request has been read."""
    chat, identity = call.chat, call.identity
    sample.kind = identity.kind.value
    sample.mode = call.mode
    sample.tenant = hash(identity.tenant)
    sample.has_key = identity.client is not None
    sample.conversation = hash(call.conversation_id) if call.conversation_id else 0
    sample.named = chat.behind is not None or chat.conversation is not None
    sample.single = len(chat.path.messages) == 1 and not chat.tools and not chat.prefill
    if isinstance(call, TaskCall):
        mark = sample.states.get(services.settings.tasks.header.lower())
        sample.task = "header" if mark == FILLED else "opening"
        sample.compacts = call.dialect.is_task(None, chat, COMPACTIONS)


def answered(sample: RequestSample, progress: Progress) -> None:
    """The upstream has begun to answer."""
    plan = progress.plan
    assert plan is not None
    sample.outcome = plan.outcome.value
    sample.status = progress.status or 0
    sample.degraded = plan.degraded
    sample.is_cut = progress.prompt.dropped > 0
    sample.budget = progress.prompt.budget or 0
    sample.system_tokens, sample.tools_tokens = progress.prompt.around
    if progress.difference is not None and progress.difference.cause not in ("unknown", "model", "tools"):
        sample.compared, sample.other_system = True, progress.difference.cause == "system"
    sample.supplied, sample.left_out = progress.prompt.supplied, progress.prompt.left_out
    if plan.conversation is not None:
        sample.joined = plan.outcome is Outcome.UNANCHORED and plan.parent is not None
        sample.conversation = hash(plan.conversation.id)


def passed_by(services: Services, request: web.BaseRequest) -> None:
    """A request that is not read: chats by another API are remembered, and lists of models counted."""
    if request.method == "POST":
        for end in _UNREAD:
            if request.path.endswith(end):
                services.requests.samples.see(end, request.headers)
                return
    elif request.path.endswith("/models"):
        services.requests.samples.models_listed += 1
