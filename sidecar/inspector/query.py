"""What is looked for: words, and what has to be true of a conversation beside them.

Rule: what is asked for and not understood is said, and never taken for a word.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.overview import Overview
from sidecar.inspector.marks import RULES, STORE
from sidecar.inspector.noticed import noted

__all__ = ["FILTERS", "Query", "asks_for_failures", "holds", "is_said", "of_exchanges", "passes", "query_of"]

#: As a person types them.
FILTERS = "has:error, has:trim, has:slow …, model:NAME, since:7d, since:2026-11-01, user:TENANT, key:ID"
_OF_EXCHANGES = frozenset(each.word for each in RULES)
#: What has to be true of an exchange, and of what is noticed of it.
Holds = Callable[[Exchange, tuple[str, ...]], bool]
_NAMES = frozenset(("has", "model", "since", "user", "tenant", "key"))
_AGO = re.compile(r"(\d{1,6})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TENANT = re.compile(r"[0-9a-f]{4,32}")
#: A phrase in quotes, as people and their keyboards type them, or a word.
_WORD = re.compile(r'"([^"]+)"|[“„]([^“”„]+)[”“]|\S+')
_QUOTES = '"“”„'
_KEY = re.compile(r"[0-9a-z]{4,32}")


class Query(msgspec.Struct, frozen=True):
    """All of `words` (in one message, an id, or a key; some in quotes, with the spaces between them), and of
    `filters`, such as `has:error`; used after `since` (Unix seconds)."""

    words: tuple[str, ...]
    filters: tuple[str, ...]
    unknown: tuple[str, ...]
    since: float | None = None

    @property
    def phrases(self) -> tuple[str, ...]:
        """Those of the words that are more than one."""
        return tuple(each for each in self.words if " " in each)


def is_said(words: Iterable[str], text: str) -> bool:
    """Does all of it stand in this text, whatever the white space between the words of a phrase?"""
    folded = text.casefold()
    if all(word in folded for word in words):
        return True
    plain = " ".join(folded.split())
    return all(word in (plain if " " in word else folded) for word in words)


def query_of(text: str, now: float | None = None) -> Query:
    """What is looked for; `now`: in Unix seconds."""
    words, filters, unknown = [], [], []
    since: float | None = None
    for found in _WORD.finditer(text[:500].casefold()):
        quoted = next(filter(None, found.groups()), "")
        word = " ".join(quoted.split()) or found[0].strip(_QUOTES)
        name, colon, value = word.partition(":")
        if not word:
            continue
        if quoted or not colon or name not in _NAMES:
            words.append(word)
        elif name == "since" and (at := _moment(value, time.time() if now is None else now)) is not None:
            since = at if since is None else max(at, since)
        elif (
            (name == "has" and value in ("error", "branch", *_OF_EXCHANGES))
            or (name == "model" and value)
            or (name in ("user", "tenant") and _TENANT.fullmatch(value))
            or (name == "key" and _KEY.fullmatch(value))
        ):
            filters.append(word)
        else:
            unknown.append(word)
    return Query(tuple(words), tuple(filters), tuple(unknown), since)


def _moment(text: str, now: float) -> float | None:
    """`7d` ago, or the beginning of a day, a month or a year, in UTC."""
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    for form in ("%Y-%m-%d", "%Y-%m", "%Y"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def passes(query: Query, each: Overview, *, is_refused: bool = False) -> bool:
    """Is all true of it that its overview tells? `is_refused`: one of its requests was, and is not kept."""
    for rule in query.filters:
        name, _, value = rule.partition(":")
        if rule == "has:error" and not (each.errors or is_refused):
            return False
        if rule == "has:branch" and each.branches < 2:
            return False
        if name in ("user", "tenant") and not each.tenant.hex().startswith(value):
            return False
    return True


def asks_for_failures(query: Query) -> bool:
    """Does it look for what did not end well, or for what the store lost?"""
    return not {"has:error", f"has:{STORE}"}.isdisjoint(query.filters)


def of_exchanges(query: Query, *, is_lost: bool = False) -> list[Holds]:
    """What has to be true of one of its exchanges each. `is_lost`: the store is known to have failed for one
    that is not kept."""
    rules: list[Holds] = []
    for rule in query.filters:
        name, _, word = rule.partition(":")
        if name == "has" and word in _OF_EXCHANGES and not (word == STORE and is_lost):
            rules.append(_is_marked(word))
        elif rule.startswith("model:"):
            rules.append(_is_by(rule.removeprefix("model:")))
        elif name == "key":
            rules.append(_is_with_key(word))
    return rules


def holds(rules: Iterable[Holds], exchanges: Iterable[Exchange]) -> list[int]:
    """Which of these rules (their places) one of these exchanges (the newest first) fulfils."""
    asked = noted(exchanges)
    return [at for at, rule in enumerate(rules) if any(rule(*each) for each in asked)]


def _is_marked(word: str) -> Holds:
    rules = [each.holds for each in RULES if each.word == word]
    return lambda exchange, notes: any(rule(exchange, notes) for rule in rules)


def _is_by(name: str) -> Holds:
    def is_by(exchange: Exchange, _notes: tuple[str, ...]) -> bool:
        names = (exchange.model, exchange.detail.answered_by)
        return any(name in each.casefold() for each in names if each)

    return is_by


def _is_with_key(id: str) -> Holds:
    return lambda exchange, _notes: (exchange.detail.client_key or "").startswith(id)
