"""What we add to a request in fewer fields, or as plain text: for upstreams that refuse it otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.conversation.message import encode, read, text_of, visible_text
from sidecar.conversation.tree import Message, Node
from sidecar.prompt.rebuild import Outgoing

__all__ = ["plain", "without"]


def without(line: Iterable[Outgoing], names: frozenset[str]) -> list[Outgoing]:
    """The messages, those that we added or changed without these fields, on themselves and on their calls."""
    return [_without(each, names) if each.restored else each for each in line]


def _without(each: Outgoing, names: frozenset[str]) -> Outgoing:
    fields = each.fields
    calls = fields.get("tool_calls")
    kept = {name: value for name, value in fields.items() if name not in names}
    if isinstance(calls, list):
        kept["tool_calls"] = [_rest(call, names) for call in calls]
    if kept == fields:
        return each
    return Outgoing(each.role, encode(kept), restored=True, node=each.node)


def _rest(call: Any, names: frozenset[str]) -> Any:
    if not isinstance(call, dict):
        return call
    return {name: value for name, value in call.items() if name not in names}


def plain(before: Sequence[Node], sent: Sequence[Message]) -> list[Outgoing]:
    """A stored history as user and assistant in turn, of nothing but text, and then what the client sent.

    The call that its first messages answer goes as it was made.
    """
    history = list(before)
    asking: list[Node] = []
    if sent and sent[0].role == "tool":
        while history and history[-1].role == "tool":
            asking.insert(0, history.pop())
        if history and history[-1].role == "assistant":
            asking.insert(0, history.pop())
    line = list(_joined(history))
    line += [Outgoing(node.role, _bare(node), restored=True, node=node.id) for node in asking]
    return [*line, *(Outgoing(each.role, each.raw, message=each) for each in sent)]


def _joined(history: Iterable[Node]) -> Iterator[Outgoing]:
    """One message for those of one role that follow one another; none for results and empty answers."""
    last: Node | None = None
    texts: list[str] = []
    for node in history:
        text = _said(node)
        if not text:
            continue
        if last is not None and last.role != node.role:
            yield _text(last, texts)
            texts = []
        last = node
        texts.append(text)
    if last is not None:
        yield _text(last, texts)


def _said(node: Node) -> str:
    if node.role not in ("user", "assistant"):
        return ""
    fields = read(node.body)
    return visible_text(fields) if node.role == "assistant" else text_of(fields).strip()


def _text(node: Node, texts: Sequence[str]) -> Outgoing:
    raw = encode({"role": node.role, "content": "\n\n".join(texts)})
    return Outgoing(node.role, raw, restored=True, node=node.id)


_OF_A_STEP = ("role", "content", "tool_calls", "tool_call_id")


def _bare(node: Node) -> bytes:
    """A call, or its result, with nothing but what every upstream knows."""
    fields = read(node.body)
    kept = {name: fields[name] for name in _OF_A_STEP if name in fields}
    if isinstance(kept.get("tool_calls"), list):
        kept["tool_calls"] = [_bare_call(call) for call in kept["tool_calls"]]
    return encode(kept)


def _bare_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    return {name: call[name] for name in ("id", "type", "function") if name in call}
