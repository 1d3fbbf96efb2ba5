"""How much of the history one request may take upstream.

Rule: what the settings say of its model counts before what they say of all; `auto` is nearly the model's
window, less the room for the answer, and no limit until the window is known. A ceiling, set after a refusal
for length, is never exceeded.
"""

from __future__ import annotations

from typing import Any

from sidecar.conversation.trim import Budget
from sidecar.exchange.call import ChatCall
from sidecar.proxy.context import Context

__all__ = ["answer_room", "budget_of"]

# What is estimated to fit to the last token is refused every other time. The rest of the window is for the
# estimate's error, which is about as large.
_SURE = 0.98

_LIMITS = ("max_messages", "max_turns", "max_input_tokens")


def budget_of(context: Context, asked: ChatCall, ceiling: int | None = None) -> Budget:
    """The limits for this request; `ceiling` in tokens, as they are estimated here."""
    rule, trim = context.windows.rule(asked.chat.model), context.settings.trim
    limits: dict[str, Any] = {name: getattr(trim, name) for name in _LIMITS}
    if rule is not None:
        limits |= {name: getattr(rule, name) for name in _LIMITS if name in rule.model_fields_set}
    tokens = limits["max_input_tokens"]
    if tokens == "auto":
        window = context.windows.of(asked.chat.model, asked.identity.credential)
        tokens = None if window is None else int(window * _SURE) - answer_room(context, asked, window)
    if ceiling is not None:
        tokens = ceiling if tokens is None else min(tokens, ceiling)
    return Budget(
        max_messages=limits["max_messages"],
        max_turns=limits["max_turns"],
        max_input_tokens=tokens,
        step=trim.step,
        keep_first_turn=trim.keep_first_turn,
    )


def answer_room(context: Context, asked: ChatCall, window: int) -> int:
    """The tokens of a window that are kept for the answer: never more than half of it."""
    share = int(window * context.settings.trim.answer_share)
    return min(asked.chat.max_tokens or share, window // 2)
