"""What happened in the exchanges of a chat that somebody may want to look at: how often, in a word each.

Rule: what a list marks, the search finds by a word of its own, and the legend of both explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.inspector.noticed import noted

__all__ = ["LEGEND", "RECENT", "RULES", "SLOW", "STORE", "Mark", "Rule", "marks_of", "marks_under"]

#: So many of the newest exchanges of a chat are looked at for a list.
RECENT = 30
#: Milliseconds until its first piece, or its end where no such is known, from which on an exchange is slow.
SLOW = 10_000
#: By which those are found of which the store lost something.
STORE = "store"
#: What the line of an exchange tells by itself, with numbers.
_IN_LINE = frozenset(("cut", STORE, "trim", "summary", "again", "left"))

_Holds = Callable[[Exchange, tuple[str, ...]], bool]


class Mark(msgspec.Struct, frozen=True):
    """`name`: what happened, `times`: in how many exchanges; `is_bad`: it should not have."""

    name: str
    times: int
    is_bad: bool


class Rule(msgspec.Struct, frozen=True):
    """`word`: by which it is looked for (`has:word`); `name`: of the mark; `is_bad`: as there; `holds`: of an
    exchange, and what `noticed` tells of it; `meaning`: for the legend."""

    word: str
    name: str
    is_bad: bool
    holds: _Holds
    meaning: str


def _is_slow(now: Exchange, _notes: tuple[str, ...]) -> bool:
    first, end = now.detail.first_token_ms, now.duration_ms
    return (first if first is not None else end or 0) >= SLOW


def _is_edited(now: Exchange, _notes: tuple[str, ...]) -> bool:
    difference = now.detail.difference
    is_other = difference is not None and difference.cause == "edited"
    # Who sends only what is new has changed nothing: what the prompt before went on with is not stored.
    is_by_client = now.detail.brought is None and now.outcome != "append"
    return now.outcome == "branch" or (is_other and is_by_client)


def _is_noticed(note: str) -> _Holds:
    return lambda _now, notes: note in notes


def _of_tools(note: str) -> Rule:
    return Rule(
        "tools", note, False, _is_noticed(note), "than in the exchange before; a prefix cache begins anew"
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "cut",
        "cut by the upstream?",
        True,
        lambda now, _: now.detail.silent_cut,
        "it counted fewer tokens than were sent: it seems to drop the beginning of long prompts silently",
    ),
    Rule(
        STORE,
        "store failed",
        True,
        lambda now, _: now.detail.degraded,
        "what is stored could not be read, so that the request went as it came, or was refused; or an answer"
        " could not be kept",
    ),
    Rule(
        "compact",
        "history cut by the client",
        False,
        lambda now, _: now.detail.brought is not None or now.outcome == "unanchored",
        "the client left the beginning of its history out, or put a summary of its own in its place",
    ),
    Rule(
        "trim",
        "trimmed",
        False,
        lambda now, _: now.detail.dropped > 0 or now.detail.shortened > 0,
        "messages were left out of the prompt, or made shorter, to fit",
    ),
    Rule(
        "summary",
        "summary",
        False,
        lambda now, _: now.detail.summary is not None,
        "a summary by the sidecar stood for what was left out",
    ),
    Rule(
        "edit",
        "edited, or another branch",
        False,
        _is_edited,
        "the client changed a message, or went back to an earlier one, and went on from there",
    ),
    Rule(
        "system",
        "another system prompt",
        False,
        _is_noticed("another system prompt"),
        "than in the exchange before: a prefix cache begins anew",
    ),
    Rule(
        "model",
        "another model",
        False,
        _is_noticed("another model"),
        "than in the exchange before: its cache begins anew",
    ),
    *map(_of_tools, ("no tools any more", "tools came", "other tools")),
    Rule(
        "cache",
        "cache lost",
        False,
        _is_noticed("cache lost"),
        "the prompt only grew, and less than half of the one before was in the upstream's cache",
    ),
    Rule(
        "again",
        "sent again",
        False,
        lambda now, _: now.detail.overflow_retries + now.detail.form_retries > 0,
        "the upstream refused it for its length or its form; it went once more, shorter or in another form",
    ),
    Rule("slow", "slow", False, _is_slow, f"{SLOW // 1000} s or more until the first piece of the answer"),
    Rule(
        "left",
        "the client hung up",
        False,
        lambda now, _: now.error == "client_left",
        "before the end of the answer",
    ),
)
#: The name, the word to look for and the meaning of each mark; and of what else can be looked for.
LEGEND: tuple[tuple[str, str, str], ...] = (
    *((each.name, f"has:{each.word}", each.meaning) for each in RULES),
    ("errors", "has:error", "exchanges that did not end well, and requests refused for want of the store"),
    ("branches", "has:branch", "it has more than one end"),
)


def marks_of(exchanges: Iterable[Exchange], *, lost: int = 0) -> tuple[Mark, ...]:
    """Of these exchanges, the newest first; the gravest mark first, and those that none has are left out.
    `lost`: for how many that are not among them the store failed."""
    looked = noted(exchanges)
    marks = []
    for rule in RULES:
        times = sum(rule.holds(*each) for each in looked) + (lost if rule.word == STORE else 0)
        if times:
            marks.append(Mark(rule.name, times, rule.is_bad))
    return tuple(marks)


def marks_under(now: Exchange, notes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of those of one exchange, `notes`: what is noticed of it; without what its line tells."""
    return tuple(each.name for each in RULES if each.word not in _IN_LINE and each.holds(now, notes))
