"""How much of the history one request may take upstream.

Rule: what the settings say of its model counts before what they say of all; `auto` is nearly the model's
window, less the room for the answer, and no limit until the window is known. A ceiling, set after a refusal
for length, is never exceeded.
"""

from __future__ import annotations

from typing import Any

from sidecar.exchange.call import ChatCall
from sidecar.prompt.trim import Budget
from sidecar.proxy.services import Services

__all__ = ["answer_room", "budget_of"]

# What is estimated to fit to the last token is refused every other time. The rest of the window is for the
# estimate's error, which is about as large.
_SURE = 0.98

_LIMITS = ("max_messages", "max_turns", "max_input_tokens")


def budget_of(services: Services, call: ChatCall, ceiling: int | None = None) -> Budget:
    """The limits for this request; `ceiling` in tokens, as they are estimated here."""
    if not call.may_be_cut:
        return Budget()
    rule, trim = services.windows.rule(call.chat.model), services.settings.trim
    limits: dict[str, Any] = {name: getattr(trim, name) for name in _LIMITS}
    if rule is not None:
        limits |= {name: getattr(rule, name) for name in _LIMITS if name in rule.model_fields_set}
    tokens = limits["max_input_tokens"]
    if tokens == "auto" and call.awaits_refusal:
        tokens = None  # it waits for the refusal, and compacts its history by itself
    elif tokens == "auto":
        window = services.windows.of(call.chat.model, call.identity.credential)
        tokens = None if window is None else int(window * _SURE) - answer_room(services, call, window)
    if ceiling is not None:
        tokens = ceiling if tokens is None else min(tokens, ceiling)
    return Budget(
        max_messages=limits["max_messages"],
        max_turns=limits["max_turns"],
        max_input_tokens=tokens,
        step=trim.step,
        keep_first_turn=bool(trim.keep_first_turn),
        first_turn_share=trim.first_turn_share if trim.keep_first_turn == "auto" else None,
    )


def answer_room(services: Services, call: ChatCall, window: int) -> int:
    """The tokens of a window that are kept for the answer: never more than half of it."""
    share = int(window * services.settings.trim.answer_share)
    return min(call.chat.max_tokens or share, window // 2)
