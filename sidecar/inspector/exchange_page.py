"""One exchange: what the client sent, what the upstream got, and why, as far as that is kept.

Rule: messages have one number everywhere, that on their path, from 1; system messages at the front are not
counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.conversation.overview import Stem
from sidecar.conversation.records import Summary
from sidecar.conversation.tree import Node
from sidecar.inspector import wording
from sidecar.inspector.between import Between, ChatLink, told_of
from sidecar.inspector.cause import cause_by_what_is_kept
from sidecar.inspector.client_view import ClientView
from sidecar.inspector.exchange_line import ExchangeLine, line_of
from sidecar.inspector.limit import cut_of, limit_of, taken_of
from sidecar.inspector.message_view import words_of
from sidecar.inspector.noticed import is_cache_lost
from sidecar.inspector.shown import Clip, clip, count, told
from sidecar.inspector.slow import Split, split_of
from sidecar.inspector.system_diff import SystemDiff
from sidecar.inspector.went import (
    Groups,
    Verdict,
    is_first_out,
    left_behind,
    listed,
    missing,
    number_of,
    quoted_of,
)
from sidecar.inspector.words import Change
from sidecar.settings.trimming import Trim

__all__ = ["Around", "ExchangePage", "Group", "Sample", "exchange_page_of", "sampled", "with_stray"]

#: Messages of one group that are told in words, and groups on a page.
_SAMPLES, MAX_GROUPS = 3, 60

_BY_WHAT_IS_KEPT = (
    "The prompt before was not at hand (another worker sent it, or it was too long ago), so this is told from"
    " what is kept of both."
)
_NOT_ANSWERED = "This prompt is the one before, and something behind it; it got no answer."
_UNUSED = (
    "Nothing broke the prefix: this prompt is the one before, and something behind it. And yet the upstream"
    " used only {} of the {} tokens that it had read for that one: "
)
_NOT_HELD = "it no longer held the others."
_CUT_BEFORE = "what it cuts from the beginning is another part with each prompt, and no cache is of use then."
_SILENT_CUT = (
    "It counted{}: it seems to cut long prompts without a word. What such engines drop is the beginning, so"
    " that the oldest messages were not read. Give the model a longer context there (Ollama:"
    " OLLAMA_CONTEXT_LENGTH), or see `trim.on_silent_cut`."
)
_PUT_IN = (
    "put in as stored, where the client sent none, or with `restore.system_prompt = pin` one that is nearly"
    " the same; "
)
_STRAY = (
    "{}: a result that answers no call of this chat, for the ids of its calls are others. What a client sends"
    " goes as it came, and upstreams that look at ids refuse it. Calls without a result are not sent."
)
#: What changes in front of all messages.
_IN_FRONT = ("model", "tools", "system", "summary")


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
    """The page. `before`, `after`: the exchanges before and behind it in this conversation; `failure`: who
    ended it, and how, where it did not end well; `difference`: the number of the first message at which its
    prompt differs from the one before, 0 where that is in front of all messages, None where it is not known;
    `others`: chats that came meanwhile, where the upstream's cache was lost.
    `budget`, `saved`, `quoted`, …: as in `records.Detail`; `limit`: where the budget comes from, `cut`: why
    so much was left out; `refusal_…`: what the upstream said of a prompt that it found too long; `client`:
    the request as its client sent it, or in `no_client` why it is not kept; `missing`: the numbers of the
    messages that did not go as they are; `unstored`: what is missing here of a question that failed;
    `system_put_in`: the system prompt where it was the sidecar that put it in, as far as it is kept;
    `system_changes`: in which words the system prompt differs, as far as they are kept, `system_note`: what
    to know of them. `stray`: that results which the client sent answer no call."""

    conversation: str
    line: ExchangeLine
    before: ExchangeLine | None
    after: str
    failure: str
    silent_cut: str
    outcome: str
    rule: str
    cause: str
    difference: int | None
    why_difference: str
    asked_model: str
    answered_by: str
    #: Its name, and which of its URLs it was, where it has several.
    target: str
    api: str
    finish: str
    time: Split
    estimated_tokens: int | None
    estimate: int | None
    reasoning_tokens: int | None
    overflow_retries: int
    form_retries: int
    budget: int | None
    system_tokens: int
    tools_tokens: int
    limit: str
    cut: str
    saved: int
    refusal_window: int | None
    refusal_prompt: int | None
    supplied: tuple[str, ...]
    left_out: tuple[str, ...]
    quoted: tuple[Sample, ...]
    recall_score: float
    system: str
    system_put_in: Clip | None
    system_note: str
    system_changes: tuple[Change, ...]
    tools: str
    path: int
    groups: tuple[Group, ...]
    total_groups: int
    missing: str
    unstored: str
    summary: Clip | None
    replies: tuple[str, ...]
    parent: str
    client: ClientView | None
    no_client: str
    stray: str = ""
    others: tuple[ChatLink, ...] = ()


class Around(msgspec.Struct, frozen=True):
    """What is known around an exchange. `earlier`: some of those that began before it in its conversation,
    the newest first; `after`: the id of the next one, if it was found; `leading`: how many system messages
    stood in front of its prompt, if that is known; `trim`: the settings that are in force; `client`,
    `no_client`: as in the page; `kept_ms`: how long the store took to keep it, if that is known; `between`:
    what passed since the exchange before, where that matters; `system`: in which words the two system prompts
    differ; `put_in`: the system prompt that was put in; `called`: tools that were called in
    this chat, as far as that is looked up."""

    earlier: Sequence[Exchange] = ()
    after: bytes | None = None
    leading: int | None = None
    trim: Trim | None = None
    client: ClientView | None = None
    no_client: str = ""
    kept_ms: int | None = None
    between: Between | None = None
    system: SystemDiff | None = None
    put_in: str = ""
    called: tuple[str, ...] = ()


_NOTHING = Around()
#: Of a detail what the page tells as it is stored.
_AS_STORED = (
    "estimated_tokens",
    "reasoning_tokens",
    "overflow_retries",
    "form_retries",
    "budget",
    "system_tokens",
    "tools_tokens",
    "saved",
    "recall_score",
)


def sampled(groups: Groups) -> list[int]:
    """The places of the messages that are told in words."""
    return [at for _, places in groups[:MAX_GROUPS] for at in _of_group(places)]


def _of_group(places: Sequence[int]) -> list[int]:
    if len(places) <= _SAMPLES + 1:
        return list(places)
    return [*places[: _SAMPLES - 1], places[-1]]


def _cause(
    exchange: Exchange, before: Exchange | None, path: Sequence[Stem], around: Around
) -> tuple[str, str]:
    """The cause of the first difference, and what it means; empty where neither is known."""
    if unused := _unused(exchange, before, around.between):
        return "grown", unused
    difference = exchange.detail.difference
    cause = difference.cause if difference else ""
    if cause == "grown" and wording.failure(exchange) and not exchange.detail.replies:
        return cause, _NOT_ANSWERED
    by = ""
    if cause == "unknown" and before is not None and before.detail.sent is not None:
        cause, by = cause_by_what_is_kept(before, exchange, path), f"{_BY_WHAT_IS_KEPT} "
    if cause == "edited" and left_behind(exchange.detail, path):
        cause = "replaced"
    elif cause == "edited":
        cause = wording.edited(exchange, before, path)
    first = wording.first_words(cause, exchange, before, around.called)
    return cause, by + (first or wording.CAUSES.get(cause, ""))


def _unused(exchange: Exchange, before: Exchange | None, between: Between | None) -> str:
    """That the upstream should have had the prompt before in its cache, and had most of it no more."""
    if before is None or not is_cache_lost(exchange, before):
        return ""
    said = _UNUSED.format(count(exchange.detail.cached_tokens), count(before.input_tokens))
    if exchange.detail.silent_cut:
        return said + _CUT_BEFORE
    return f"{said}{_NOT_HELD} {told_of(between)}" if between is not None else said + _NOT_HELD


def _difference(
    exchange: Exchange, before: Exchange | None, cause: str, path: Sequence[Stem], leading: int | None
) -> int | None:
    """The number of the first message that differs; 0 for what stands before all of them."""
    difference = exchange.detail.difference
    if cause in _IN_FRONT:
        return 0
    if difference is None or difference.cause != cause or cause in ("grown", "unknown") or leading is None:
        return None
    nth = difference.index - leading
    numbers = [number_of(exchange, path, nth)]
    if before is not None and cause == "trimmed":  # in the other one a message may stand that is missing here
        end = next((at for at, each in enumerate(path, 1) if each.id == before.parent), 0)
        numbers.append(number_of(before, path[:end], nth))
    return min((each for each in numbers if each is not None), default=None)


def _repeated(exchange: Exchange, before: Sequence[Exchange]) -> int:
    """At how many exchanges on end, this one included, the upstream counted as many tokens."""
    number = 1
    for each in before:
        if each.input_tokens != exchange.input_tokens:
            break
        number += 1
    return number


def _silent_cut(exchange: Exchange, before: Sequence[Exchange]) -> str:
    if not exchange.detail.silent_cut:
        return ""
    number = _repeated(exchange, before)
    counted = count(exchange.input_tokens)
    if number > 1:
        again = f" {counted} tokens at each of the last {count(number)} exchanges, however much was sent"
    else:
        again = f" {counted} tokens, far fewer than were sent"
    return _SILENT_CUT.format(again)


def exchange_page_of(
    exchange: Exchange,
    before: Exchange | None,
    path: Sequence[Stem],
    groups: Groups,
    nodes: Mapping[bytes, Node],
    summary: Summary | None,
    around: Around = _NOTHING,
) -> ExchangePage:
    """The page. `nodes`: the messages that are told in words, as far as they could be read."""
    detail, (cause, why) = exchange.detail, _cause(exchange, before, path, around)
    return ExchangePage(
        conversation=exchange.conversation,
        line=line_of(exchange),
        before=line_of(before) if before else None,
        after=around.after.hex() if around.after else "",
        failure=wording.failure(exchange),
        silent_cut=_silent_cut(exchange, around.earlier),
        outcome=wording.outcome(exchange, path),
        rule=_rule(detail, path, groups),
        cause=told(cause),
        difference=_difference(exchange, before, cause, path, around.leading),
        why_difference=why,
        asked_model=told(exchange.model),
        answered_by=told(detail.answered_by),
        target=told(f"{detail.target} ({detail.member})" if detail.member else detail.target),
        api=told(detail.api),
        finish=told(detail.finish),
        time=split_of(exchange, around.kept_ms),
        **{name: getattr(detail, name) for name in _AS_STORED},
        estimate=_estimate(exchange),
        limit=limit_of(exchange, around.trim),
        cut=cut_of(exchange, around.trim, is_first_turn_out=is_first_out(groups)),
        refusal_window=detail.refusal.window if detail.refusal else None,
        refusal_prompt=detail.refusal.prompt if detail.refusal else None,
        supplied=tuple(map(told, detail.supplied)),
        left_out=tuple(map(told, detail.left_out)),
        quoted=tuple(_sample(path, at, nodes) for at in quoted_of(exchange, path)),
        system=_system(detail, before),
        system_put_in=clip(around.put_in) if around.put_in else None,
        system_note=around.system.note if around.system else "",
        system_changes=around.system.changes if around.system else (),
        tools=_tools(detail, before, around.called),
        path=len(path),
        groups=tuple(_group(verdict, places, path, nodes) for verdict, places in groups[:MAX_GROUPS]),
        total_groups=len(groups),
        missing=missing(groups),
        unstored=wording.unstored(exchange, path),
        summary=clip(summary.text) if summary else None,
        replies=tuple(each.hex() for each in detail.replies),
        parent=exchange.parent.hex() if exchange.parent else "",
        client=around.client,
        no_client=around.no_client,
    )


def with_stray(page: ExchangePage, places: Sequence[int]) -> ExchangePage:
    """The page, where the results at these places answer no call."""
    if not places:
        return page
    return replace(page, stray=_STRAY.format(f"Message{'s' if len(places) > 1 else ''} {listed(places)}"))


def _estimate(exchange: Exchange) -> int | None:
    """In per cent of what the upstream counted."""
    reported, estimated = exchange.input_tokens, exchange.detail.estimated_tokens
    return round(100 * estimated / reported) if estimated is not None and reported else None


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


def _rule(detail: Detail, path: Sequence[Stem], groups: Groups) -> str:
    """What went, and where it was not cut, what of it did not."""
    told, left = wording.form(detail, path), missing(groups)
    is_all = detail.dropped or detail.sent is None or detail.sent.rule != "whole" or not left
    return told if is_all else f"{told} Not among it: {left}."


def _system(detail: Detail, before: Exchange | None) -> str:
    told = _compared(detail.system, before.detail.system if before else None, before is not None)
    return (_PUT_IN + told if detail.system_put_in else told) + taken_of(detail, detail.system_tokens)


def _tools(detail: Detail, before: Exchange | None, called: Sequence[str]) -> str:
    told = _compared(detail.tools, before.detail.tools if before else None, before is not None)
    return told + taken_of(detail, detail.tools_tokens) + wording.of_called(called)


def _compared(now: bytes | None, before: bytes | None, has_before: bool) -> str:
    if now is None:
        return "none" if before is None else "none; the exchange before had some"
    if not has_before:
        return "sent"
    return "as in the exchange before" if now == before else "other than in the exchange before"
