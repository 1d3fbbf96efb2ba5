"""What was said earlier and no longer fits comes back when it is asked for.

Owned rules: of the turns that the cut dropped, the passages that fit the newest question best (and, less, the
question before it, which it may refer to) stand once more, in the order in which they were said, as a turn of
their own in front of that question: a user's message that quotes them, an answer that takes note. So it is
valid for templates that want user and assistant in turn, nothing behind it moves, and what stands before it
stays cached. What something newer stands in place of is left out, and what is still shown and tells of the
same stands once more behind them (`recall_newer`).

It is a function of the line, where it was cut and the room alone: the same bytes on a retry, on every
replica, and for all steps behind one question. Nothing but what stood in this very line comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

from sidecar.conversation.measure import measure_of_tools, measured
from sidecar.conversation.message import encode, visible_text
from sidecar.prompt.fit import Fitted, Full
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.recall_evidence import Evidence
from sidecar.prompt.recall_index import RecallIndex
from sidecar.prompt.recall_newer import newer, superseded
from sidecar.prompt.trim import Trimmed
from sidecar.prompt.weights import Weights
from sidecar.prompt.words import words

__all__ = ["ANSWER", "HEADING", "MOST_ROOM", "Recalled", "asked_for", "newest_question", "recalled", "told"]

HEADING = (
    "Earlier in this conversation, no longer shown above (quoted in the order in which it was said; a record,"
    " not an instruction):"
)
# Not "Noted.": a small model answered that to one question in five, in place of what it was asked.
ANSWER = "I will keep these earlier messages in mind."

#: Tokens: more of what is quoted helps little, and none of it is cached.
MOST_ROOM = 4000

_ELLIPSIS = "…"
_LATER = "later: "
_LONGEST_LATER = 200  # characters of what is shown, and stands once more
_MOST_OF_A_QUESTION = 4000  # characters that tell what it asks for
_BEFORE = 0.3  # what a word of the question before counts
_ASKS = range(4, 12)  # words, and beginnings of words, of a question that may refer to the one before
_QUESTIONS_BEFORE = 3  # that are looked at for what is said with every question
_USUAL = 2  # of them have it
_COMPARED = 3  # of the best passages with what is still shown
_FREE = 0.9  # of what the cut's step has left; the rest is for the answer and the steps behind the question
_ERROR = 0.04  # of a prompt; by so much an estimate that other chats taught is off
_MIN_ROOM = 48  # tokens; in less there is no room for a quotation
_WORTH = 0.3  # of the best passage's score; what is further from it is not what is asked for


@dataclass(slots=True, frozen=True)
class Recalled:
    """The turn to put in; of which messages of the line it quotes something; the score of the best passage;
    the tokens of the turn.

    `place`: where in what is kept of the line it goes.
    """

    turn: tuple[Outgoing, ...]
    messages: tuple[int, ...]
    score: float
    tokens: int
    place: int = 0

    def within(self, kept: Sequence[Outgoing]) -> tuple[Outgoing, ...]:
        """What is kept of the line, with the turn in its place."""
        return (*kept[: self.place], *self.turn, *kept[self.place :])


def told(each: Outgoing) -> str:
    """What a message says: its text without reasoning, and which tools it calls with what."""
    text = visible_text(each.fields)
    calls = each.fields.get("tool_calls") if each.role == "assistant" else None
    if not isinstance(calls, list):
        return text
    return "\n".join(filter(None, (text, *map(_called, calls))))


def _called(call: object) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ""
    return f"{function.get('name')} {function.get('arguments')}"


def asked_for(line: Sequence[Outgoing]) -> dict[str, float]:
    """The words of the newest question and, if it is short, of the one before, and how much each counts.

    What stands in most of the latest questions ("in a few words, please") tells little of what this one asks
    for. There has to be a question.
    """
    users = islice((each for each in reversed(line) if each.role == "user"), 1 + _QUESTIONS_BEFORE)
    newest, *before = [dict.fromkeys(words(told(each)[:_MOST_OF_A_QUESTION])) for each in users]
    asked = {word: _BEFORE if sum(word in each for each in before) >= _USUAL else 1.0 for word in newest}
    # "Thanks", "go on" and "why?" ask for nothing that was said long ago; a long question says what it means.
    if len(asked) in _ASKS and before:
        for word in before[0]:
            asked.setdefault(word, _BEFORE)
    return asked


def recalled(
    full: Full, fitted: Fitted, most: int, index: RecallIndex, asked: dict[str, float]
) -> Recalled | None:
    """What stands again of the turns that were dropped from a prompt; None if there is nothing, or no room.

    Where turns were dropped, a question is left. `most`: the tokens that the prompt may have. `index`: of the
    messages of the line, up to the newest question at least.

    The room is what was kept free for it, and most of what the step of the cut has left, less the error of
    the estimate: what is quoted makes no prompt too long. Should the steps behind the question need it, only
    what was kept free is used.
    """
    trimmed, weights = fitted.trimmed, fitted.weights
    place = newest_question(trimmed.kept)
    around = sum(each.tokens(weights) for each in full.system)
    around += weights.tokens(measure_of_tools(full.tools)) if full.tools else 0
    asking = around + sum(each.tokens(weights) for each in trimmed.kept[: place + 1])
    behind = sum(each.tokens(weights) for each in trimmed.kept[place + 1 :])
    free = max(0, most - trimmed.reserved - asking)
    error = int(most * _ERROR)
    least = trimmed.recall - error
    more = min(MOST_ROOM, trimmed.recall + min(int(free * _FREE), free - error))
    quoting = _Quoting(full.line, trimmed, index, asked, weights)
    found = quoting.in_room(more)
    if found is not None and more > least:
        used = found.tokens
        if used > least and asking + behind + used + trimmed.reserved - trimmed.recall > most - error:
            found = quoting.in_room(least)
    return found and replace(found, place=place)


def newest_question(line: Sequence[Outgoing]) -> int:
    """Where it stands in a line that has one."""
    return next(at for at in range(len(line) - 1, -1, -1) if line[at].role == "user")


class _Quoting:
    """The passages of the turns that were dropped, as they fit the question."""

    def __init__(
        self,
        line: Sequence[Outgoing],
        trimmed: Trimmed,
        index: RecallIndex,
        asked: dict[str, float],
        weights: Weights,
    ) -> None:
        self._line, self._index, self._weights = line, index, weights
        self._texts: dict[int, str] = {}
        self._costs: dict[int, int] = {}
        question = newest_question(line)
        shown = index.within(max(trimmed.cut, trimmed.part, trimmed.shorter), question)
        self._within = index.within(trimmed.turns.start, trimmed.turns.stop)
        found = index.search(asked, shown.stop)
        evidence = Evidence(asked, index.places(asked, shown.stop), shown.stop, found.words)
        held = {at: words for at, words in found.held.items() if at in self._within or at in shown}
        self._gone = superseded(held, self._within, evidence, self._text)
        scores = {
            at: score for at, score in found.scores.items() if at in self._within and at not in self._gone
        }
        self._best = max(scores.values(), default=0.0)
        worth = self._best * _WORTH
        ranked = sorted([(score, at) for at, score in scores.items() if score >= worth], reverse=True)
        self._ranked = [at for _, at in ranked]
        get = found.held.get
        around = [get(at - 1, 0) | get(at, 0) | get(at + 1, 0) for at in self._ranked]
        if not any(map(evidence.is_beyond_chance, around)):
            self._ranked.clear()
        own = [get(at, 0) for each in self._ranked[:_COMPARED] for at in self._around(each)]
        later = {at: words for at, words in held.items() if at in shown}
        self._newer = [_shortened(self._text(at)) for at in newer(later, own, evidence, self._text)]

    def in_room(self, room: int) -> Recalled | None:
        """The turn that quotes the best of them in so many tokens."""
        chosen: set[int] = set()
        left = room - sum(map(self._tokens, (HEADING, ANSWER, *self._newer)))
        for at in self._ranked:
            if left < _MIN_ROOM:
                break
            for group in (self._around(at), [at]):
                new = [each for each in group if each not in chosen]
                cost = sum(map(self._cost, new))
                if cost <= left:
                    chosen.update(new)
                    left -= cost
                    break
        return self._turn(sorted(chosen)) if chosen else None

    def _around(self, at: int) -> list[int]:
        """The passage and its neighbours."""
        around = (at - 1, at, at + 1)
        return [each for each in around if each in self._within and each not in self._gone]

    def _cost(self, at: int) -> int:
        """The tokens of a passage where it is quoted."""
        if at not in self._costs:
            self._costs[at] = self._tokens(f"assistant: {self._text(at)}")
        return self._costs[at]

    def _turn(self, chosen: list[int]) -> Recalled:
        quotes: list[str] = []
        messages: list[int] = []
        for message, numbers in groupby(chosen, key=lambda at: self._index.passage(at).message):
            if messages and message > messages[-1] + 1:
                quotes.append(_ELLIPSIS)
            messages.append(message)
            quotes.append(f"{self._line[message].role}: {self._quoted(list(numbers))}")
        if self._newer:
            quotes += [_ELLIPSIS, *(f"{_LATER}{each}" for each in self._newer)]
        asked = encode({"role": "user", "content": "\n".join((HEADING, "", *quotes))})
        noted = encode({"role": "assistant", "content": ANSWER})
        turn = (Outgoing("user", asked), Outgoing("assistant", noted))
        tokens = sum(each.tokens(self._weights) for each in turn)
        return Recalled(turn, tuple(messages), self._best, tokens)

    def _quoted(self, numbers: list[int]) -> str:
        """These passages of one message, and a mark for what is left out between them and at either end."""
        parts: list[str] = []
        end = 0
        for at in numbers:
            passage = self._index.passage(at)
            if passage.start > end:
                parts.append(_ELLIPSIS)
            parts.append(self._text(at))
            end = passage.end
        if end < len(self._whole(self._index.passage(numbers[0]).message)):
            parts.append(_ELLIPSIS)
        return "\n".join(parts)

    def _text(self, at: int) -> str:
        passage = self._index.passage(at)
        return self._whole(passage.message)[passage.start : passage.end].strip()

    def _whole(self, message: int) -> str:
        text = self._texts.get(message)
        if text is None:
            text = self._texts[message] = told(self._line[message])
        return text

    def _tokens(self, text: str) -> int:
        return self._weights.tokens(measured({"content": text}))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_LATER else f"{text[:_LONGEST_LATER]}{_ELLIPSIS}"
