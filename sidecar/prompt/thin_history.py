"""The history of a client that sends only what is new: valid under the strictest chat templates.

Such a client cannot mend its history, so this does. Mistral's and Gemma's templates want user and assistant
in turn, no answer without words, and every call directly before its result:

- what a stopped answer said stands; an answer that says nothing is left out; a failed one never goes;
- questions of several requests with nothing between them are joined; one that was sent again stands once;
- a call goes with its result or not at all. A result that comes after something else was said takes its call
  along: the call joins the answer before it, so that everything sent before stays as it was;
- a step to which no answer came is written out as text before the next question;
- a call whose arguments broke off goes only if the request itself brings its result;
- a request without tools gets the text of earlier answers, and their steps as text where they have none;
- reasoning goes to the model that made it: in the newest turn, and with every call, for models refuse a call
  without it (DeepSeek, Kimi, Gemini's signatures). `restore.reasoning` says what becomes of the rest.

The same path makes the same bytes each time: the upstream's prefix cache lives on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.conversation.message import Fields, encode, text_of, visible_text
from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.conversation.tree import Message, Node
from sidecar.prompt.call_results import Call, Pairs, matched
from sidecar.prompt.rebuild import Outgoing, Reader, Restore
from sidecar.prompt.sendable import Recipient, Thoughts, has_words, neutral_id, sendable, sendable_call

__all__ = ["remembered"]

_BETWEEN = "\n\n"


@dataclass(slots=True)
class _Said:
    """One message on its way upstream: a stored `node`, a `message` of the client's, or both joined.

    `changed` stands for its body where something was changed. `digest`: of the last question in it. `told`:
    the stored messages of a step that stands in its text.
    """

    role: str
    body: bytes
    node: Node | None = None
    message: Message | None = None
    changed: Fields | None = None
    digest: bytes = b""
    told: tuple[bytes, ...] = ()

    @property
    def fields(self) -> Fields:
        """What is in it."""
        if self.changed is not None:
            return self.changed
        if self.message is not None:
            return self.message.fields
        assert self.node is not None
        return self.node.fields

    def put(self, fields: Fields) -> None:
        """Another content; it is no longer what was said in one message."""
        self.changed = fields

    def outgoing(self) -> Outgoing:
        """As it goes."""
        raw = self.body if self.changed is None else encode(self.changed)
        node = self.node.id if self.node else None
        restored = self.node is not None or self.changed is not None
        return Outgoing(self.role, raw, restored=restored, node=node, message=self.message, told=self.told)


def remembered(
    line: Iterable[Node], sent: Iterable[Message], rules: Restore, reader: Reader
) -> list[Outgoing]:
    """A stored path for a client that did not send it, and then what the client did send."""
    stored = [_Said(node.role, node.body, node, digest=node.digest) for node in line if _stands(node)]
    new = [_Said(each.role, each.raw, message=each, digest=each.digest) for each in sent]
    history = _History([*stored, *new], len(stored), rules, reader)
    return [each.outgoing() for each in history.told()]


def _stands(node: Node) -> bool:
    return node.state != "failed"


@dataclass(slots=True)
class _History:
    """All messages in their order, the first `stored` of them from the store."""

    said: Sequence[_Said]
    stored: int
    rules: Restore
    reader: Reader
    pairs: Pairs = field(init=False)
    #: Where the newest turn begins.
    newest: int = field(init=False)

    def __post_init__(self) -> None:
        self.pairs = matched(self.said, self.stored)
        users = (at for at in range(len(self.said) - 1, -1, -1) if self.said[at].role == "user")
        self.newest = next(users, 0)

    def told(self) -> list[_Said]:
        """What goes."""
        if not self.reader.tools:
            self._leave_out_steps()
        told: list[_Said] = []
        for at, each in enumerate(self.said):
            if at in self.pairs.left_out:
                continue
            if (late := self.pairs.late.get(at)) is not None:
                self._take_along(told, late)
            if each.node is not None and each.role == "assistant":
                self._answer(at, each)
                if not has_words(each.fields):
                    continue
            if each.role == "user":
                _close_step(told, each)
            if not (told and _joined(told[-1], each)):
                told.append(each)
        return told

    def _answer(self, at: int, each: _Said) -> None:
        """A stored answer as it can be sent, with those of its calls that go."""
        assert each.node is not None
        fields = each.fields
        calls = self.pairs.calls.get(at)
        if calls is not None and [call.made for call in calls] != fields.get("tool_calls"):
            fields = {**fields, "tool_calls": [call.made for call in calls]}
        if each.node.source == "upstream":
            fields = sendable(fields, self._recipient(each.node, with_call=bool(calls), at=at))
        elif not fields.get("tool_calls", True):
            fields = _without(fields, "tool_calls")
        if "function_call" in fields and not self._is_answered_in_the_old_form(at):
            fields = _without(fields, "function_call")
        if calls and not self._is_maker(each.node) and all(call.result < self.stored for call in calls):
            fields = {**fields, "tool_calls": [self._renamed(call, each.node) for call in calls]}
        if fields != each.fields:
            each.put(fields)

    def _is_answered_in_the_old_form(self, at: int) -> bool:
        return at + 1 < len(self.said) and self.said[at + 1].role == "function"

    def _renamed(self, call: Call, maker: Node) -> dict[str, Any]:
        """Another model's call, under an id that this one takes; its result goes under the same."""
        made = sendable_call(call.made, is_maker=False)
        if call.result < self.stored:
            made["id"] = neutral_id(made["id"], maker.id)
            result = self.said[call.result]
            result.put({**result.fields, "tool_call_id": made["id"]})
        return made

    def _take_along(self, told: list[_Said], call: Call) -> None:
        """The call of a late result, at the end of the answer before it."""
        origin = self.said[call.at].node
        assert origin is not None
        last = told[-1] if told else None
        if last is None or last.role != "assistant" or last.node is None:
            last = _Said("assistant", b"", origin, changed={"role": "assistant", "content": None})
            told.append(last)
        made = self._renamed(call, origin) if not self._is_maker(origin) else call.made
        before = last.fields
        thoughts = sendable(origin.fields, self._recipient(origin, with_call=True, at=call.at))
        last.put(
            {
                **({name: thoughts[name] for name in thoughts if name in REASONING_FIELDS}),
                **before,
                "tool_calls": [
                    *before.get("tool_calls", ()),
                    sendable_call(made, is_maker=self._is_maker(origin)),
                ],
            }
        )

    def _recipient(self, node: Node, *, with_call: bool, at: int) -> Recipient:
        is_maker = self._is_maker(node)
        thoughts: Thoughts = "whole" if is_maker else "text"
        if not (is_maker and (with_call or at > self.newest)):
            thoughts = self.rules.thoughts(is_maker=is_maker)
        return Recipient(is_maker, thoughts, self.reader.now)

    def _is_maker(self, node: Node) -> bool:
        return node.source == "client" or node.model == self.reader.model

    def _leave_out_steps(self) -> None:
        """Of earlier turns only the text of their answer goes, or their steps as a text where it has none."""
        steps: list[Call] = []
        has_text = False
        for at, each in enumerate(self.said[: self.newest + 1]):
            if each.role == "user":
                if steps and not has_text:
                    self._write_out(steps)
                steps, has_text = [], False
            elif each.role == "assistant":
                has_text = has_text or bool(visible_text(each.fields))
                steps += self.pairs.take_out(at)
            elif at in self.pairs.late:
                steps.append(self.pairs.take_out_late(at))

    def _write_out(self, steps: Sequence[Call]) -> None:
        """An answer in the place of the last result."""
        told = [f"{call.in_words}: {text_of(self.said[call.result].fields)}" for call in steps]
        last = steps[-1].result
        self.pairs.left_out.discard(last)
        self.said[last].role = "assistant"
        self.said[last].put({"role": "assistant", "content": "\n".join(told)})
        self.said[last].told = _ids(self.said[at] for call in steps for at in (call.at, call.result))


def _close_step(told: list[_Said], question: _Said) -> None:
    """A step to which no answer came is written out before the next question: templates want one there."""
    results: list[_Said] = []
    while told and told[-1].role == "tool" and told[-1].node and not _are_of_one_request(told[-1], question):
        results.append(told.pop())
    answer = told[-1] if told else None
    if not results or answer is None or answer.node is None or not answer.fields.get("tool_calls"):
        told.extend(reversed(results))
        return
    found = {str(each.fields.get("tool_call_id")): text_of(each.fields) for each in results}
    calls = [Call(call, 0, 0) for call in answer.fields["tool_calls"]]
    steps = "\n".join(
        f"{call.in_words}: {found[call.made['id']]}" for call in calls if call.made["id"] in found
    )
    answer.put({"role": "assistant", "content": _together(text_of(answer.fields), steps)})
    answer.told = _ids(results)


def _ids(said: Iterable[_Said]) -> tuple[bytes, ...]:
    return tuple(each.node.id for each in said if each.node is not None)


def _without(fields: Fields, field: str) -> Fields:
    return {name: value for name, value in fields.items() if name != field}


def _joined(last: _Said, each: _Said) -> bool:
    """Puts `each` into the message before it, if two of their kind may not follow each other."""
    if last.role != each.role or each.role not in ("user", "assistant") or _are_of_one_request(last, each):
        return False
    if each.role == "assistant":
        return each.node is not None and _join(last, last.fields, each.fields)
    if last.digest == each.digest:
        return True
    one, other = last.fields, each.fields
    if one.get("name") != other.get("name"):
        return False
    _join(last, one, {"content": other.get("content")})
    last.digest, last.message = each.digest, each.message
    return True


def _are_of_one_request(last: _Said, each: _Said) -> bool:
    """What one request brought is stored at one moment; it stays as its client has parted it."""
    if each.node is None or last.node is None:
        return each.node is None and last.node is None
    return last.node.source == each.node.source and last.node.created_at == each.node.created_at


def _join(last: _Said, one: Fields, other: Fields) -> bool:
    last.put({**one, **other, "content": _together(one.get("content"), other.get("content"))})
    return True


def _together(one: Any, other: Any) -> Any:
    if not one or not other:
        return one or other
    if type(one) is str and type(other) is str:
        return one + _BETWEEN + other
    return [*_parts(one), *_parts(other)]


def _parts(content: Any) -> list[Any]:
    if type(content) is list:
        return content
    return [{"type": "text", "text": content}] if type(content) is str else []
