"""The messages that go upstream: stored ones where they say more than the client's copy, then the new.

By default answers are restored (tool calls, tool results and arguments as they were produced), and
reasoning and earlier user messages are not. A client's copy from which the upstream would read the
same stays as the client wrote it, and a client that sends reasoning again gets its reasoning through.
Only a complete reply ever stands in for the client's copy, and a tool call without its results never
does, for every upstream refuses that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sidecar.conversation.echo import Step
from sidecar.conversation.measure import Measure, measure
from sidecar.conversation.message import Fields, encode, read, without_reasoning
from sidecar.conversation.reasoning import has_reasoning
from sidecar.conversation.tree import Chain, Message, Node
from sidecar.prompt.weights import Weights

__all__ = ["Outgoing", "Restore", "rebuilt", "remembered"]


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


@dataclass(slots=True, frozen=True)
class Outgoing:
    """One message on its way upstream. `restored`: it differs from what the client sent, or was not sent."""

    role: str
    raw: bytes
    restored: bool = False
    #: The client's message that it is, if it is one.
    message: Message | None = field(default=None, compare=False, repr=False)
    #: The stored message that it is, where that had to be looked up.
    node: bytes | None = field(default=None, compare=False, repr=False)
    _measure: Measure | None = field(default=None, init=False, compare=False, repr=False)
    _fields: Fields | None = field(default=None, init=False, compare=False, repr=False)
    _tokens: tuple[Weights, int] | None = field(default=None, init=False, compare=False, repr=False)
    #: What `shorten` made of it, if that is another.
    short: Outgoing | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def fields(self) -> Fields:
        """What is in it; read once, for one cut asks for it many times."""
        if self.message is not None:
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
        if self.message is not None:
            return self.message.measure
        if self._measure is None:
            object.__setattr__(self, "_measure", measure(self.raw))
        assert self._measure is not None
        return self._measure


def rebuilt(
    sent: Sequence[Message], steps: Sequence[Step], rules: Restore, chain: Chain, model: str | None
) -> list[Outgoing]:
    """The client's messages, the first `len(steps)` of them replaced by what is stored, by the rules."""
    line: list[Outgoing] = []
    for index, message in enumerate(sent):
        step = steps[index] if index < len(steps) else ()
        if not _restorable(step, rules):
            line.append(Outgoing(message.role, message.raw, message=message))
            continue
        wanted = replace(rules, reasoning="always") if has_reasoning(message.fields) else rules
        stored = [_sendable(node, wanted, model) for node in step]
        if len(step) == 1 and _reads_alike(chain, stored[0], message):
            line.append(Outgoing(message.role, message.raw, message=message))
        else:
            line.extend(
                Outgoing(node.role, raw, restored=True, node=node.id)
                for node, raw in zip(step, stored, strict=True)
            )
    return _paired(line)


def remembered(
    line: Iterable[Node], sent: Iterable[Message], rules: Restore, model: str | None
) -> list[Outgoing]:
    """A stored path for a client that did not send it, and then what the client did send."""
    stored = [
        Outgoing(node.role, _sendable(node, rules, model), restored=True, node=node.id) for node in line
    ]
    return _paired([*stored, *(Outgoing(message.role, message.raw, message=message) for message in sent)])


def _restorable(step: Step, rules: Restore) -> bool:
    if not step or any(node.state != "complete" for node in step):
        return False
    return rules.user_messages if step[0].role == "user" else rules.answers


def _sendable(node: Node, rules: Restore, model: str | None) -> bytes:
    """The stored bytes, less reasoning that is not to be sent and audio that the upstream keeps itself."""
    if node.role != "assistant":
        return node.body
    if rules.reasoning == "always" or (rules.reasoning == "same-model" and node.model == model):
        raw = node.body
    else:
        raw = without_reasoning(node.body)
    fields = read(raw)
    audio = fields.get("audio")
    if isinstance(audio, dict) and len(audio) > 1 and "id" in audio:
        return encode({**fields, "audio": {"id": audio["id"]}})
    return raw


def _reads_alike(chain: Chain, stored: bytes, sent: Message) -> bool:
    other = chain.message(stored)
    if other.fields == sent.fields:
        return True
    if other.exact is None or other.exact != sent.exact:
        return False
    return has_reasoning(sent.fields) or not has_reasoning(other.fields)


def _paired(line: list[Outgoing]) -> list[Outgoing]:
    """Restored tool calls that got no results go without them; what the client sent stays its own."""
    kept: list[Outgoing] = []
    for index, each in enumerate(line):
        if each.restored and each.role == "assistant" and b'"tool_calls"' in each.raw:
            answered = _answered_only(each, list(_results_after(line, index)))
            if answered is not None:
                kept.append(answered)
        else:
            kept.append(each)
    return kept


def _answered_only(each: Outgoing, results: list[str]) -> Outgoing | None:
    fields = read(each.raw)
    made = fields["tool_calls"]
    if type(made) is not list:
        return each
    answered = set(results)
    calls = [call for call in _named(made, results) if call["id"] in answered]
    if calls == made:
        return each
    rest = {**fields, "tool_calls": calls}
    if not calls:
        del rest["tool_calls"]
        if not rest.get("content"):
            return None
    return Outgoing(each.role, encode(rest), restored=True, node=each.node)


def _named(calls: Iterable[object], results: Iterable[str]) -> Iterable[dict[str, Any]]:
    """The calls that have an id, or get that of their result.

    Some upstreams send none (llama.cpp #11992), or an empty one (Gemini): clients make one up and answer with
    it. So results that name no call are those of the calls without a name, in their order.
    """
    made = [call for call in calls if isinstance(call, dict)]
    known = {id for call in made if (id := _id_of(call))}
    left = iter([id for id in results if id not in known])
    for call in made:
        id = _id_of(call) or next(left, None)
        if id is not None:
            yield call if call.get("id") == id else {**call, "id": id}


def _id_of(call: dict[str, Any]) -> str | None:
    id = call.get("id")
    return str(id) if id != "" and isinstance(id, (str, int)) else None


def _results_after(line: Sequence[Outgoing], index: int) -> Iterable[str]:
    for each in (line[at] for at in range(index + 1, len(line))):
        if each.role in ("user", "assistant"):
            return
        if each.role == "tool":
            yield str(each.fields.get("tool_call_id") or "")
