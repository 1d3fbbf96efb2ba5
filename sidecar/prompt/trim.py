"""Which turns go upstream when the history has outgrown its budget.

Owned rules: leading system messages, the newest user message and what follows it are never cut; whole
turns are, oldest first, but for the very first, which holds an agent's task, where it is to stay; a tool
result never goes without its call. For room in tokens old messages are made shorter first
(`prompt/compact.py`), inside the newest turn as well, up to its last tool call. A turn that is larger than a
step, an agent's hundreds of calls, goes in parts: its oldest steps first, its question last. So does the
newest one where it is too large even when it is shortened, but for its question and its last step.

The cut moves in steps: what is taken away is the least multiple of a step (a share of the budget) that
makes the rest fit, so between two steps the prompt only grows at its end and the upstream's prefix cache
keeps hitting. It depends on the path, the budget and the sizes alone: every replica and every retry cut
alike. Where a whole step is more than can be taken away, a part of it is. And it stops in front of a question
that is larger than a step, if all before that is enough: the step would end in it, and take it whole.

What cannot be made to fit is sent whole and said (`Trimmed.over`), never cut silently.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

import msgspec
from msgspec.structs import replace

from sidecar.conversation.measure import measure_of_tools
from sidecar.prompt.compact import shortened
from sidecar.prompt.places import Shape, first_turn, pairs_of, shape_of, whole
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.weights import DEFAULT_WEIGHTS, Weights

__all__ = ["Budget", "Trimmed", "trim"]

#: Of what a step leaves of the room, shortened messages may fill this share.
_SHORTENED_SHARE = Fraction(1, 2)
#: Where a step is made from the room, the room is counted in such parts of the limit: tools and system
#: messages come and go, and the grid of the steps must not shift with each of them.
_GRID = 16
#: Of the tokens the first turn takes no more, also where it is to stay: an agent's run of hundreds of steps
#: would leave the rest no room, and no upstream takes more for its sake.
_MOST_OF_THE_TOKENS = 0.5
_SMALLER = (1, 2, 4, 8)


class Budget(msgspec.Struct, frozen=True):
    """Limits for what goes upstream; None is no limit.

    `max_messages` counts the leading system messages too. `max_input_tokens` is an estimate over the
    messages and the list of tools; with `beyond` it counts only for a prompt of more tokens than that. `step`
    is a share of the budget (of tokens: of what system messages and tools leave of it), above 0 and at most
    1, and makes whole messages, turns or tokens, rounded up: less than one of them would move the cut with
    every turn. `keep_first_turn`: where `first_turn_share` is set, only if that turn takes no larger share
    of any limit, and while the newest fits beside it; in any case only if it takes no more than half of the
    tokens.
    """

    max_messages: int | None = None
    max_turns: int | None = None
    max_input_tokens: int | None = None
    step: float = 0.6
    keep_first_turn: bool = False
    first_turn_share: float | None = None
    beyond: int | None = None

    @property
    def unlimited(self) -> bool:
        """Nothing to do: no limit is set."""
        return self.max_messages is None and self.max_turns is None and self.max_input_tokens is None


class Trimmed(msgspec.Struct, frozen=True):
    """What is left, how many messages were dropped, which limits it still exceeds, how many are shorter.

    `cut`: where the line goes on behind the whole turns that were dropped; 0 if none was. `part`: where it
    goes on within the next turn, if that has lost its oldest steps but not its question; `inside`: the same
    of the newest turn. `shorter`: up to here those that are left were made shorter. `reserved`: the tokens
    that were kept free, of them `recall` for what is recalled.
    """

    kept: tuple[Outgoing, ...]
    dropped: int = 0
    over: tuple[str, ...] = ()
    shortened: int = 0
    cut: int = 0
    reserved: int = 0
    inside: int = 0
    shorter: int = 0
    recall: int = 0
    part: int = 0

    @property
    def first(self) -> int:
        """Where the line goes on behind all that was dropped; 0 if nothing was."""
        return self.inside or self.part or self.cut

    @property
    def turns(self) -> range:
        """The messages of the line that were dropped in front of the newest turn, with the question of one
        that was dropped in part."""
        end = self.part or self.cut
        return range(self.first - bool(self.inside or self.part) - self.dropped, end) if end else range(0)


def trim(
    line: Sequence[Outgoing],
    budget: Budget,
    *,
    system: Sequence[Outgoing] = (),
    tools: bytes = b"",
    weights: Weights = DEFAULT_WEIGHTS,
    reserved: int = 0,
) -> Trimmed:
    """Cut `line` (the messages after the leading system ones) to the budget.

    `system` and `tools` go along whatever happens; they only take their share of the room, as do the
    `reserved` tokens. Other `weights` for the tokens are another cut; see `prompt/fit.py`.
    """
    if budget.unlimited:
        return Trimmed(tuple(line), reserved=reserved)
    if not line:
        return _only_fixed(budget, system, tools, weights, reserved)
    # Counting tools costs something, and only a limit of tokens asks for it.
    fixed = _fixed(system, tools, weights, reserved) if budget.max_input_tokens is not None else 0
    first = _kept_first(line, budget, weights)
    found = _trimmed(line, budget, first, system, fixed, weights)
    if first and found.over and budget.first_turn_share is not None:  # then it has to go as well
        without = _trimmed(line, budget, 0, system, fixed, weights)
        found = without if len(without.over) < len(found.over) else found
    return replace(found, reserved=reserved)


def _kept_first(line: Sequence[Outgoing], budget: Budget, weights: Weights) -> int:
    """How many messages the first turn has, if it is to stay; else 0."""
    end = first_turn(line) if budget.keep_first_turn else 0
    share, most = budget.first_turn_share, budget.max_input_tokens
    if share is not None and budget.max_turns is not None and budget.max_turns * share < 1:
        return 0
    if share is not None and budget.max_messages is not None and end > budget.max_messages * share:
        return 0
    if not end or most is None:
        return end
    tokens = sum(each.tokens(weights) for each in line[:end])
    return end if tokens <= most * (_MOST_OF_THE_TOKENS if share is None else share) else 0


def _trimmed(
    line: Sequence[Outgoing],
    budget: Budget,
    first: int,
    system: Sequence[Outgoing],
    fixed: int,
    weights: Weights,
) -> Trimmed:
    """The line cut behind its `first` messages. `fixed`: the tokens that go along whatever is cut."""
    shape = shape_of(line, first)
    counted = _counted(line, budget, system)
    cut = max((limit.cut(shape, budget.step) for limit in counted), default=shape.first)
    found, over = _cut(line, shape, cut), []
    if budget.max_input_tokens is not None:
        tokens = _Tokens(budget.max_input_tokens, budget.max_input_tokens - fixed, budget.step, weights)
        # Of the whole line, like the other limits: else the cut would go back where one of them moves.
        if tokens.of(line) > tokens.room:
            fitted = tokens.fitted(line, shape, cut) or _inside_newest(line, shape, tokens)
            if fitted is None:
                over.append("max_input_tokens")
                fitted = _cut(line, shape, shape.last_cut)
            found = fitted
    over = [limit.name for limit in counted if limit.size(found.kept) > limit.room] + over
    return replace(found, over=tuple(over))


def _only_fixed(
    budget: Budget, system: Sequence[Outgoing], tools: bytes, weights: Weights, reserved: int
) -> Trimmed:
    """A request without turns: there is nothing to cut, so all that is left is to say what is exceeded."""
    over = []
    if budget.max_messages is not None and len(system) > budget.max_messages:
        over.append("max_messages")
    most = budget.max_input_tokens
    if most is not None and _fixed(system, tools, weights, reserved) > most:
        over.append("max_input_tokens")
    return Trimmed((), over=tuple(over), reserved=reserved)


def _fixed(system: Sequence[Outgoing], tools: bytes, weights: Weights, reserved: int) -> int:
    """The tokens that go along whatever is cut."""
    fixed = reserved + sum(each.tokens(weights) for each in system)
    return fixed + (weights.tokens(measure_of_tools(tools)) if tools else 0)


def _cut(line: Sequence[Outgoing], shape: Shape, cut: int) -> Trimmed:
    return Trimmed((*line[: shape.first], *line[cut:]), cut - shape.first, cut=shape.behind(cut))


def _inside_newest(line: Sequence[Outgoing], shape: Shape, tokens: _Tokens) -> Trimmed | None:
    """All old turns go, and of the newest its oldest steps: a call together with its results.

    Only where the newest turn does not fit even when it is shortened: an agent's hundreds of calls.
    """
    if line[shape.newest].role != "user" or shape.last_cut != shape.newest:
        return None
    first = shape.first + 1
    left = [*line[: shape.first], *line[shape.newest :]]
    steps = [at for at in range(first, len(left)) if left[at].role == "assistant"]
    cuts = whole(steps[1:], first, pairs_of(left, each_step=True))
    if not cuts:
        return None
    found = tokens.fitted(left, Shape(first, cuts, first - 1, steps[-1]), first)
    dropped = len(line) - len(left)
    return found and replace(
        found,
        dropped=found.dropped + dropped,
        cut=shape.behind(shape.newest),
        inside=found.cut and found.cut + dropped,
        shorter=found.shorter and found.shorter + dropped,
    )


def _shortened(line: Sequence[Outgoing], shape: Shape) -> list[Outgoing]:
    """The line with everything made shorter that may be; the newest question stays as it is."""
    return [
        each
        if at < shape.first or at == shape.newest or at >= shape.last_call
        else shortened(each, in_newest_turn=at > shape.newest)
        for at, each in enumerate(line)
    ]


@dataclass(slots=True, frozen=True)
class _Counted:
    """A limit of messages or turns, the room that it leaves, and the sizes summed up from the start."""

    name: str
    limit: int
    room: int
    sums: Sequence[int]
    size: Callable[[Sequence[Outgoing]], int]

    def cut(self, shape: Shape, share: float) -> int:
        """The first place at or behind the least multiple of the step that makes room.

        Where no place is far enough the last one is taken: as much as can be cut.
        """
        excess = self.sums[-1] - self.room
        if excess <= 0:
            return shape.first
        far = self.sums[shape.first] + _goal(excess, self.limit, share)
        return next((at for at in shape.cuts if self.sums[at] >= far), shape.last_cut)


@dataclass(slots=True, frozen=True)
class _Tokens:
    """The limit of tokens, and the room that system messages and tools leave for the line."""

    limit: int
    room: int
    step: float
    weights: Weights

    def of(self, line: Sequence[Outgoing]) -> int:
        """The tokens of these messages."""
        return sum(self._sizes(line))

    def fitted(self, line: Sequence[Outgoing], shape: Shape, least: int) -> Trimmed | None:
        """The line cut at `least` or behind it and made shorter, or None if it does not fit."""
        short = _shortened(line, shape)
        sums = _Sums(
            [0, *accumulate(self._sizes(line))],
            [0, *accumulate(self._sizes(short))],
        )
        cut, shorter, asked = self._places(line, sums, shape, least)
        stays = range(asked, asked + 1) if asked is not None else range(0)
        told = (*stays, *range(cut, shorter))
        kept = (*line[: shape.first], *(short[at] for at in told), *line[shorter:])
        if sum(self._sizes(kept)) > self.room:
            return None
        changed = sum(short[at] is not line[at] for at in told)
        return Trimmed(
            kept,
            cut - shape.first - len(stays),
            shortened=changed,
            cut=shape.behind(cut if asked is None else asked),
            part=0 if asked is None else cut,
            shorter=shorter if changed else 0,
        )

    def _sizes(self, line: Sequence[Outgoing]) -> Iterator[int]:
        return (each.tokens(self.weights) for each in line)

    def _places(
        self, line: Sequence[Outgoing], sums: _Sums, shape: Shape, least: int
    ) -> tuple[int, int, int | None]:
        """Up to the first everything is dropped, from there to the second everything is made shorter. The
        third is the question that stays, where the first lies within its turn.

        They move forward together, so far apart that what was made shorter fills its share of the room.
        What is taken away thus depends on the old end of the line alone, and is no less when it has grown.
        """
        part = math.ceil(self.limit / _GRID)
        base = max(part, self.room // part * part)
        excess = sums.whole[-1] - self.room
        shared = int((base - base * Fraction(str(self.step))) * _SHORTENED_SHARE)
        questions = self._parts(line, sums, shape, least, _goal(1, base, self.step))
        places = sorted({at for at in (shape.first, *shape.cuts, *questions) if at >= least})
        shortened = [sums.short[at] for at in places]
        end = max(shape.last_call, least)

        def behind(shorter: int) -> int:
            """The first place that leaves no more than its share to what is shorter up to here."""
            near = bisect_left(shortened, sums.short[shorter] - shared)
            return places[min(near, bisect_right(places, shorter) - 1)]

        def taken(cut: int, shorter: int) -> int:
            return sums.gone(shape.first, cut, shorter, questions.get(cut))

        def gone(shorter: int) -> int:
            return taken(behind(shorter), shorter)

        large = self._large_questions(line, sums, places, _goal(1, base, self.step))
        stop = next((at for at in large if gone(at) >= excess), end + 1)
        for smaller in _SMALLER:  # where a whole step is more than can be taken away, a part of it is
            goal = _goal(excess, base, self.step / smaller)
            shorter = min(bisect_left(range(end + 1), goal, lo=least, key=gone), stop)
            if shorter <= end:
                return behind(shorter), shorter, questions.get(behind(shorter))
            cut = next((at for at in places if taken(at, max(at, end)) >= goal), None)
            if cut is not None:
                return cut, max(cut, end), questions.get(cut)
        return places[-1], max(places[-1], end), questions.get(places[-1])

    def _parts(
        self, line: Sequence[Outgoing], sums: _Sums, shape: Shape, least: int, step: int
    ) -> dict[int, int]:
        """Where an old turn that is larger than a step may be cut, in front of each of its answers but the
        first; with the place of its question."""
        found: dict[int, int] = {}
        starts = [at for at in range(max(shape.first, least), shape.newest) if line[at].role == "user"]
        for asked, end in pairwise([*starts, shape.newest]):
            if sums.whole[end] - sums.whole[asked] > step:
                answers = [at for at in range(asked + 1, end) if line[at].role == "assistant"]
                found.update(dict.fromkeys(answers[1:], asked))
        allowed = whole(list(found), shape.first, pairs_of(line, each_step=True)) if found else ()
        return {at: found[at] for at in allowed}

    def _large_questions(
        self, line: Sequence[Outgoing], sums: _Sums, places: Sequence[int], step: int
    ) -> Iterator[int]:
        """The places in front of questions that are larger than a step, also when they are made shorter.

        Not of turns that are: a turn grows, and the cut would go back once it is that large.
        """
        for at in places:
            is_large = line[at].role == "user" and sums.whole[at + 1] - sums.whole[at] > step
            if is_large and shortened(line[at]).tokens(self.weights) > step:
                yield at


@dataclass(slots=True, frozen=True)
class _Sums:
    """The tokens of a line up to each place, as it is and made shorter."""

    whole: Sequence[int]
    short: Sequence[int]

    def gone(self, first: int, cut: int, shorter: int, asked: int | None = None) -> int:
        """What is taken away if everything from `first` to `cut` goes, but for the question `asked`, and the
        rest to `shorter` shrinks."""
        shrunk = (self.whole[shorter] - self.whole[cut]) - (self.short[shorter] - self.short[cut])
        stays = self.short[asked + 1] - self.short[asked] if asked is not None else 0
        return self.whole[cut] - self.whole[first] - stays + shrunk


def _goal(excess: int, of: int, share: float) -> int:
    """The least multiple of the step that is no less than the excess."""
    step = math.ceil(of * Fraction(str(share)))  # exact: 0.1 * 30 is 3 and no more
    return math.ceil(excess / step) * step


def _counted(line: Sequence[Outgoing], budget: Budget, system: Sequence[Outgoing]) -> list[_Counted]:
    found: list[_Counted] = []
    if (limit := budget.max_messages) is not None:
        found.append(_Counted("max_messages", limit, limit - len(system), range(len(line) + 1), len))
    if (limit := budget.max_turns) is not None:
        turns = [0, *accumulate(each.role == "user" for each in line)]
        found.append(_Counted("max_turns", limit, limit, turns, _turns))
    return found


def _turns(line: Sequence[Outgoing]) -> int:
    return sum(each.role == "user" for each in line)
