"""The ids of calls, as a client is told them: no two calls of an answer have one, and none is without.

What is kept of an answer is what its upstream said; but where that gave two calls one id, the later ones are
kept without, as those are to which it gave none. Results of such calls are theirs in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.message import Fields
from sidecar.dialects.base import Reply
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.ids import call_id

__all__ = ["ids_told", "with_ids_apart"]


def with_ids_apart(reply: Reply) -> Reply:
    """The reply with no id twice among its calls."""
    if reply.message.count(b'"id"') < 2:
        return reply
    message = loads(reply.message)
    seen: set[str] = set()
    is_same = True
    for call in _calls(message):
        id = call.get("id")
        if isinstance(id, str) and id in seen:
            del call["id"]
            is_same = False
        elif isinstance(id, str):
            seen.add(id)
    return reply if is_same else replace(reply, message=encode(message))


def ids_told(message: Fields, exchange: bytes) -> list[str]:
    """Under which ids the calls of a kept answer were told."""
    ids = (call.get("id") for call in _calls(message))
    return [id if isinstance(id, str) and id else call_id(exchange, at) for at, id in enumerate(ids)]


def _calls(message: Fields) -> Sequence[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else []
