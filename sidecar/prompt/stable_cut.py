"""By which weights a conversation is cut: learning never moves a cut between two steps.

The estimate of tokens learns with every reply. In a long chat the smallest change of it would shift what
was dropped, with every request, and no prefix cache would hit again. So a conversation keeps the weights
that it was cut by, for each model, until a step moves the cut anyway: then it takes those of the day. For
the rest of that turn (an agent's next call, the same question again) these stay, whatever is learned.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.conversation.message import encode, read
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.trim import Trimmed
from sidecar.prompt.weights import Weights

__all__ = ["StableCut", "steady"]

#: Two or three models side by side are usual; of more the latest are kept.
_MODELS = 4

Cut = Callable[[Sequence[Outgoing], Weights], Trimmed]


@dataclass(slots=True, frozen=True)
class StableCut:
    """A cut, and what the conversation is to keep of it: None for what it has already."""

    trimmed: Trimmed
    kept: bytes | None = None


def steady(
    cut: Cut,
    line: Sequence[Outgoing],
    now: Weights,
    model: str | None,
    kept: bytes | None,
    *,
    fresh: bool = False,
) -> StableCut:
    """Cut the line by the weights that were kept, or by those of `now` where a step moves the cut.

    `kept` is what an earlier `Steady` of this conversation gave; damaged or foreign bytes count as none.
    `fresh`: the cut has to move, for the upstream refused what there was.
    """
    models = _decoded(kept)
    name, turn = model or "", _newest_turn(line)
    before = models.pop(name, None)
    known = Weights.decoded(encode(before["weights"])) if before else None
    trimmed: Trimmed | None = None
    if known is not None and before is not None and not fresh:
        trimmed = cut(line, known)
        if before["turn"] == _mark(line, turn) or _same(trimmed, cut(_asked_before(line, turn), known)):
            return StableCut(trimmed)
    if trimmed is None or known is None or known.encoded() != now.encoded():
        trimmed = cut(line, now)
    if not (trimmed.dropped or trimmed.shortened):
        return StableCut(trimmed)
    models[name] = {"turn": _mark(line, turn), "weights": read(now.encoded())}
    return StableCut(trimmed, encode(dict(list(models.items())[-_MODELS:])))


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
