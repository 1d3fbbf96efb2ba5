"""What happened in the exchanges of a chat that somebody may want to look at: how often, in a word each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from sidecar.conversation.records import Exchange

__all__ = ["RECENT", "SLOW", "Mark", "is_cut", "is_degraded", "is_slow", "is_trimmed", "marks_of"]

#: So many of the newest exchanges of a chat are looked at for a list.
RECENT = 30
#: Milliseconds until its first piece, or its end where no such is known, from which on an exchange is slow.
SLOW = 10_000


class Mark(msgspec.Struct, frozen=True):
    """`name`: what happened, `times`: in how many exchanges; `is_bad`: it should not have."""

    name: str
    times: int
    is_bad: bool


def is_trimmed(exchange: Exchange) -> bool:
    """Was something left out, or made shorter?"""
    return exchange.detail.dropped > 0 or exchange.detail.shortened > 0


def is_cut(exchange: Exchange) -> bool:
    """Did the upstream seem to cut the prompt without a word?"""
    return exchange.detail.silent_cut


def is_degraded(exchange: Exchange) -> bool:
    """Did the store fail?"""
    return exchange.detail.degraded


def is_slow(exchange: Exchange) -> bool:
    """Did it take long to its first piece?"""
    first, end = exchange.detail.first_token_ms, exchange.duration_ms
    return (first if first is not None else end or 0) >= SLOW


def _is_sent_again(exchange: Exchange) -> bool:
    return exchange.detail.overflow_retries + exchange.detail.form_retries > 0


def _is_hung_up(exchange: Exchange) -> bool:
    return exchange.error == "client_left"


_RULES: tuple[tuple[str, bool, Callable[[Exchange], bool]], ...] = (
    ("cut by the upstream?", True, is_cut),
    ("store failed", True, is_degraded),
    ("trimmed", False, is_trimmed),
    ("summary", False, lambda exchange: exchange.detail.summary is not None),
    ("sent again", False, _is_sent_again),
    ("slow", False, is_slow),
    ("the client hung up", False, _is_hung_up),
)


def marks_of(exchanges: Iterable[Exchange]) -> tuple[Mark, ...]:
    """Of these exchanges, the gravest first; those that none has are left out."""
    looked = list(exchanges)
    counted = [(name, sum(map(rule, looked)), is_bad) for name, is_bad, rule in _RULES]
    return tuple(Mark(*each) for each in counted if each[1])
