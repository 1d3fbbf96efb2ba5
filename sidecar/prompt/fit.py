"""A prompt fitted to its budget: what is kept of the history, and by which weights it was measured.

Rule: learning never moves a cut between two steps. The estimate of tokens learns with every reply. In a long
chat the smallest change of it would shift what was dropped, with every request, and no prefix cache would hit
again. So a conversation keeps the weights that it was cut by, for each model, until a step moves the cut
anyway: then it takes those of the day. For the rest of that turn (an agent's next call, the same question
again) these stay, whatever is learned.

Room for a summary is kept free whether there is one yet or not, and is given up where nothing would fit
beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace as change

from sidecar.conversation.measure import Measure, Measured, measure_of_tools
from sidecar.conversation.message import encode, read
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import PLACE
from sidecar.prompt.trim import Budget, Trimmed, trim
from sidecar.prompt.weights import Weights

__all__ = ["Fitted", "Full", "Weighing", "around", "fit", "surely_fits"]

#: Two or three models side by side are usual; of more the latest are kept.
_MODELS = 4


@dataclass(slots=True, frozen=True)
class Full:
    """A prompt before it is cut. `line`: what comes after the leading system messages.

    `summary`: the tokens to keep free for a summary, 0 for none. `recall`: those for what comes back of the
    turns that are dropped, where some are.
    """

    line: Sequence[Outgoing]
    system: Sequence[Outgoing] = ()
    tools: bytes = b""
    summary: int = 0
    recall: int = 0


@dataclass(slots=True, frozen=True)
class Weighing:
    """The weights of the day for this model, and what the conversation has kept of earlier ones.

    `kept` is what an earlier `Fitted` of this conversation gave; damaged or foreign bytes count as none.
    `fresh`: the cut has to move, for the upstream refused what there was.
    """

    now: Weights
    model: str | None = None
    kept: bytes | None = None
    fresh: bool = False


@dataclass(slots=True, frozen=True)
class Fitted:
    """A cut, and what the conversation is to keep of it: None for what it has already.

    `weights`: by which the tokens were counted.
    """

    trimmed: Trimmed
    weights: Weights
    kept: bytes | None = None


def fit(full: Full, budget: Budget, by: Weighing) -> Fitted:
    """Cut a prompt to its budget, by the weights that were kept, or by those of now where a step moves it.

    The line is looked through once for most requests, twice for the first request of a turn in a chat that is
    cut, and three times where the step moves.
    """
    line = full.line
    if budget.max_input_tokens is None:
        return Fitted(_trimmed(full, line, budget, by.now), by.now)
    models, name, turn = _decoded(by.kept), by.model or "", _newest_turn(line)
    before = models.pop(name, None)
    known = Weights.decoded(encode(before["weights"])) if before else None
    trimmed: Trimmed | None = None
    if known is not None and before is not None and not by.fresh:
        trimmed = _trimmed(full, line, budget, known)
        if before["turn"] == _mark(line, turn) or not _is_cut(trimmed):
            return Fitted(trimmed, known)
        if _same(trimmed, _trimmed(full, _asked_before(line, turn), budget, known)):
            return Fitted(trimmed, known)
    if trimmed is None or known is None or known.encoded() != by.now.encoded():
        trimmed = _trimmed(full, line, budget, by.now)
    if not _is_cut(trimmed):
        return Fitted(trimmed, by.now)
    models[name] = {"turn": _mark(line, turn), "weights": read(by.now.encoded())}
    return Fitted(trimmed, by.now, encode(dict(list(models.items())[-_MODELS:])))


def surely_fits(measure: Measure, tools: bytes, budget: Budget, weights: Weights) -> bool:
    """Can it be told without looking at each message that nothing is cut? False proves nothing.

    `measure`: of all messages together.
    """
    if budget.max_messages is not None or budget.max_turns is not None or budget.max_input_tokens is None:
        return budget.unlimited
    of_tools = weights.tokens(measure_of_tools(tools)) if tools else 0
    return weights.most(measure) + of_tools <= max(budget.max_input_tokens, budget.beyond or 0)


def around(system: Iterable[Measured], tools: bytes, weights: Weights) -> tuple[int, int]:
    """The tokens of the leading system messages, and of the tools: they go along whatever is cut."""
    of_tools = weights.tokens(measure_of_tools(tools)) if tools else 0
    return sum(weights.tokens(each.measure) for each in system), of_tools


def _trimmed(full: Full, line: Sequence[Outgoing], budget: Budget, weights: Weights) -> Trimmed:
    """The line cut so that there is room for a summary and for what is recalled; for less, where that would
    make it too long."""
    tokens = _tokens(full, line, weights) if budget.beyond is not None or full.recall else 0
    if budget.beyond is not None and tokens <= budget.beyond:
        budget = change(budget, max_input_tokens=None)
    most = budget.max_input_tokens
    recall = full.recall if most is not None and tokens + full.summary > most else 0
    for summary, more in dict.fromkeys(((full.summary, recall), (0, recall), (full.summary, 0))):
        if not (summary or more):
            continue
        place = full.system or ((PLACE,) if summary else ())
        kept_free = summary + more
        trimmed = trim(line, budget, system=place, tools=full.tools, weights=weights, reserved=kept_free)
        if not trimmed.over:
            return change(trimmed, recall=more)
    return trim(line, budget, system=full.system, tools=full.tools, weights=weights)


def _tokens(full: Full, line: Sequence[Outgoing], weights: Weights) -> int:
    return sum(around(full.system, full.tools, weights)) + sum(each.tokens(weights) for each in line)


def _is_cut(trimmed: Trimmed) -> bool:
    return bool(trimmed.dropped or trimmed.shortened)


def _same(one: Trimmed, other: Trimmed) -> bool:
    return (one.dropped, one.shortened) == (other.dropped, other.shortened)


def _newest_turn(line: Sequence[Outgoing]) -> int:
    """Where it begins."""
    return next((at for at in range(len(line) - 1, -1, -1) if line[at].role == "user"), 0)


def _asked_before(line: Sequence[Outgoing], turn: int) -> Sequence[Outgoing]:
    """What was sent for the last answer before this turn."""
    answers = (at for at in range(turn - 1, -1, -1) if line[at].role == "assistant")
    return line[: next(answers, turn)]


def _mark(line: Sequence[Outgoing], turn: int) -> str:
    """Tells one newest turn of a conversation from the next."""
    return f"{turn}:{zlib.crc32(line[turn].raw):08x}" if line else ""


def _decoded(kept: bytes | None) -> dict[str, dict[str, Any]]:
    try:
        models = read(kept) if kept else {}
    except ValueError:
        return {}
    return {
        name: each
        for name, each in models.items()
        if type(each) is dict and type(each.get("turn")) is str and type(each.get("weights")) is dict
    }
