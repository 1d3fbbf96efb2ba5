"""How the pieces of one message join: a table for each kind of object, key -> rule.

What no table names follows OpenAI's SDKs (see `joining`). Null says nothing and never overwrites; nor does an
empty list or object at the top of a message. Upstreams put them into every delta, and some refuse them when
the message is sent back. Only `content` may be null, as it is beside tool calls.
"""

from __future__ import annotations

from typing import Any

from sidecar.streaming.joining import OBJECT, Rules, Text, encode, once, put
from sidecar.streaming.parts import Details, blocks, content, details
from sidecar.streaming.tool_calls import Calls, FunctionCall

__all__ = ["encode_message", "merge_message"]


def merge_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add one delta to `message`, which afterwards owns the delta's lists and objects."""
    for key, value in delta.items():
        held = message.get(key)
        # Nearly every delta is one more piece of a text: it gets no further than here.
        if type(held) is Text and type(value) is str:
            held.pieces.append(value)
        elif value is None and key == "content":
            message.setdefault(key, None)
        else:
            put(message, key, value, _MESSAGE)


def encode_message(message: dict[str, Any], *, finished: bool = False) -> bytes:
    """JSON of a message that is made of deltas. The message stays as it is and may grow further.

    `finished`: nothing more will come. Only then a call that has no arguments yet has none at all.
    """
    said = {}
    for key, value in message.items():
        if isinstance(value, (Calls, FunctionCall)):
            value.finished = finished
            value = value.value()
        if value or not isinstance(value, _CONTAINERS):
            said[key] = value
    if not said.get("role") or not isinstance(said["role"], str):
        said.pop("role", None)
        said = {"role": "assistant", **said}
    if said.get("content") is None and said.keys() <= {"role", "content"}:
        said["content"] = ""
    return encode(said)


def _tool_calls(held: Any, value: Any) -> Calls:
    calls = held if isinstance(held, Calls) else Calls()
    calls.add(value if isinstance(value, list) else [value])
    return calls


def _function_call(held: Any, value: Any) -> FunctionCall:
    call = held if isinstance(held, FunctionCall) else FunctionCall()
    call.add(value)
    return call


_CONTAINERS = (list, dict, Details)
_MESSAGE: Rules = {
    **OBJECT,
    "content": content,
    "tool_calls": _tool_calls,
    "function_call": _function_call,
    "reasoning_details": details,
    "reasoning_opaque": once,
    "thinking_blocks": blocks,
}
