"""What was done to each message of a prompt, as far as that is kept.

Rule: nothing is guessed. What is kept of a prompt is its rule and its exceptions (`exchange_record.Sent`), so
a row says what follows from these and from the cut's own rule (`prompt/trim.py`), and where they leave
something open, that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange, Sent
from sidecar.conversation.overview import Stem
from sidecar.conversation.tree import HASH_SIZE
from sidecar.inspector.shown import count
from sidecar.prompt.form import ALL

__all__ = [
    "Groups",
    "Verdict",
    "groups_of",
    "is_first_out",
    "left_behind",
    "listed",
    "missing",
    "number_of",
    "quoted_of",
]

_TO_FIT = "the prompt was cut to what it might have"
_NO_TOOLS = (
    "the request has no `tools`: without them an upstream takes no calls and no results, so of earlier turns"
    " it gets the words of the answers, and steps without such an answer as text"
)
_FAILED = "its upstream broke off, and what it said is never sent again"
_EMPTY = "it says nothing, or nothing but calls that have no result here"
_WITHIN = "not as a message of its own"
_IN_QUESTION = "its words stand in the question before it"
_IN_ANSWER = "its words stand in the answer before it, or it says nothing"
_NO_CALL = (
    "its call does not go, a later result stands in its place, or it was never answered and the answer"
    " before it tells it as text"
)
_UNANSWERED = (
    "no answer came to these calls and their results before the next question, where chat templates want one:"
    " one answer tells them in words"
)
_REFUSED = "the upstream refused the prompt in another form"
#: So many of the messages that a client sent may be its own words for those that it left out (the most that
#: are looked behind, `conversation/reconcile.py`): how many these were is not kept.
_REPLACED = 2
_OR_REPLACED = "sent, or other words in its place"
#: Whether its client has told it again is not kept.
_BEFORE = "sent before, and not answered"
#: As many exceptions as are kept: of more, some are not known.
_MANY = 32


class Verdict(msgspec.Struct, frozen=True):
    """What was done to a message, and why."""

    client: str
    upstream: str
    why: str
    verdict: str


#: Runs of messages with which the same was done, each with the places of its messages.
Groups = Sequence[tuple[Verdict, Sequence[int]]]


def quoted_of(exchange: Exchange, path: Sequence[Stem]) -> list[int]:
    """The places of the messages of which something was quoted."""
    names = exchange.detail.quoted
    return [at for at, each in enumerate(path) if any(map(each.id.startswith, names))] if names else []


def groups_of(exchange: Exchange, path: Sequence[Stem]) -> list[tuple[Verdict, list[int]]]:
    """What was done to each message of the path to the one that the request ended with, in runs."""
    detail = exchange.detail
    if detail.sent is None:
        return []
    verdicts = _verdicts(detail.sent, detail, path)
    return [
        (key, [at for at, _ in run]) for key, run in groupby(enumerate(verdicts), key=lambda each: each[1])
    ]


def missing(groups: Groups) -> str:
    """The numbers of the messages that are known not to have gone as they are: `3 to 10, 12`."""
    gone = [places for each, places in groups if each.upstream in ("left out", "a summary in its place")]
    return listed([at for places in gone for at in places])


def listed(places: Sequence[int]) -> str:
    """The numbers of the messages at these places (in their order): `3 to 10, 12`."""
    runs: list[list[int]] = []
    for at in places:
        if runs and at == runs[-1][1] + 1:
            runs[-1][1] = at
        else:
            runs.append([at, at])
    return ", ".join(count(a + 1) + (f" to {count(b + 1)}" if b > a else "") for a, b in runs)


def is_first_out(groups: Groups) -> bool:
    """Is it known that the first message was left out, to make room?"""
    return bool(groups) and groups[0][0].upstream == "left out" and groups[0][0].why == _TO_FIT


def left_behind(detail: Detail, path: Sequence[Stem]) -> int:
    """How many of the first messages of the path its client did not send, at least."""
    return max(len(path) - detail.brought, 0) if detail.brought is not None else 0


def number_of(exchange: Exchange, path: Sequence[Stem], nth: int) -> int | None:
    """The number on its path, from 1, of the message that went as this one (from 0; system messages at the
    front are not counted); None where what is kept does not tell."""
    sent, detail = exchange.detail.sent, exchange.detail
    if sent is None or left_behind(detail, path):
        return None
    first = _place(path, sent.first) if sent.first is not None else 0
    stayed = _stayed(sent, detail, path, first)
    if stayed is None:
        return None
    out = _out(sent, path)
    went = [*sorted(stayed), *(at for at in range(first, len(path)) if at not in out)]
    return went[nth] + 1 if 0 <= nth < len(went) else None


def _verdicts(sent: Sent, detail: Detail, path: Sequence[Stem]) -> list[Verdict]:
    first = _place(path, sent.first) if sent.first is not None else 0
    summed = _place(path, detail.summary) + 1 if detail.summary is not None else 0
    out, texts = _places(sent, path, "out"), _texts(sent, path)
    short = [_place(path, name) for name, form in sent.exceptions if form == "short"]
    until = max(short, default=-1)
    answered = max((at for at, each in enumerate(path) if each.source == "upstream"), default=-1)
    left = left_behind(detail, path)
    stayed = _stayed(sent, detail, path, first)
    has_no_tools = sent.rule == "whole" and detail.tools is None
    results, calls = _steps_of_earlier_turns(path) if has_no_tools else (set(), set())
    in_words = _NO_TOOLS if has_no_tools else _REFUSED if ALL in detail.left_out else _UNANSWERED
    is_hidden = len(sent.exceptions) >= _MANY
    before = ""
    told = [Verdict("not sent", "not sent", "the client has left it out of its history", "out")] * left
    for at, stem in enumerate(path[left:], left):
        client = "sent" if sent.rule != "whole" or at > answered else "not sent"
        if sent.rule == "whole" and at > answered and stem.created_at != path[-1].created_at:
            client = _BEFORE
        if left and at < min(left + _REPLACED, len(path) - 1):
            client = _OR_REPLACED
        if at in texts and (texts[at] >= first or texts[at] in (stayed or ())):
            told.append(Verdict(client, "as text", in_words, "short"))
            before = "assistant"
            continue
        if at in out or (is_hidden and at in results):
            told.append(_not_in_line(client, stem, before, is_step=at in results or at in calls))
            continue
        before = stem.role
        if stayed is not None and at in stayed:
            went = _went(client, sent.rule, stem, is_short=False)
            told.append(replace(went, why=stayed[at]))
        elif at < first:
            told.append(_left_out(client, at < summed, first, detail, is_exact=stayed is not None))
        elif at in results or at in calls:
            shorter = "as text" if at in results else "its words, without its calls"
            told.append(Verdict(client, shorter, _NO_TOOLS, "short"))
        else:
            told.append(_went(client, sent.rule, stem, is_short=at <= until))
    return told


def _not_in_line(client: str, stem: Stem, before: str, *, is_step: bool) -> Verdict:
    """What became of one that did not go as it is; `before`: the role of the last one that went."""
    if stem.state == "failed":
        return Verdict(client, "left out", _FAILED, "out")
    if stem.role == "user":
        return Verdict(client, _WITHIN, _IN_QUESTION, "short")
    if stem.role == "assistant" and before == "assistant":
        return Verdict(client, _WITHIN, _IN_ANSWER, "short")
    why = _NO_TOOLS if is_step else _EMPTY if stem.role == "assistant" else _NO_CALL
    return Verdict(client, "left out", why, "out")


def _steps_of_earlier_turns(path: Sequence[Stem]) -> tuple[set[int], set[int]]:
    """The places of the results before the newest question, and of the answers that made their calls."""
    newest = max((at for at, each in enumerate(path) if each.role == "user"), default=0)
    results = {at for at in range(newest) if path[at].role == "tool"}
    return results, {at - 1 for at in results if at and path[at - 1].role == "assistant"}


def _out(sent: Sent, path: Sequence[Stem]) -> set[int]:
    """The places of the messages that did not go as messages of their own."""
    return _places(sent, path, "out", "told")


def _places(sent: Sent, path: Sequence[Stem], *forms: str) -> set[int]:
    names = {name for name, form in sent.exceptions if form in forms}
    return {at for at, each in enumerate(path) if each.id in names or each.id[:HASH_SIZE] in names}


def _texts(sent: Sent, path: Sequence[Stem]) -> dict[int, int]:
    """The places of the messages that went in words, each with that of the one of its turn that told them."""
    went, told = _places(sent, path, "text"), _places(sent, path, "told")
    turns = list(accumulate(each.role == "user" for each in path)) if went or told else []
    of_turn = {turns[at]: at for at in went}
    return {at: of_turn.get(turns[at], at) for at in went | told}


def _stayed(sent: Sent, detail: Detail, path: Sequence[Stem], first: int) -> dict[int, str] | None:
    """Which messages before the cut went all the same, and why; None where what is kept does not tell.

    They are the first turn, which comes first of all, and the question of the turn in which the cut lies.
    """
    if left_behind(detail, path) or len(sent.exceptions) >= _MANY:
        return None
    out = _out(sent, path)
    before = [at for at in range(first) if at not in out]
    number = len(before) - detail.dropped
    if number < 0:
        return None
    newest = max((at for at, each in enumerate(path) if each.role == "user"), default=first)
    asked = max((at for at in before if path[at].role == "user"), default=first)
    is_within = number and asked < first < len(path) and path[first].role != "user"
    why = "the newest question stays" if asked == newest else "the question stays, its oldest steps went"
    stayed = {asked: why} if is_within else {}
    front = [at for at in before if at not in stayed][: number - len(stayed)]
    return dict.fromkeys(front, "the first turn stays") | stayed


def _left_out(client: str, is_summed: bool, first: int, detail: Detail, *, is_exact: bool) -> Verdict:
    if is_summed:
        return Verdict(client, "a summary in its place", _TO_FIT, "summary")
    if is_exact or detail.dropped >= first:
        return Verdict(client, "left out", _TO_FIT, "out")
    why = f"{_TO_FIT}; of these {first} messages {detail.dropped} were left out, and the rest is never cut"
    return Verdict(client, "left out, unless it is never cut", why, "out")


def _went(client: str, rule: str, stem: Stem, *, is_short: bool) -> Verdict:
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
    """Where the message with this id or hash stands; 0 where it does not. The name of a summary is
    the hash of its last message, and maybe more; on one path no hash stands twice."""
    return next((at for at, each in enumerate(path) if each.id.startswith(name[:HASH_SIZE])), 0)
