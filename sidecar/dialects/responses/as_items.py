"""A message of a chat as the items that it is: the way back from `items`.

Rule: what was said over another API reads as if it had been said over this one. What this API does not know
of a part stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.answer import Answer
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.drafts import call_of, input_of
from sidecar.dialects.responses.ids import Prefix, item_id
from sidecar.dialects.responses.tools import Tool, Tools

__all__ = ["Item", "in_phase", "items_of", "items_with", "kinds_of", "of_their_kinds"]

Item = dict[str, Any]

_OUTPUTS: dict[str, Prefix] = {
    "function_call": "fco",
    "custom_tool_call": "ctco",
    "tool_search_call": "tsco",
}
_KINDS = {prefix: kind for kind, prefix in _OUTPUTS.items()}
_ASKED = Asked({}, Tools())


def items_of(message: Mapping[str, Any], stem: bytes, kinds: Mapping[str, str]) -> list[Item]:
    """The items of a message. `stem`: what their ids are made of; `kinds`: the types of the calls that were
    made before, by their ids."""
    role = message.get("role")
    if role == "assistant":
        answer = Answer(_ASKED, stem)
        answer.take(dict(message))
        answer.end("completed")
        return answer.output
    if role == "tool":
        return [_output(message, stem, kinds)]
    parts = _parts(message.get("content"))
    id = item_id("msg", stem, 0)
    return [{"id": id, "type": "message", "status": "completed", "role": role, "content": parts}]


def items_with(ids: Collection[str], message: Mapping[str, Any], stem: bytes) -> list[Item]:
    """Those of the items of a message that have these ids. To which type of call a result belongs, its id
    says."""
    kinds = [_KINDS[prefix] for id in ids if (prefix := id.partition("_")[0]) in _KINDS]
    told = {str(message.get("tool_call_id")): kind for kind in kinds}
    return [item for item in items_of(message, stem, told) if item["id"] in ids]


def in_phase(items: Sequence[Item], phase: str) -> list[Item]:
    """The items of a message of the assistant that said so of it."""
    return [{**item, "phase": phase} if item["type"] == "message" else item for item in items]


def kinds_of(items: list[Item]) -> dict[str, str]:
    """The types of the calls among these items, by their ids."""
    return {item["call_id"]: item["type"] for item in items if item.get("type") in _OUTPUTS}


def of_their_kinds(items: Sequence[Item], tools: Mapping[str, Tool], made: dict[str, str]) -> list[Item]:
    """The same items, under the same ids: what was told as calls of functions as what these tools make of
    them, and their results too. `made`: the types of such calls by their ids, which is added to."""
    return [_of_its_kind(item, tools, made) for item in items]


def _of_its_kind(item: Item, tools: Mapping[str, Tool], made: dict[str, str]) -> Item:
    tool = tools.get(item["name"]) if item["type"] == "function_call" else None
    if tool is not None:
        said = item["arguments"]
        about = {name: item[name] for name in ("id", "call_id", "status")}
        item = call_of(tool, about, input_of(said) if tool.kind == "custom" else said)
        made[item["call_id"]] = item["type"]
        return item
    kind = made.get(str(item.get("call_id"))) if item["type"] == "function_call_output" else None
    if kind == "custom_tool_call":
        return {**item, "type": "custom_tool_call_output"}
    if kind == "tool_search_call":
        found = _tools(item["output"])
        about = {name: item[name] for name in ("id", "call_id", "status")}
        return {**about, "type": "tool_search_output", "execution": "client", "tools": found}
    return item


def _output(message: Mapping[str, Any], stem: bytes, kinds: Mapping[str, str]) -> Item:
    call_id, content = message.get("tool_call_id"), message.get("content")
    kind = kinds.get(str(call_id), "function_call")
    about = {"id": item_id(_OUTPUTS[kind], stem, 0), "call_id": call_id, "status": "completed"}
    if kind == "tool_search_call":
        return {**about, "type": "tool_search_output", "execution": "client", "tools": _tools(content)}
    output = content if isinstance(content, str) else _parts(content)
    return {**about, "type": f"{kind}_output", "output": output}


def _tools(content: Any) -> list[Any]:
    try:
        told = loads(content.encode()) if isinstance(content, str) else None
    except (ValueError, RecursionError):
        return []
    return told if isinstance(told, list) else []


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [_part(each) for each in content] if isinstance(content, list) else []


def _part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url), **more}}:
            return {"type": "input_image", "detail": more.get("detail", "auto"), "image_url": url}
        case {"type": "file", "file": {**file}}:
            return {"type": "input_file", **file}
        case _:
            return part if isinstance(part, dict) else {"type": "input_text", "text": encode(part).decode()}
