"""Which turns go upstream when the history has outgrown its budget.

Owned rules: leading system messages, the newest user message and what follows it are never cut; whole
turns are, oldest first; a tool result never goes without its call. The cut moves in steps: what is
dropped is the least multiple of a step (a share of the budget) that makes the rest fit, so between two
steps the prompt only grows at its end and the upstream's prefix cache keeps hitting. It depends on the
path and the budget alone: every replica and every retry cut alike.

What cannot be made to fit is sent whole and said (`Trimmed.over`), never cut silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from sidecar.conversation.message import call_ids, read
from sidecar.conversation.rebuild import Outgoing
from sidecar.conversation.tokens import estimate

__all__ = ["Budget", "Trimmed", "trim"]


@dataclass(slots=True, frozen=True)
class Budget:
    """Limits for what goes upstream; None is no limit.

    `max_messages` counts the leading system messages too. `max_input_tokens` is an estimate over the
    messages and the list of tools. `step` is a share of the budget, above 0 and at most 1, and makes whole
    messages, turns or tokens, rounded up: less than one of them would move the cut with every turn.
    """

    max_messages: int | None = None
    max_turns: int | None = None
    max_input_tokens: int | None = None
    step: float = 0.4
    keep_first_turn: bool = False

    @property
    def unlimited(self) -> bool:
        """Nothing to do: no limit is set."""
        return self.max_messages is None and self.max_turns is None and self.max_input_tokens is None


@dataclass(slots=True, frozen=True)
class Trimmed:
    """What is left, how many messages were dropped, and which limits it still exceeds."""

    kept: tuple[Outgoing, ...]
    dropped: int = 0
    over: tuple[str, ...] = ()


def trim(
    line: Sequence[Outgoing], budget: Budget, *, system: Sequence[Outgoing] = (), tools: bytes = b""
) -> Trimmed:
    """Cut `line` (the messages after the leading system ones) to the budget.

    `system` and `tools` go along whatever happens; they only take their share of the room.
    """
    if budget.unlimited:
        return Trimmed(tuple(line))
    starts = _turn_starts(line)
    first = _anchor(starts) if budget.keep_first_turn else 0
    pairs = _pairs(line)
    cuts = [at for at in starts if at > first and not any(first <= call < at <= end for call, end in pairs)]
    cut, limits = first, _limits(line, budget, system, tools)
    for limit in limits:
        cut = max(cut, limit.cut(first, cuts, budget.step))
    over = tuple(limit.name for limit in limits if limit.left(first, cut) > limit.room)
    return Trimmed((*line[:first], *line[cut:]), cut - first, over)


@dataclass(slots=True, frozen=True)
class _Limit:
    """One limit, the room that it leaves for the line, and the line's sizes summed up from its start."""

    name: str
    limit: int
    room: int
    sums: Sequence[int]

    def left(self, first: int, cut: int) -> int:
        """The size of what stays when the messages from `first` to `cut` go."""
        return self.sums[-1] - (self.sums[cut] - self.sums[first])

    def cut(self, first: int, cuts: Sequence[int], share: float) -> int:
        """The first place at or behind the least multiple of the step that makes room.

        Where no place is far enough the last one is taken: as much as can be cut.
        """
        excess = self.sums[-1] - self.room
        if excess <= 0 or not cuts:
            return first
        step = math.ceil(self.limit * Fraction(str(share)))  # exact: 0.1 * 30 is 3 and no more
        goal = math.ceil(excess / step) * step
        return next((at for at in cuts if self.sums[at] - self.sums[first] >= goal), cuts[-1])


def _limits(
    line: Sequence[Outgoing], budget: Budget, system: Sequence[Outgoing], tools: bytes
) -> list[_Limit]:
    found: list[_Limit] = []

    def add(name: str, limit: int | None, fixed: int, size: Callable[[Outgoing], int]) -> None:
        if limit is not None:
            found.append(_Limit(name, limit, limit - fixed, [0, *accumulate(map(size, line))]))

    add("max_messages", budget.max_messages, len(system), lambda _: 1)
    add("max_turns", budget.max_turns, 0, lambda each: each.role == "user")
    if budget.max_input_tokens is not None:
        fixed = sum(estimate(each.raw) for each in system) + (estimate(tools) if tools else 0)
        add("max_input_tokens", budget.max_input_tokens, fixed, lambda each: estimate(each.raw))
    return found


def _turn_starts(line: Sequence[Outgoing]) -> list[int]:
    """Where each turn begins; what stands before the first user message is a turn of its own."""
    starts = [at for at, each in enumerate(line) if each.role == "user"]
    return starts if starts[:1] == [0] else [0, *starts]


def _anchor(starts: Sequence[int]) -> int:
    """The end of the first turn, if there is a later one."""
    return starts[1] if len(starts) > 1 else 0


def _pairs(line: Sequence[Outgoing]) -> list[tuple[int, int]]:
    """Where a tool is called, and where its result stands, for those that lie in different turns.

    A result belongs to the nearest call before it: some engines use the same ids in every turn.
    """
    called: dict[str, tuple[int, int]] = {}
    pairs: list[tuple[int, int]] = []
    turn = 0
    for at, each in enumerate(line):
        if each.role == "user":
            turn += 1
        elif each.role == "assistant" and b'"tool_calls"' in each.raw:
            called.update((id, (turn, at)) for id in call_ids(read(each.raw)))
        elif each.role == "tool" and called:
            asked_in, asked_at = called.get(str(read(each.raw).get("tool_call_id")), (turn, at))
            if asked_in != turn:
                pairs.append((asked_at, at))
    return pairs
