"""Where the limit comes from to which a prompt was cut.

Rule: it is told from the settings that are in force, and only what fits these; what does not was another
setting's, or a window's that was known then.
"""

from __future__ import annotations

from sidecar.conversation.records import Exchange
from sidecar.inspector.shown import count, told
from sidecar.settings.trimming import Trim

__all__ = ["limit_of"]


def limit_of(exchange: Exchange, trim: Trim | None) -> str:
    """Where it comes from, in a few words; empty for a prompt that was not cut and had none."""
    detail = exchange.detail
    counted = _counted(exchange, trim) if trim is not None and detail.dropped else []
    if detail.budget is not None:
        return " or ".join([f"{count(detail.budget)} tokens, {_of_tokens(exchange, trim)}", *counted])
    if not detail.dropped and not detail.shortened:
        return ""
    return " or ".join(counted) or "a limit of messages or turns that is no longer set"


def _of_tokens(exchange: Exchange, trim: Trim | None) -> str:
    detail = exchange.detail
    if detail.overflow_retries:
        return "so that it fits the upstream, which had refused the whole as too long"
    if trim is not None:
        rule = trim.rule(exchange.model)
        if rule is not None and "max_input_tokens" in rule.model_fields_set:
            if rule.max_input_tokens == detail.budget:
                return f"the operator's `max_input_tokens` in `trim.models` for {told(rule.match)}"
        elif trim.max_input_tokens == detail.budget:
            return "the operator's `trim.max_input_tokens`"
    return "of the model's window as it was known, less the room for the answer (`trim.answer_share`)"


def _counted(exchange: Exchange, trim: Trim) -> list[str]:
    rule, found = trim.rule(exchange.model), []
    for name in ("max_messages", "max_turns"):
        if rule is not None and name in rule.model_fields_set:
            most, where = getattr(rule, name), f"`{name}` in `trim.models` for {told(rule.match)}"
        else:
            most, where = getattr(trim, name), f"`trim.{name}`"
        if most is not None:
            found.append(f"{count(most)} {name.removeprefix('max_')}, the operator's {where}")
    return found
