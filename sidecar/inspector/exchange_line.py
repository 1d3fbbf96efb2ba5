"""One exchange in a line: what it took, what it cost, what was done to it."""

from __future__ import annotations

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.inspector.shown import told

__all__ = ["ExchangeLine", "line_of"]


class ExchangeLine(msgspec.Struct, frozen=True):
    """The numbers of an exchange. Times in milliseconds from its arrival; `when` in Unix seconds; `cached` in
    percent of `input_tokens`. `member`: which of its target's URLs answered, where that has several."""

    id: str
    when: float
    outcome: str
    model: str
    status: int | None
    error: str
    input_tokens: int | None
    cached_tokens: int | None
    cached: int | None
    output_tokens: int | None
    first_token_ms: int | None
    duration_ms: int | None
    restored: int
    dropped: int
    shortened: int
    recalled: int
    has_summary: bool
    retries: int
    is_degraded: bool
    silent_cut: bool
    client_key: str
    member: str


def line_of(exchange: Exchange) -> ExchangeLine:
    """What is told of it."""
    detail, tokens = exchange.detail, exchange.input_tokens
    cached = detail.cached_tokens
    return ExchangeLine(
        id=exchange.id.hex(),
        when=exchange.when / 1000,
        outcome=told(exchange.outcome),
        model=told(detail.answered_by or exchange.model),
        status=exchange.status,
        error=told(exchange.error),
        input_tokens=tokens,
        cached_tokens=cached,
        cached=round(100 * cached / tokens) if cached is not None and tokens else None,
        output_tokens=exchange.output_tokens,
        first_token_ms=detail.first_token_ms,
        duration_ms=exchange.duration_ms,
        restored=detail.restored,
        dropped=detail.dropped,
        shortened=detail.shortened,
        recalled=detail.recalled,
        has_summary=detail.summary is not None,
        retries=detail.overflow_retries + detail.form_retries,
        is_degraded=detail.degraded,
        silent_cut=detail.silent_cut,
        client_key=told(detail.client_key),
        member=told(detail.member),
    )
