"""A request in fewer fields, or what we add to it as plain text: for upstreams that refuse it otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.message import encode, text_of
from sidecar.conversation.tree import Message, Node
from sidecar.prompt.form import EMPTY_ALONE
from sidecar.prompt.rebuild import Outgoing, Reader, Restore
from sidecar.prompt.thin_history import remembered

__all__ = ["plain", "stripped", "without"]


def without(line: Iterable[Outgoing], names: frozenset[str]) -> list[Outgoing]:
    """The messages, those that we added or changed without these fields, on themselves and on their calls."""
    return [_without(each, names) if each.restored else each for each in line]


def stripped(line: Iterable[Outgoing], names: frozenset[str]) -> list[Outgoing]:
    """The messages, all answers without these fields, on themselves and on their calls."""
    return [_without(each, names, EMPTY_ALONE) if each.role == "assistant" else each for each in line]


def _without(each: Outgoing, names: frozenset[str], if_empty: frozenset[str] = frozenset()) -> Outgoing:
    fields = each.fields
    calls = fields.get("tool_calls")
    kept = {
        name: value for name, value in fields.items() if name not in names or (value and name in if_empty)
    }
    if isinstance(calls, list):
        kept["tool_calls"] = [_rest(call, names) for call in calls]
    if kept == fields:
        return each
    return Outgoing(each.role, encode(kept), restored=True, node=each.node, told=each.told)


def _rest(call: Any, names: frozenset[str]) -> Any:
    if not isinstance(call, dict):
        return call
    return {name: value for name, value in call.items() if name not in names}


def plain(before: Iterable[Node], sent: Iterable[Message]) -> list[Outgoing]:
    """A stored history as user and assistant in turn, of nothing but text, and then what the client sent.

    The steps of the newest turn go with the result that the request brings, with nothing but what every
    upstream knows.
    """
    history = [_text_only(node, at) for at, node in enumerate(before) if node.role in _IN_TURN]
    return [_bare(each) for each in remembered(history, sent, Restore(), _NOBODY)]


#: A model that has made none of the answers, and has no tools.
_NOBODY = Reader("")
_IN_TURN = frozenset(("user", "assistant", "tool"))
_KNOWN = ("role", "content", "tool_calls", "tool_call_id")


def _text_only(node: Node, at: int) -> Node:
    """A stored question without pictures and the like; `at` parts it from those around it."""
    node = replace(node, created_at=float(at))
    if node.role != "user":
        return node
    return replace(node, body=encode({"role": "user", "content": text_of(node.fields).strip()}))


def _bare(each: Outgoing) -> Outgoing:
    if not each.restored or each.role == "user":
        return each
    kept = {name: each.fields[name] for name in _KNOWN if name in each.fields}
    if isinstance(kept.get("content"), str):
        kept["content"] = kept["content"].strip()
    return Outgoing(each.role, encode(kept), restored=True, node=each.node, told=each.told)
