"""Messages without those of their items that a client has taken out of its conversation.

Rule: what is left is a history that a model can be shown. The result of a call that is no longer there goes
with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sidecar.dialects.responses.answer import REASONING_FIELDS
from sidecar.dialects.responses.as_items import Item

__all__ = ["without"]


def without(
    message: Mapping[str, Any], items: Sequence[Item], gone: Collection[str]
) -> Mapping[str, Any] | None:
    """What is left of a message without those of its items that have these ids; None if that is nothing."""
    left = [item for item in items if item["id"] not in gone]
    if len(left) == len(items):
        return message
    kinds = {item["type"] for item in left}
    if not kinds - {"reasoning"}:
        return None
    fields = dict(message)
    if "reasoning" not in kinds:
        for name in REASONING_FIELDS:
            fields.pop(name, None)
    if "message" not in kinds:
        fields["content"] = None
    told = _calls_left(fields.pop("tool_calls", None), [item for item in items if "call_id" in item], gone)
    if not told and not any("call_id" in item for item in left):
        fields.pop("function_call", None)
    return {**fields, "tool_calls": told} if told else fields


def _calls_left(told: Any, made: Sequence[Item], gone: Collection[str]) -> list[Any]:
    """The calls that are left of those that were told, which are these items: known by their ids, or, where
    their upstream gave none, by their places."""
    calls = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    is_left = {item["call_id"]: item["id"] not in gone for item in made}
    places = [item["id"] not in gone for item in made] if len(made) == len(calls) else [False] * len(calls)
    return [call for call, place in zip(calls, places, strict=True) if is_left.get(_id_of(call), place)]


def _id_of(call: Mapping[str, Any]) -> str | None:
    id = call.get("id")
    return id if isinstance(id, str) else None
