"""Where a line of messages may be cut: between turns, and never between a call and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.conversation.message import call_ids
from sidecar.prompt.rebuild import Outgoing

__all__ = ["Shape", "first_turn", "pairs_of", "shape_of", "whole"]


@dataclass(slots=True, frozen=True)
class Shape:
    """Where a line may be cut; a place is the number of messages before it.

    `first`: the end of what is never touched. `cuts`: where the rest may begin, in order, all behind
    `first`. `newest`: where the newest turn begins. `last_call`: from here on nothing is made shorter.
    """

    first: int
    cuts: tuple[int, ...]
    newest: int
    last_call: int

    @property
    def last_cut(self) -> int:
        """As much as can be cut."""
        return self.cuts[-1] if self.cuts else self.first

    def behind(self, cut: int) -> int:
        """Where the line goes on when it is cut here; 0 if nothing is cut."""
        return cut if cut > self.first else 0


def shape_of(line: Sequence[Outgoing], first: int) -> Shape:
    """The shape of a line whose `first` messages are never touched."""
    starts = _turn_starts(line)
    cuts = whole([at for at in starts if at > first], first, pairs_of(line))
    newest = starts[-1]
    answers = (at for at in range(len(line) - 1, newest, -1) if line[at].role == "assistant")
    return Shape(first, cuts, newest, next(answers, newest))


def first_turn(line: Sequence[Outgoing]) -> int:
    """The end of the first turn, if there is a later one; else 0."""
    starts = _turn_starts(line)
    return starts[1] if len(starts) > 1 else 0


def whole(places: Sequence[int], first: int, pairs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Those of the places (in order) up to which may be dropped from `first` on without a call going and
    its result staying, or the other way round.

    One sweep: a call that goes wants its result to go, which lies behind it; one that stays keeps it.
    """
    wanted = {call: result for call, result in pairs if call >= first}  # the last result of each counts
    kept = min((result for call, result in pairs if call < first <= result), default=None)
    calls = sorted(wanted)
    found: list[int] = []
    at_call, far = 0, first
    for at in places:
        if kept is not None and at > kept:
            break
        while at_call < len(calls) and calls[at_call] < at:
            far = max(far, wanted[calls[at_call]] + 1)
            at_call += 1
        if far <= at:
            found.append(at)
    return tuple(found)


def _turn_starts(line: Sequence[Outgoing]) -> list[int]:
    """Where each turn begins; what stands before the first user message is a turn of its own."""
    starts = [at for at, each in enumerate(line) if each.role == "user"]
    return starts if starts[:1] == [0] else [0, *starts]


def pairs_of(line: Sequence[Outgoing], *, each_step: bool = False) -> list[tuple[int, int]]:
    """Where a tool is called, and where its result stands, for those that lie in different turns.

    `each_step`: for all of them.

    A result belongs to the nearest call before it: some engines use the same ids in every turn.
    """
    called: dict[str, tuple[int, int]] = {}
    pairs: list[tuple[int, int]] = []
    turn = 0
    for at, each in enumerate(line):
        if each.role == "user":
            turn += 1
        elif each.role == "assistant" and b'"tool_calls"' in each.raw:
            called.update((id, (turn, at)) for id in call_ids(each.fields))
        elif each.role == "tool" and called:
            asked_in, asked_at = called.get(str(each.fields.get("tool_call_id")), (turn, at))
            if asked_in != turn or (each_step and asked_at != at):
                pairs.append((asked_at, at))
    return pairs
