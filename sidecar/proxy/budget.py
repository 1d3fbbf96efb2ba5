"""How much of the history one request may take upstream.

Rule: what the settings say of its model counts before what they say of all; `auto` is nearly the model's
window, less the room for the answer, and no limit until the window is known: from the settings or a refusal.
A window that only the engine tells counts for a prompt that surely exceeds it, by more than the estimate's
own error; one from a catalogue does not, for nobody knows what is behind that name. A ceiling, set after a
refusal for length, is never exceeded.
"""

from __future__ import annotations

from sidecar.conversation.measure import measure_of_tools, total
from sidecar.exchange.call import ChatCall
from sidecar.prompt.trim import Budget
from sidecar.proxy.services import Services

__all__ = ["answer_room", "budget_of"]

# What is estimated to fit to the last token is refused every other time. The rest of the window is for the
# estimate's error, which is about as large.
_SAFETY = 0.98

_GRID = 16


def budget_of(services: Services, call: ChatCall, ceiling: int | None = None) -> Budget:
    """The limits for this request; `ceiling` in tokens, as they are estimated here."""
    if not call.may_be_cut:
        return Budget()
    trim = services.settings.trim
    rule = trim.rule(call.chat.model)
    messages, turns, tokens = trim.max_messages, trim.max_turns, trim.max_input_tokens
    if rule is not None:
        own = rule.model_fields_set
        messages = rule.max_messages if "max_messages" in own else messages
        turns = rule.max_turns if "max_turns" in own else turns
        tokens = rule.max_input_tokens if "max_input_tokens" in own else tokens
    beyond = None
    if tokens == "auto":
        tokens, beyond = _of_window(services, call)
    if ceiling is not None:
        tokens, beyond = ceiling if tokens is None else min(tokens, ceiling), None
    return Budget(
        max_messages=messages,
        max_turns=turns,
        max_input_tokens=tokens,
        beyond=beyond,
        step=trim.step,
        keep_first_turn=bool(trim.keep_first_turn),
        first_turn_share=trim.first_turn_share if trim.keep_first_turn == "auto" else None,
    )


def _of_window(services: Services, call: ChatCall) -> tuple[int | None, int | None]:
    """The tokens that a window holds beside the answer, and how many a prompt has to exceed to be cut."""
    if call.awaits_refusal:
        return None, None  # it compacts its history by itself, once it is refused
    model, credential = call.chat.model, call.identity.credential
    window, beyond = services.background.windows.shown(model, credential), None
    if window is None and (window := services.background.windows.of_engine(model, credential)) is not None:
        measure = total([call.chat.measure, measure_of_tools(call.chat.tools)])
        beyond = int(window * (1 + services.background.calibration.error(model, measure)))
    return (int(window * _SAFETY) - answer_room(services, call, window) if window else None), beyond


def answer_room(services: Services, call: ChatCall, window: int) -> int:
    """The tokens of a window that are kept for the answer: never more than half of it.

    In whole parts of the window: `max_tokens` may be another with every request, and the cut must not.
    """
    share = int(window * services.settings.trim.answer_share)
    part = max(1, window // _GRID)
    return min(-(-(call.chat.max_tokens or share) // part) * part, window // 2)
