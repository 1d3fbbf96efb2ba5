"""An exchange in the words of OpenTelemetry's conventions for generative AI: the one place that knows them.

Source: `semantic-conventions-genai`, state *development*, as of 2026-11. The metrics have the names that the
dashboards of 2026 look for (`gen_ai.client.operation.duration`, `gen_ai.client.token.usage`), as Prometheus
spells them, and not yet the newer ones (`gen_ai.client.inference.*`).

Rules: whatever stands in a label has few values. So errors are statuses or words of our own, never an
upstream's code. And a span holds names, ids and numbers, never a word of what was said.
"""

from __future__ import annotations

from typing import Any

from sidecar.conversation.exchange_record import Exchange
from sidecar.exchange.outcome import (
    CLIENT_LEFT,
    CONTENT_FILTER,
    NO_REPLY,
    UNREAD,
    UPSTREAM_BROKE_OFF,
    Progress,
)

__all__ = [
    "DURATIONS",
    "FIRST_CHUNKS",
    "OPERATION",
    "OTHER",
    "PROVIDER",
    "TOKENS",
    "error_type",
    "of_inference",
    "of_request",
    "span_name",
]

OPERATION, PROVIDER = "chat", "openai"  # as everything is that speaks OpenAI's API
#: In the place of a name that is none of the few.
OTHER = "_OTHER"
#: Upper bounds that the conventions want: seconds of a request, until the first chunk, and numbers of tokens.
DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_CHUNKS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = tuple(float(4**power) for power in range(14))

_STATUSES = frozenset((400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529))
_ENDS = frozenset((CLIENT_LEFT, UPSTREAM_BROKE_OFF, NO_REPLY, CONTENT_FILTER, UNREAD))


def error_type(exchange: Exchange) -> str:
    """Why it failed, in one of some two dozen words; empty if it did not."""
    status, error = exchange.status, exchange.error
    if status is not None and status >= 400:
        return str(status) if status in _STATUSES else OTHER
    if error is None:
        return ""
    return error if error in _ENDS else OTHER


def span_name(exchange: Exchange) -> str:
    """The name of the span of an exchange with its upstream."""
    return f"{OPERATION} {exchange.model}" if exchange.model else OPERATION


def of_inference(progress: Progress, exchange: Exchange, *, names_chat: bool) -> dict[str, Any]:
    """What a span says of an exchange with its upstream.

    `names_chat`: may the conversation's id stand there? The conventions want none that is a hash of content.
    """
    detail, prompt = exchange.detail, progress.prompt
    chat = progress.call.chat if progress.call is not None else None
    conversation = exchange.conversation if names_chat else ""
    compacted = bool(detail.dropped or detail.shortened or prompt.summed)
    told: dict[str, Any] = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": exchange.model,
        "gen_ai.request.stream": progress.streamed or None,
        "gen_ai.request.max_tokens": chat.max_tokens if chat is not None else None,
        "gen_ai.request.choice.count": chat.choices if chat is not None and chat.choices != 1 else None,
        "gen_ai.conversation.id": conversation or None,
        "session.id": conversation or None,  # as OpenInference and Langfuse call it
        "gen_ai.conversation.compacted": compacted or None,  # never false: then it is left out
        "gen_ai.response.model": detail.answered_by,
        "gen_ai.response.finish_reasons": (detail.finish,) if detail.finish else None,
        "gen_ai.response.time_to_first_chunk": progress.first - progress.sent
        if progress.first and progress.streamed
        else None,
        "gen_ai.usage.input_tokens": exchange.input_tokens,
        "gen_ai.usage.output_tokens": exchange.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": detail.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": detail.reasoning_tokens,
        "error.type": error_type(exchange) or None,
    }
    return _known(told)


def of_request(progress: Progress, exchange: Exchange) -> dict[str, Any]:
    """What a span says of a request to the sidecar: of HTTP, and what was done to it."""
    detail, prompt = exchange.detail, progress.prompt
    is_failure = exchange.status is not None and exchange.status >= 500
    told: dict[str, Any] = {
        "http.response.status_code": exchange.status,
        "error.type": str(exchange.status) if is_failure else None,
        "sidecar.request.id": progress.tracked.request_id if progress.tracked is not None else None,
        "sidecar.outcome": exchange.outcome or None,
        "sidecar.target": detail.target,
        "sidecar.target.member": detail.member,
        "sidecar.error": exchange.error,
        "sidecar.restored": detail.restored or None,
        "sidecar.trimmed": detail.dropped or None,
        "sidecar.shortened": detail.shortened or None,
        "sidecar.recalled": detail.recalled or None,
        "sidecar.summarised": prompt.summed or None,
        "sidecar.retries.overflow": detail.overflow_retries or None,
        "sidecar.retries.form": detail.form_retries or None,
        "sidecar.degraded": detail.degraded or None,
        "sidecar.silently_cut": detail.silent_cut or None,
        "sidecar.differs": detail.difference.cause if detail.difference is not None else None,
        "sidecar.estimated_tokens": detail.estimated_tokens,
    }
    return _known(told)


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}
