"""Conversations as JSON Lines for programs and as Markdown for people.

JSON Lines, one conversation a line, times in Unix seconds:

    {"conversation": {"id", "key", "tenant", "created_at", "updated_at"},
     "messages": [{"id", "parent", "role", "message", "source", "state", "message_id", "model",
                   "created_at"}]}

`message` is the message as first sent or produced; `parent` is null at a root.
"""

from __future__ import annotations

import asyncio
from typing import Any, TextIO

import msgspec

from sidecar.conversation.history import Conversation, Node
from sidecar.conversation.message import read, text_of
from sidecar.errors import SidecarError
from sidecar.opened import opened
from sidecar.settings import Settings

__all__ = ["as_json", "as_markdown", "export", "write"]


def export(settings: Settings, *, conversation: str | None, format: str, out: TextIO) -> int:
    """Write all conversations, or those with this id or client's key, to `out`; returns the exit code."""
    return asyncio.run(write(settings, conversation=conversation, format=format, out=out))


async def write(settings: Settings, *, conversation: str | None, format: str, out: TextIO) -> int:
    """`export`, within a running loop."""
    render = as_markdown if format == "markdown" else as_json
    found = 0
    async with opened(settings) as store:
        async for each in store.conversations(conversation):
            out.write(render(each, await store.tree(each.id)))
            found += 1
    if conversation is not None and not found:
        raise SidecarError(f"there is no conversation {conversation!r} in {settings.store_shown}")
    return 0


def as_json(conversation: Conversation, nodes: list[Node]) -> str:
    """One line of JSON."""
    about = {
        "id": conversation.id,
        "key": conversation.key,
        "tenant": conversation.tenant.hex(),
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    }
    line = {"conversation": about, "messages": [_message(node) for node in nodes]}
    return msgspec.json.encode(line).decode() + "\n"


def as_markdown(conversation: Conversation, nodes: list[Node]) -> str:
    """The tree as a person reads it: each branch under the message that it follows."""
    lines = [f"# {conversation.key or conversation.id}", ""]
    names = {node.id: str(number) for number, node in enumerate(nodes, 1)}
    previous = None
    for node in nodes:
        after = "" if node.parent == previous else f", after {names.get(node.parent or b'', 'the start')}"
        state = "" if node.state == "complete" else f", {node.state}"
        model = f" ({node.model})" if node.model else ""
        lines += [f"## {names[node.id]}. {node.role}{model}{after}{state}", "", _text(node), ""]
        previous = node.id
    return "\n".join(lines) + "\n"


def _message(node: Node) -> dict[str, Any]:
    return {
        "id": _name(node.id),
        "parent": _name(node.parent) if node.parent else None,
        "role": node.role,
        "message": _on_one_line(node.body),
        "source": node.source,
        "state": node.state,
        "message_id": node.message_id,
        "model": node.model,
        "created_at": node.created_at,
    }


def _on_one_line(body: bytes) -> msgspec.Raw:
    """The body as it is, without the line ends of an indented one: within strings JSON has none."""
    return msgspec.Raw(body.replace(b"\n", b" ").replace(b"\r", b" "))


def _name(id: bytes) -> str:
    """`b2:` names the hash, BLAKE2b, and with it version 1 of the normal form."""
    return "b2:" + id.hex()


def _text(node: Node) -> str:
    fields = read(node.body)
    content, calls = fields.get("content"), fields.get("tool_calls")
    parts = [part.get("type") for part in content if isinstance(part, dict)] if type(content) is list else []
    others = [f"`({kind})`" for kind in parts if kind != "text"]
    called = [f"`calls {_call(call)}`" for call in calls] if type(calls) is list else []
    return "\n".join([text_of(fields), *others, *called]).strip() or "`(no text)`"


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return str(call)
    return f"{function.get('name')}({function.get('arguments', '')})"
