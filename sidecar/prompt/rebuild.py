"""The messages of a client that sends its whole history, and what it lost without meaning to.

The client's message stays, unless the stored one holds what the model would miss. Then only that is put back,
and only into a copy of a complete answer:

- calls and results, as pairs, where the client sends one text in the place of an answer that had them, and
  the request's tools name them. The text stays the client's, and so does every tool message that it sends;
- what belongs to a call: a call of the same id, name and arguments *is* the stored one, with its signature
  (Gemini's `extra_content`) and its arguments as they were spelled;
- reasoning, by `restore.reasoning`, and with every call that is put in (DeepSeek refuses one without);
- the documents of a question, by `restore.user_messages`. A question that has grown is an edit.

What only its maker understands goes to no other model: that one gets the client's own bytes. The same path
makes the same bytes each time: the upstream's prefix cache lives on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from sidecar.conversation.echo import Step
from sidecar.conversation.measure import Measure, measure
from sidecar.conversation.message import Fields, call_form, encode, is_text, read, text_of, visible_text
from sidecar.conversation.reasoning import REASONING_FIELDS, has_reasoning, without_fields
from sidecar.conversation.tree import Message, Node
from sidecar.prompt.call_results import Call, matched
from sidecar.prompt.sendable import Recipient, Thoughts, sendable, sendable_call
from sidecar.prompt.weights import Weights

__all__ = ["Outgoing", "Reader", "Restore", "as_before", "rebuilt", "tool_names"]


@dataclass(slots=True, frozen=True)
class Restore:
    """What comes back from the store; see `[restore]` in the settings."""

    answers: bool = True
    reasoning: Literal["off", "same-model", "always"] = "off"
    user_messages: bool = False

    @property
    def by_hash(self) -> bool:
        """Can the exact chain alone tell that nothing is to be restored? It covers what answers say."""
        return self.reasoning == "off" and not self.user_messages

    def thoughts(self, *, is_maker: bool) -> Thoughts:
        """How much reasoning of an old answer goes to the model that made it, or to another one."""
        if self.reasoning == "off" or (self.reasoning == "same-model" and not is_maker):
            return "none"
        return "whole" if is_maker else "text"


@dataclass(slots=True, frozen=True)
class Reader:
    """Who reads it: the model, as it is asked for, with which tools (JSON), and when (Unix seconds)."""

    model: str | None = None
    tools: bytes = b""
    now: float = 0.0


@dataclass(slots=True, frozen=True)
class Outgoing:
    """One message on its way upstream. `restored`: it differs from what the client sent, or was not sent."""

    role: str
    raw: bytes
    restored: bool = False
    #: The client's message that it is or, where it is restored, that it was made of, the last of several.
    message: Message | None = field(default=None, compare=False, repr=False)
    #: The stored message that it is, where that had to be looked up.
    node: bytes | None = field(default=None, compare=False, repr=False)
    #: The stored messages that it tells in its text, in which they are none of their own.
    told: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    _measure: Measure | None = field(default=None, init=False, compare=False, repr=False)
    _fields: Fields | None = field(default=None, init=False, compare=False, repr=False)
    _tokens: tuple[Weights, int] | None = field(default=None, init=False, compare=False, repr=False)
    #: What `shorten` made of it, if that is another.
    short: Outgoing | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def fields(self) -> Fields:
        """What is in it; read once, for one cut asks for it many times."""
        if self.message is not None and not self.restored:
            return self.message.fields
        if self._fields is None:
            object.__setattr__(self, "_fields", read(self.raw))
        assert self._fields is not None
        return self._fields

    def tokens(self, weights: Weights) -> int:
        """The estimate by these weights; known when it is asked for by the same ones again."""
        if self._tokens is None or self._tokens[0] is not weights:
            object.__setattr__(self, "_tokens", (weights, weights.tokens(self.measure)))
        assert self._tokens is not None
        return self._tokens[1]

    @property
    def measure(self) -> Measure:
        """What an estimate of its tokens counts; a client's message is measured only once."""
        if self.message is not None and not self.restored:
            return self.message.measure
        if self._measure is None:
            object.__setattr__(self, "_measure", measure(self.raw))
        assert self._measure is not None
        return self._measure

    @property
    def is_joined(self) -> bool:
        """Is it a stored question, with one that the client has sent just now behind it?"""
        return self.message is not None and self.node is not None


def as_before(line: Sequence[Outgoing], before: Iterable[object]) -> list[Outgoing]:
    """The same with the very objects that stood for stored messages in the prompt before, where they say the
    same: what was read and counted in those is not again."""
    known: dict[bytes | None, Outgoing]
    known = {each.node: each for each in before if isinstance(each, Outgoing) and each.node is not None}
    return [known[each.node] if known.get(each.node) == each else each for each in line]


def rebuilt(sent: Sequence[Message], steps: Sequence[Step], rules: Restore, reader: Reader) -> list[Outgoing]:
    """The client's messages; `steps` are the stored ones that the first of them stand for."""
    line: list[Outgoing] = []
    tools: frozenset[str] | None = None
    for index, message in enumerate(sent):
        own = Outgoing(message.role, message.raw, message=message)
        step = steps[index] if index < len(steps) else ()
        if not step or any(node.state != "complete" for node in step):
            line.append(own)
        elif message.role == "user":
            line.append(_with_documents(own, step[0]) if rules.user_messages else own)
        elif message.role != "assistant" or not rules.answers:
            line.append(own)
        elif len(step) == 1 or not _made_by(reader.model, step):
            line.append(_completed(own, own.fields, step[-1], rules, reader))
        else:
            tools = tool_names(reader.tools) if tools is None else tools
            line.extend(_unfolded(own, step, tools, rules, reader))
    return line


def tool_names(tools: bytes) -> frozenset[str]:
    """The names of a request's tools, or of its `functions`."""
    listed = msgspec.json.decode(tools) if tools else ()
    names: set[str] = set()
    for each in listed if isinstance(listed, list) else ():
        named = next((each[kind] for kind in ("function", "custom") if kind in each), each)
        if isinstance(named, dict) and isinstance(name := named.get("name"), str):
            names.add(name)
    return frozenset(names)


def _made_by(model: str | None, step: Step) -> bool:
    return all(node.model == model for node in step if node.role == "assistant")


def _with_documents(own: Outgoing, node: Node) -> Outgoing:
    """A question with the documents that it was first asked with: the text that its own is a part of.

    Images and files that the client has left out stay out.
    """
    stored, sent = node.fields, own.fields
    there, here = text_of(stored), text_of(sent).strip()
    if not here or here == there.strip() or here not in there:
        return own
    content: Any = stored.get("content")
    if type(content) is list:
        kept = sent.get("content")
        others = [part for part in kept if not is_text(part)] if type(kept) is list else []
        content = [*filter(is_text, content), *others]
    return _changed(own, node, {**sent, "content": content})


def _changed(own: Outgoing, node: Node, fields: Fields) -> Outgoing:
    """The client's message with other fields; the very bytes that are stored if those read the same."""
    raw = node.body if node.fields == fields else encode(fields)
    return Outgoing(own.role, raw, restored=True, node=node.id)


def _completed(own: Outgoing, fields: Fields, node: Node, rules: Restore, reader: Reader) -> Outgoing:
    """An answer with what belongs to its calls, for the model that made them, and with its reasoning."""
    is_maker = node.model == reader.model
    thoughts = rules.thoughts(is_maker=is_maker)
    calls = fields.get("tool_calls") if is_maker else None
    if thoughts != "none" or calls:
        stored = node.fields
        if thoughts != "none":
            told = sendable(stored, Recipient(is_maker, thoughts, reader.now))
            fields = {**fields, **_lost_reasoning(fields, told)}
        if type(calls) is list:
            made = stored.get("tool_calls")
            known = {call_form(call): call for call in made} if type(made) is list else {}
            fields = {**fields, "tool_calls": [_mended(call, known.get(call_form(call))) for call in calls]}
    return own if fields == own.fields else _changed(own, node, fields)


def _lost_reasoning(sent: Fields, stored: Fields) -> Fields:
    """The reasoning of a stored answer, for a copy of it that has none."""
    if has_reasoning(sent):
        return {}
    lost = {name: stored[name] for name in stored if name in REASONING_FIELDS or name == "extra_content"}
    content = stored.get("content")
    if without_fields({"role": "assistant", "content": content}).get("content") != content:
        lost["content"] = content
    return lost


def _mended(call: Any, stored: Any) -> Any:
    """A call with the fields that the client has lost, and its arguments as they were spelled."""
    if type(call) is not dict or type(stored) is not dict:
        return call
    extras = {
        name: value for name, value in sendable_call(stored, is_maker=True).items() if name not in _BASIC
    }
    mended = extras | call
    function, made = call.get("function"), stored.get("function")
    if type(function) is dict and type(made) is dict and type(function.get("arguments")) is str:
        spelled = made.get("arguments")
        if type(spelled) is str and _is_object(spelled):
            mended["function"] = {**function, "arguments": spelled}
    return mended


def _is_object(arguments: str) -> bool:
    try:
        return type(msgspec.json.decode(arguments)) is dict
    except (ValueError, RecursionError):
        return False


#: What every call has, be it spelled in another way.
_BASIC = frozenset(("type", "function"))


def _unfolded(
    own: Outgoing, step: Step, tools: frozenset[str], rules: Restore, reader: Reader
) -> list[Outgoing]:
    """The calls and results of an answer that the client sends as one text, and then that text.

    Only as pairs, and only such as the request's tools name; else the text alone.
    """
    *front, last = step
    stored = last.fields
    pairs = matched(front, len(front))
    if pairs.late or not (text := visible_text(stored)):
        return [own]
    line: list[Outgoing] = []
    for at, node in enumerate(front):
        if node.role == "assistant":
            calls = pairs.calls.get(at, ())
            if not calls or not all(call.name in tools for call in calls):
                return [own]
            line.append(_with_calls(node, calls, reader))
        elif at not in pairs.left_out:
            line.append(Outgoing(node.role, node.body, restored=True, node=node.id))
    # What the other replies said stands in front of their calls.
    fields = own.fields if visible_text(own.fields) == text else {**own.fields, "content": text}
    return [*line, _completed(own, fields, last, rules, reader)]


def _with_calls(node: Node, calls: Sequence[Call], reader: Reader) -> Outgoing:
    """A stored reply with those of its calls that go, and with its reasoning: models refuse one without."""
    stored = node.fields
    fields = sendable(
        {**stored, "tool_calls": [call.made for call in calls]}, Recipient(thoughts="whole", now=reader.now)
    )
    raw = node.body if fields == stored else encode(fields)
    return Outgoing(node.role, raw, restored=True, node=node.id)
