"""One exchange: what the client sent, what the upstream got, and why, as far as that is kept.

Rule: messages have one number everywhere, that on their path, from 1; system messages at the front are not
counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.conversation.overview import Stem
from sidecar.conversation.records import Summary
from sidecar.conversation.tree import Node
from sidecar.inspector import wording
from sidecar.inspector.between import Between, told_of
from sidecar.inspector.cause import cause_by_what_is_kept
from sidecar.inspector.exchange_facts import Around, ExchangePage, Group, Numbers, Sample
from sidecar.inspector.exchange_line import line_of
from sidecar.inspector.limit import cut_of, limit_of, taken_of
from sidecar.inspector.message_view import words_of
from sidecar.inspector.noticed import is_cache_lost
from sidecar.inspector.shown import clip, count, told
from sidecar.inspector.slow import split_of
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

__all__ = ["MAX_GROUPS", "exchange_page_of", "sampled"]

#: Messages of one group that are told in words, and groups on a page.
_SAMPLES, MAX_GROUPS = 3, 60

_BY_WHAT_IS_KEPT = (
    "The prompt before was not at hand (another worker sent it, or it was too long ago), so this is told from"
    " what is kept of both."
)
_MOVED = (
    "This prompt is the one before, and something behind it. But that went to {}, and this one to {}, which"
    " has nothing of it in its cache, unless this chat was there before."
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


_NOTHING = Around()


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
    if cause == "grown" and before is not None and _has_moved(exchange, before):
        return cause, _MOVED.format(told(before.detail.member), told(exchange.detail.member))
    by = ""
    if cause == "unknown" and before is not None and before.detail.sent is not None:
        cause, by = cause_by_what_is_kept(before, exchange, path), f"{_BY_WHAT_IS_KEPT} "
    if cause == "edited" and left_behind(exchange.detail, path):
        cause = "replaced"
    elif cause == "edited":
        cause = wording.edited(exchange, before, path)
    first = wording.first_words(cause, exchange, before, around.called)
    return cause, by + (first or wording.CAUSES.get(cause, ""))


def _has_moved(now: Exchange, before: Exchange) -> bool:
    """Did another machine answer, as far as is known without a count of what it had cached?"""
    here, there = now.detail.member, before.detail.member
    return bool(here and there) and here != there and now.detail.cached_tokens is None


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
        numbers=_numbers(detail),
        estimate=_estimate(exchange),
        limit=limit_of(exchange, around.trim),
        cut=cut_of(exchange, around.trim, is_first_turn_out=is_first_out(groups)),
        supplied=tuple(map(told, detail.supplied)),
        left_out=tuple(map(told, detail.left_out)),
        kept_out=wording.kept_out(detail),
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
        stray=_stray(around.stray),
        others=around.others,
    )


def _stray(places: Sequence[int]) -> str:
    """That the results at these places answer no call."""
    return _STRAY.format(f"Message{'s' if len(places) > 1 else ''} {listed(places)}") if places else ""


def _numbers(detail: Detail) -> Numbers:
    return Numbers(
        estimated_tokens=detail.estimated_tokens,
        reasoning_tokens=detail.reasoning_tokens,
        overflow_retries=detail.overflow_retries,
        form_retries=detail.form_retries,
        budget=detail.budget,
        system_tokens=detail.system_tokens,
        tools_tokens=detail.tools_tokens,
        saved=detail.saved,
        refusal_window=detail.refusal.window if detail.refusal else None,
        refusal_prompt=detail.refusal.prompt if detail.refusal else None,
        recall_score=detail.recall_score,
    )


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
