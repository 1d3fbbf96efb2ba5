"""Conversations as JSON Lines for programs and as Markdown for people.

JSON Lines, one conversation a line with all that is kept of it, the oldest first; times are in Unix seconds:

    {"conversation": {"id", "key", "tenant", "created_at", "updated_at"},
     "messages": [{"id", "parent", "role", "message", "source", "state", "message_id", "model",
                   "created_at"}],
     "threads": [{"root", "head", "system", "model", "tools", "is_answered", ...}],
     "exchanges": [{"id", "began_at", "parent", "replies", "outcome", ...}]}

`message` is the message as first sent or produced; `parent` is null at a root. A thread has the fields of
`Thread` in `sidecar/conversation/records.py`, an exchange those of `Exchange` and `Detail` there; `root`,
`head`, `parent` and `replies` are ids of messages, a thread's `system` is a list of messages.

In Markdown all that was said is indented, which is code and never markup: no text can look like a heading, a
message of its own or HTML. Control characters are spelled out in both (see `printable`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import text_of
from sidecar.conversation.records import Snapshot, Thread
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.printable import in_json, printable
from sidecar.store import Store

__all__ = ["as_json", "as_markdown", "write"]

# Whether it is an object, or a list, and no more: a message keeps its numbers, however large they are.
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_PORTION = 1 << 16  # characters


async def write(store: Store, ids: Iterable[str], *, format: str, out: TextIO) -> bool:
    """Write these conversations to `out`, but for those that were deleted meanwhile. Is that all of them? One
    that is damaged is left out and said."""
    is_whole = True
    for id in ids:
        try:
            whole = await store.snapshot(id)
            text = _written(whole, format) if whole is not None else ""
        except StoreUnavailable as error:
            sys.stderr.write(printable(f"sidecar: {id} is left out: {error.message}") + "\n")
            is_whole = False
            continue
        out.write(text)
    return is_whole


def _written(whole: Snapshot, format: str) -> str:
    if format == "markdown":
        return as_markdown(whole.conversation, list(whole.nodes))
    return as_json(whole.conversation, whole.nodes, whole.threads, whole.exchanges)


def as_json(
    conversation: Conversation,
    nodes: Sequence[Node],
    threads: Sequence[Thread] = (),
    exchanges: Sequence[Exchange] = (),
) -> str:
    """One line of JSON."""
    about = {
        "id": conversation.id,
        "key": conversation.key,
        "tenant": conversation.tenant.hex(),
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    }
    oldest_first = sorted(threads, key=lambda thread: thread.updated_at)
    line = {
        "conversation": about,
        "messages": [_message(conversation, node) for node in nodes],
        "threads": [_thread(conversation.id, each) for each in oldest_first],
        "exchanges": [_exchange(each) for each in exchanges],
    }
    return in_json(msgspec.json.encode(line).decode()) + "\n"


def _thread(conversation: str, thread: Thread) -> dict[str, Any]:
    return {name: getattr(thread, name) for name in thread.__struct_fields__} | {
        "root": _name(thread.root),
        "head": _name(thread.head) if thread.head is not None else None,
        "system": _messages(conversation, thread),
    }


def _messages(conversation: str, thread: Thread) -> msgspec.Raw | None:
    if thread.system is None:
        return None
    try:
        _list(thread.system.decode())
    except ValueError as error:
        raise StoreUnavailable(
            f"the thread of {_name(thread.root)} in conversation {conversation} is damaged: its system"
            " messages are not a JSON array"
        ) from error
    return _on_one_line(thread.system)


def _exchange(exchange: Exchange) -> dict[str, Any]:
    detail = {name: getattr(exchange.detail, name) for name in exchange.detail.__struct_fields__}
    del detail["encrypted"]
    difference, sent, refusal = exchange.detail.difference, exchange.detail.sent, exchange.detail.refusal
    told = {name: getattr(exchange, name) for name in exchange.__struct_fields__}
    told |= detail | {
        "id": exchange.id.hex(),
        "began_at": exchange.when / 1000,
        "parent": _name(exchange.parent) if exchange.parent else None,
        "replies": [_name(node) for node in exchange.detail.replies],
        "quoted": [_name(node) for node in exchange.detail.quoted],
        "phases": {_name(node): phase for node, phase in exchange.detail.phases},
        "refusal": refusal and {"window": refusal.window, "prompt": refusal.prompt},
        "difference": difference and {"index": difference.index, "cause": difference.cause},
        "sent": sent
        and {
            "rule": sent.rule,
            "first": _name(sent.first) if sent.first else None,
            "exceptions": {_name(node): form for node, form in sent.exceptions},
        },
    }
    del told["detail"], told["conversation"]
    told["told"] = _on_one_line(exchange.detail.told) if exchange.detail.told is not None else None
    for name in ("summary", "system", "tools"):
        told[name] = told[name].hex() if told[name] is not None else None
    return told


def as_markdown(conversation: Conversation, nodes: list[Node]) -> str:
    """The tree as a person reads it: each branch under the message that it follows."""
    lines = [f"# {_plain(conversation.key or conversation.id)}", ""]
    names = {node.id: str(number) for number, node in enumerate(nodes, 1)}
    previous = None
    for node in nodes:
        after = "" if node.parent == previous else f", after {names.get(node.parent or b'', 'the start')}"
        state = "" if node.state == "complete" else f", {node.state}"
        model = f" ({_plain(node.model)})" if node.model else ""
        lines += [f"## {names[node.id]}. {_plain(node.role)}{model}{after}{state}", "", *_text(node)]
        previous = node.id
    return "\n".join(lines) + "\n"


def _message(conversation: Conversation, node: Node) -> dict[str, Any]:
    try:
        _object(node.body.decode())
    except ValueError as error:
        raise StoreUnavailable(
            f"message b2:{node.id.hex()} in conversation {conversation.id} is damaged:"
            " it is not a JSON object"
        ) from error
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


def _text(node: Node) -> list[str]:
    """The lines of a message: its text, then what else there is in it, each behind an empty line."""
    try:
        fields = node.fields
    except ValueError:
        return ["`(not a message)`", ""]
    content, calls = fields.get("content"), fields.get("tool_calls")
    parts = [part.get("type") for part in content if isinstance(part, dict)] if type(content) is list else []
    others = [_code(f"({kind})") for kind in parts if kind != "text"]
    called = [_code(f"calls {_call(call)}") for call in calls] if type(calls) is list else []
    text = text_of(fields).strip("\r\n")
    blocks = [[_indented(text)] if text.strip() else [], [*others, *called]]
    return [line for block in blocks if block for line in (*block, "")] or ["`(no text)`", ""]


def _indented(text: str) -> str:
    told = printable(text, lines=True)
    # In portions: to split megabytes at once would hold up all other threads.
    portions, begin = list[str](), 0
    while (end := told.find("\n", begin + _PORTION)) >= 0:
        portions.append(told[begin:end])
        begin = end + 1
    portions.append(told[begin:])
    lines = (f"    {line}".rstrip() for each in portions for line in each.split("\n"))
    return "\n".join(lines)


def _plain(text: str) -> str:
    """On one line, and nothing in it is markup."""
    return printable(re.sub(r"[\\`*\[<&]", r"\\\g<0>", text))


def _code(text: str) -> str:
    """On one line, as code, whatever backticks are in it."""
    told = printable(text)
    fence = "`" * (max(map(len, re.findall("`+", told)), default=0) + 1)
    room = " " if len(fence) > 1 else ""
    return f"{fence}{room}{told}{room}{fence}"


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return str(call)
    return f"{function.get('name')}({function.get('arguments', '')})"
