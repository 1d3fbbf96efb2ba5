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
    calls = {item["call_id"] for item in left if "call_id" in item}
    told = [call for call in fields.pop("tool_calls", None) or () if call.get("id") in calls]
    return {**fields, "tool_calls": told} if told else fields
