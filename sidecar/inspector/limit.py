"""Where the limit comes from to which a prompt was cut, and why so much of it was left out.

Rule: it is told from the settings that are in force, and only what fits these; what does not was another
setting's, or a window's that was known then.
"""

from __future__ import annotations

import math
from fractions import Fraction

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.inspector.shown import count, told
from sidecar.settings.trimming import Trim

__all__ = ["cut_of", "limit_of", "taken_of"]
_STILL_MORE = (
    " The {} that went are still more: tools and system prompt have {} of them, and stay, as the newest turn"
    " does."
)


def limit_of(exchange: Exchange, trim: Trim | None) -> str:
    """Where it comes from, in a few words; empty for a prompt that was not cut and had none."""
    detail = exchange.detail
    counted = _counted(exchange, trim) if trim is not None and detail.dropped else []
    if detail.budget is not None:
        limits = [f"{count(detail.budget)} tokens, {_of_tokens(exchange, trim)}", *counted]
        return " or ".join(limits) + _taken(detail.budget, detail)
    if not detail.dropped and not detail.shortened:
        return ""
    return " or ".join(counted) or "a limit of messages or turns that is no longer set"


def taken_of(detail: Detail, tokens: int) -> str:
    """How much of the limit the tools, or the system prompt, took; empty where that is not known."""
    if not tokens or not detail.budget:
        return ""
    return f"; by estimate {count(tokens)} tokens, {round(100 * tokens / detail.budget)} % of the limit"


def _taken(budget: int, detail: Detail) -> str:
    """What was left of the limit for what was said, where tools and system prompt took most of it."""
    taken = detail.system_tokens + detail.tools_tokens
    if 2 * taken <= budget:
        return ""
    return (
        f"; of these the tools took {count(detail.tools_tokens)} and the system prompt"
        f" {count(detail.system_tokens)}, by estimate, and left {count(max(0, budget - taken))} for what was"
        " said: fewer tools, or a larger window, leave more"
    )


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


def cut_of(exchange: Exchange, trim: Trim | None, *, is_first_turn_out: bool = False) -> str:
    """Why so much was left out as was, in a sentence, and why the first turn went as well, if it did; empty
    where nothing was."""
    said = _cut(exchange, trim)
    return said + _first_turn(trim) if said and is_first_turn_out and trim is not None else said


def _first_turn(trim: Trim) -> str:
    """Why it did not stay."""
    if trim.keep_first_turn is True:
        return ""
    if trim.keep_first_turn is False:
        return " The first turn went with the others, since `trim.keep_first_turn` is false."
    return (
        " The first turn went with the others: it stays only where it takes no more than"
        f" {100 * trim.first_turn_share:g} % of the limit (`trim.first_turn_share`), and the newest turn fits"
        " beside it (`trim.keep_first_turn`)."
    )


def _cut(exchange: Exchange, trim: Trim | None) -> str:
    detail = exchange.detail
    if not detail.dropped:
        return ""
    budget, went = detail.budget, detail.estimated_tokens
    whole = went + detail.saved if went is not None else None
    if budget is not None and detail.saved and (whole is None or whole > budget):
        had = f"The whole had {count(whole)} tokens by estimate, and" if whole is not None else "Of the whole"
        left = f"{count(detail.saved)} tokens were left out"
        stayed = f"the {count(went)} that went" if went is not None else "what went"
        taken = min(budget, detail.system_tokens + detail.tools_tokens)
        if went is not None and went > budget:
            around = count(detail.system_tokens + detail.tools_tokens)
            said = f"{had} {count(budget)} were the limit: {left}, all that may go."
            return said + _STILL_MORE.format(count(went), around)
        of = "what tools and system prompt leave of the limit" if taken else "the limit"
        steps = _by_steps(budget - taken, "tokens", trim, stayed, of)
        return f"{had} {count(budget)} were the limit: {left}, {steps}"
    for name in ("max_messages", "max_turns") if trim is not None else ():
        rule = trim.rule(exchange.model) if trim is not None else None
        own = rule is not None and name in rule.model_fields_set
        most, unit = getattr(rule if own else trim, name), name.removeprefix("max_")
        if most is not None:
            left = f"{count(detail.dropped)} messages were left out"
            return f"The limit was {count(most)} {unit}: {left}, {_by_steps(most, unit, trim, 'what went')}"
    return f"{count(detail.dropped)} messages were left out, {_by_steps(None, '', trim, 'what went')}"


def _by_steps(limit: int | None, unit: str, trim: Trim | None, stayed: str, of: str = "the limit") -> str:
    share = ""
    if trim is not None:
        about = math.ceil(limit * Fraction(str(trim.step))) if limit is not None else None
        share = f" of {100 * trim.step:g} % of {of}"
        share += f" ({count(about)} {unit} at most)" if about is not None else ""
    return (
        f"since a cut goes by whole steps{share}, so that {stayed} can grow behind one beginning, which the"
        " upstream keeps in its cache, for many turns before the next cut (`trim.step`: with a smaller one"
        " less is left out at a time, and more often)."
    )
