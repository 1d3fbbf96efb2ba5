"""The messages that go upstream: stored ones where they say more than the client's copy, then the new.

By default answers are restored (tool calls, tool results and arguments as they were produced), and
reasoning and earlier user messages are not. A client's copy from which the upstream would read the
same stays as the client wrote it, and a client that sends reasoning again gets its reasoning through.
Only a complete reply ever stands in for the client's copy, and a tool call without its results never
does, for every upstream refuses that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sidecar.conversation.echo import Step
from sidecar.conversation.measure import Measure, measure
from sidecar.conversation.message import Fields, encode, read, without_reasoning
from sidecar.conversation.reasoning import has_reasoning
from sidecar.conversation.tree import Chain, Message, Node
from sidecar.prompt.sendable import Thoughts
from sidecar.prompt.weights import Weights

__all__ = ["Outgoing", "Reader", "Restore", "rebuilt"]


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
    return line


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
