"""One exchange: what the client sent, what the upstream got, and why, as far as that is kept.

Rule: nothing is guessed. What is kept of a prompt is its rule and its exceptions (`records.Sent`), so a row
says what follows from these, and where they leave something open, that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec

from sidecar.conversation.overview import Stem
from sidecar.conversation.records import Detail, Exchange, Sent, Summary
from sidecar.conversation.tree import HASH_SIZE, Node
from sidecar.inspector.cause import cause_by_what_is_kept
from sidecar.inspector.exchange_line import ExchangeLine, line_of
from sidecar.inspector.message_view import words_of
from sidecar.inspector.shown import Clip, clip, count, told

__all__ = [
    "ExchangePage",
    "Group",
    "Sample",
    "Verdict",
    "exchange_page_of",
    "groups_of",
    "quoted_of",
    "sampled",
]

#: Messages of one group that are told in words, and groups on a page.
_SAMPLES, MAX_GROUPS = 3, 60

_OUTCOMES = {
    "start": "The client began a conversation: none of its messages was known.",
    "continue": "The client sent its history, which is the stored one, and something new behind it.",
    "branch": "The client went on from an earlier message; behind that its history differs.",
    "retry": "The client asked the same once more: a second answer to a stored question.",
    "extend": "The client goes on with an answer that broke off.",
    "append": "The client sent only what is new; the stored history was put before it.",
    "unanchored": "The beginning of the client's history is not stored; it was recognised further down.",
    "alone": "The client's messages are not those of the conversation: they have a root of their own.",
    "task": "A background task, which no history gets.",
    "bypass": "It went on as it came, and nothing of it is kept.",
}
CAUSES = {
    "grown": "Nothing broke the prefix: this prompt is the one before, and something behind it. An upstream"
    " that caches prefixes could use all of it.",
    "model": "The model is another one: its cache begins anew.",
    "tools": "The client's tools differ from those of the prompt before, and they stand before all messages.",
    "system": "The leading system messages differ: a clock, a date or a memory in them changes every prompt,"
    " and so does a summary that the client puts there.",
    "summary": "A summary stands in for other messages than before, in front of all that follow.",
    "trimmed": "Other messages than before were left out or shortened to fit the context window.",
    "recalled": "Other words than before are quoted in front of the newest question, of what was left out, or"
    " none are any more: `trim.recall`.",
    "restored": "An answer went in another form than before: as it is stored, or as the client has it.",
    "edited": "A message reads otherwise than before: the client changed it, or went to a branch.",
    "unknown": "The prompt before is not held: it was another worker's or too long ago, or there was none.",
}
_BY_WHAT_IS_KEPT = (
    "The prompt before was not at hand (another worker sent it, or it was too long ago), so this is told from"
    " what is kept of both."
)
_TO_FIT = "the prompt was cut to what `trim` allows"
_UNUSED = (
    " It used {} of the {} tokens that it had read for the prompt before: it no longer held the others. Other"
    " chats took their place, it was started anew, another machine answered, or it cut the prompt itself."
)
#: Tokens; of a shorter prompt many upstreams cache nothing.
_WORTH_CACHING = 500
_RULES = {
    "client": "The client's own bytes went upstream.",
    "restored": "The client's messages went upstream, but answers and results of tools as they are stored"
    " where the client's copy says something else.",
    "whole": "The stored history went upstream, from its root, and behind it what the client sent.",
}
_COMPACTED = (
    " It sent the end of its history alone ({} messages of the {} on this path, and what it put before them),"
    " as clients do that compact or cut it by themselves: look at the system prompt and the first message."
)


class Sample(msgspec.Struct, frozen=True):
    """A message in a group; `number` on its path, from 1."""

    id: str
    number: int
    role: str
    words: str


class Group(msgspec.Struct, frozen=True):
    """Neighbouring messages with which the same was done; `verdict`: one word for it. `samples`: the first
    and the last of them."""

    first: int
    last: int
    client: str
    upstream: str
    why: str
    verdict: str
    samples: tuple[Sample, ...]


class ExchangePage(msgspec.Struct, frozen=True):
    """The page. `before`: the exchange that began before it in this conversation; `difference`: the number of
    the first message (from 1, system messages included) at which its prompt differs from the one before.
    `budget`, `saved`, `quoted`, …: as in `records.Detail`; `refusal_…`: what the upstream said of a prompt
    that it found too long."""

    conversation: str
    line: ExchangeLine
    before: ExchangeLine | None
    outcome: str
    rule: str
    cause: str
    difference: int | None
    why_difference: str
    asked_model: str
    answered_by: str
    target: str
    api: str
    finish: str
    head_ms: int | None
    estimated_tokens: int | None
    estimate: int | None
    reasoning_tokens: int | None
    overflow_retries: int
    form_retries: int
    budget: int | None
    saved: int
    refusal_window: int | None
    refusal_prompt: int | None
    supplied: tuple[str, ...]
    left_out: tuple[str, ...]
    quoted: tuple[Sample, ...]
    recall_score: float
    system: str
    tools: str
    path: int
    groups: tuple[Group, ...]
    total_groups: int
    summary: Clip | None
    replies: tuple[str, ...]
    parent: str


class Verdict(msgspec.Struct, frozen=True):
    """What was done to a message, and why."""

    client: str
    upstream: str
    why: str
    verdict: str


def sampled(groups: Sequence[tuple[Verdict, Sequence[int]]]) -> list[int]:
    """The places of the messages that are told in words."""
    return [at for _, places in groups[:MAX_GROUPS] for at in _of_group(places)]


def quoted_of(exchange: Exchange, path: Sequence[Stem]) -> list[int]:
    """The places of the messages of which something was quoted."""
    names = exchange.detail.quoted
    return [at for at, each in enumerate(path) if any(map(each.id.startswith, names))] if names else []


def _of_group(places: Sequence[int]) -> list[int]:
    if len(places) <= _SAMPLES + 1:
        return list(places)
    return [*places[: _SAMPLES - 1], places[-1]]


def groups_of(exchange: Exchange, path: Sequence[Stem]) -> list[tuple[Verdict, list[int]]]:
    """What was done to each message of the path to the one that the request ended with, in runs."""
    detail = exchange.detail
    if detail.sent is None:
        return []
    verdicts = _verdicts(detail.sent, detail, path)
    return [
        (key, [at for at, _ in run]) for key, run in groupby(enumerate(verdicts), key=lambda each: each[1])
    ]


def _verdicts(sent: Sent, detail: Detail, path: Sequence[Stem]) -> list[Verdict]:
    first = _place(path, sent.first) if sent.first is not None else 0
    summed = _place(path, detail.summary) + 1 if detail.summary is not None else 0
    out = {name for name, form in sent.exceptions if form == "out"}
    short = [_place(path, name) for name, form in sent.exceptions if form == "short"]
    until = max(short, default=-1)
    answered = max((at for at, each in enumerate(path) if each.source == "upstream"), default=-1)
    left = _left_behind(detail, path)
    told = [Verdict("not sent", "not sent", "the client has left it out of its history", "out")] * left
    for at, stem in enumerate(path[left:], left):
        client = "sent" if sent.rule != "whole" or at > answered else "not sent"
        if stem.id in out or stem.id[:HASH_SIZE] in out:
            told.append(Verdict(client, "left out", "no upstream may see it again", "out"))
        elif at < first:
            told.append(_left_out(client, at < summed, first, detail))
        else:
            told.append(_went(client, sent.rule, stem, at <= until))
    return told


def _left_out(client: str, is_summed: bool, first: int, detail: Detail) -> Verdict:
    if is_summed:
        return Verdict(client, "a summary in its place", _TO_FIT, "summary")
    why = _TO_FIT
    if detail.dropped < first:
        why += f"; of these {first} messages {detail.dropped} were left out, and the rest is never cut"
        return Verdict(client, "left out, unless it is never cut", why, "out")
    return Verdict(client, "left out", why, "out")


def _went(client: str, rule: str, stem: Stem, is_short: bool) -> Verdict:
    if is_short:
        return Verdict(client, "shortened, where it is long", "to make room for what is newer", "short")
    if client == "not sent":
        return Verdict(client, "put in as stored", "the client sends only what is new", "restored")
    if rule == "restored" and stem.role in ("assistant", "tool", "function"):
        return Verdict(
            client,
            "as stored, where the client's copy differs",
            "clients change what they re-send",
            "restored",
        )
    return Verdict(client, "as it came", "", "same")


def _place(path: Sequence[Stem], name: bytes) -> int:
    """Where the message with this id or hash stands; 0 where it does not."""
    return next((at for at, each in enumerate(path) if each.id.startswith(name)), 0)


def _rule(detail: Detail, path: Sequence[Stem]) -> str:
    if detail.sent is None:
        return "What went upstream is not kept."
    rule, left = _RULES.get(detail.sent.rule, ""), _left_behind(detail, path)
    return rule + _COMPACTED.format(count(len(path) - left), count(len(path))) if left else rule


def _cause(exchange: Exchange, before: Exchange | None, path: Sequence[Stem]) -> tuple[str, str]:
    """The cause of the first difference, and what it means; empty where neither is known."""
    difference = exchange.detail.difference
    cause = difference.cause if difference else ""
    if cause != "unknown" or before is None or before.detail.sent is None:
        return cause, CAUSES.get(cause, "")
    cause = cause_by_what_is_kept(before, exchange, path)
    return cause, f"{_BY_WHAT_IS_KEPT} {CAUSES[cause]}"


def _unused(exchange: Exchange, before: Exchange | None) -> str:
    """That the upstream should have had the prompt before in its cache, and had most of it no more."""
    difference, cached = exchange.detail.difference, exchange.detail.cached_tokens
    if difference is None or difference.cause != "grown" or cached is None or before is None:
        return ""
    had = before.input_tokens or 0
    if before.error is not None or had < _WORTH_CACHING or 2 * cached >= had:
        return ""
    return _UNUSED.format(count(cached), count(had))


def _left_behind(detail: Detail, path: Sequence[Stem]) -> int:
    """How many of the first messages of the path its client did not send, at least."""
    return max(len(path) - detail.brought, 0) if detail.brought is not None else 0


def exchange_page_of(
    exchange: Exchange,
    before: Exchange | None,
    path: Sequence[Stem],
    groups: Sequence[tuple[Verdict, Sequence[int]]],
    nodes: Mapping[bytes, Node],
    summary: Summary | None,
) -> ExchangePage:
    """The page. `nodes`: the messages that are told in words, as far as they could be read."""
    detail, reported = exchange.detail, exchange.input_tokens
    estimated, difference = detail.estimated_tokens, detail.difference
    cause, why = _cause(exchange, before, path)
    return ExchangePage(
        conversation=exchange.conversation,
        line=line_of(exchange),
        before=line_of(before) if before else None,
        outcome=_OUTCOMES.get(exchange.outcome, ""),
        rule=_rule(detail, path),
        cause=told(cause),
        difference=difference.index + 1 if difference and difference.cause == cause else None,
        why_difference=why + _unused(exchange, before),
        asked_model=told(exchange.model),
        answered_by=told(detail.answered_by),
        target=told(detail.target),
        api=told(detail.api),
        finish=told(detail.finish),
        head_ms=detail.head_ms,
        estimated_tokens=estimated,
        estimate=round(100 * estimated / reported) if estimated is not None and reported else None,
        reasoning_tokens=detail.reasoning_tokens,
        overflow_retries=detail.overflow_retries,
        form_retries=detail.form_retries,
        budget=detail.budget,
        saved=detail.saved,
        refusal_window=detail.refusal.window if detail.refusal else None,
        refusal_prompt=detail.refusal.prompt if detail.refusal else None,
        supplied=tuple(map(told, detail.supplied)),
        left_out=tuple(map(told, detail.left_out)),
        quoted=tuple(_sample(path, at, nodes) for at in quoted_of(exchange, path)),
        recall_score=detail.recall_score,
        system=_compared(detail.system, before.detail.system if before else None, before is not None),
        tools=_compared(detail.tools, before.detail.tools if before else None, before is not None),
        path=len(path),
        groups=tuple(_group(verdict, places, path, nodes) for verdict, places in groups[:MAX_GROUPS]),
        total_groups=len(groups),
        summary=clip(summary.text) if summary else None,
        replies=tuple(each.hex() for each in detail.replies),
        parent=exchange.parent.hex() if exchange.parent else "",
    )


def _group(
    verdict: Verdict, places: Sequence[int], path: Sequence[Stem], nodes: Mapping[bytes, Node]
) -> Group:
    return Group(
        first=places[0] + 1,
        last=places[-1] + 1,
        client=verdict.client,
        upstream=verdict.upstream,
        why=verdict.why,
        verdict=verdict.verdict,
        samples=tuple(_sample(path, at, nodes) for at in _of_group(places)),
    )


def _sample(path: Sequence[Stem], at: int, nodes: Mapping[bytes, Node]) -> Sample:
    return Sample(path[at].id.hex(), at + 1, told(path[at].role, 40), _words(nodes.get(path[at].id)))


def _words(node: Node | None) -> str:
    if node is None:
        return "(not read here)"
    try:
        return words_of(node.fields) or "(no text)"
    except ValueError:
        return "(not a message)"


def _compared(now: bytes | None, before: bytes | None, has_before: bool) -> str:
    if now is None:
        return "none" if before is None else "none; the exchange before had some"
    if not has_before:
        return "sent"
    return "as in the exchange before" if now == before else "other than in the exchange before"
