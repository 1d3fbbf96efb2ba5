"""What an old message can do without: tool results, images, reasoning.

What stands in their place is the same text for ever: a prompt that was cut yesterday has to read the same
tomorrow, or no prefix cache would ever hit again. A call keeps its result message, for upstreams refuse a
call without one, and its reasoning, for DeepSeek and Kimi refuse a call without that. In the newest turn only
tool results are shortened: its reasoning is still being used.
"""

from __future__ import annotations

from typing import Any

from sidecar.conversation.message import encode, read, without_reasoning
from sidecar.conversation.reasoning import may_reason
from sidecar.prompt.rebuild import Outgoing

__all__ = ["IMAGE_MARKER", "RESULT_MARKER", "shortened"]

RESULT_MARKER = "[An old tool result, left out to save room]"
IMAGE_MARKER = "[An old image, left out to save room]"
#: A result of no more bytes stays: its marker would hardly be shorter.
WORTH_IT = 200

_RESULTS = ("tool", "function")
_IMAGES = ("image_url", "image", "input_image")


def shortened(each: Outgoing, *, in_newest_turn: bool = False) -> Outgoing:
    """The message without what an old one can do without; the very same object if that is nothing.

    Made once: a request is cut several times, until one cut is the right one.
    """
    if in_newest_turn and each.role not in _RESULTS:
        return each
    if each.short is not None:
        return each.short
    if each.role in _RESULTS:
        raw = _without_result(each.raw)
    elif each.role == "assistant":
        raw = _without_images(_without_reasoning(each.raw))
    else:
        raw = _without_images(each.raw)
    if raw is each.raw:
        return each
    short = Outgoing(each.role, raw, each.restored)
    object.__setattr__(each, "short", short)
    return short


def _without_result(raw: bytes) -> bytes:
    if len(raw) <= WORTH_IT:
        return raw
    fields = read(raw)
    content = fields.get("content")
    if not content or len(encode(content)) <= WORTH_IT:
        return raw
    return encode({**fields, "content": RESULT_MARKER})


def _without_reasoning(raw: bytes) -> bytes:
    if not may_reason(raw):
        return raw
    if b"_call" in raw:
        fields = read(raw)
        if fields.get("tool_calls") or fields.get("function_call"):
            return raw
    return without_reasoning(raw)


def _without_images(raw: bytes) -> bytes:
    if b"image" not in raw:
        return raw
    fields = read(raw)
    content = fields.get("content")
    if type(content) is not list or not any(map(_is_image, content)):
        return raw
    marker = {"type": "text", "text": IMAGE_MARKER}
    return encode({**fields, "content": [marker if _is_image(part) else part for part in content]})


def _is_image(part: Any) -> bool:
    return type(part) is dict and part.get("type") in _IMAGES
