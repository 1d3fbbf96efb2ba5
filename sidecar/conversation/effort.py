"""How much of what is stored one request may be compared with.

Rule: a request costs what its bytes cost. Whoever looks for a request's history in a tree draws on one
`Effort`: a message for each stored one that is looked at, a byte for each that is read or compared. Where it
is used up `TooMuch` is raised, and the history counts as unknown, which is never wrong: what is not
recognised is kept as a branch of its own.

What has been read once is kept for the rest of the recognition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sidecar.conversation.flattened import CALLING, parted
from sidecar.conversation.likeness import folded, undated
from sidecar.conversation.message import Fields, call_forms, text_of, visible_text
from sidecar.conversation.tree import Message, Node

__all__ = ["DEFAULT_LIMITS", "Effort", "EffortLimits", "TooMuch"]

#: CPython finds a text in a longer one of this many characters in linear time, whatever the two are.
_LINEAR_FROM = 30_000
#: In a shorter one it may take as many steps as the product of the lengths; so many of them count as a byte.
_STEPS_PER_BYTE = 64
#: Reading JSON is so much quicker than comparing what stands in it.
_READ_SPEEDUP = 4
#: Comparing a value in a call's arguments takes as long as so many bytes.
_COST_OF_VALUE = 32
#: Looking for moments in a text takes as long as comparing so many times its bytes.
_COST_OF_UNDATING = 16


class TooMuch(Exception):
    """The effort is used up."""


@dataclass(slots=True, frozen=True)
class EffortLimits:
    """The limits of one recognition: stored messages that are looked at, and bytes of them."""

    messages: int = 50_000
    bytes: int = 16 << 20


DEFAULT_LIMITS = EffortLimits()


class Effort:
    """What is left of a recognition's limits, and what has been read so far."""

    def __init__(self, limits: EffortLimits = DEFAULT_LIMITS) -> None:
        self._messages = limits.messages
        self._bytes = limits.bytes
        self._visible: dict[bytes, str] = {}
        self._asked: dict[bytes, str] = {}
        self._undated: dict[bytes, str] = {}
        self._calls: dict[bytes, frozenset[bytes]] = {}
        self._copies: dict[int, Copy] = {}

    def look(self, messages: int = 1) -> None:
        """So many messages are looked at. Raises `TooMuch`."""
        self._messages -= messages
        if self._messages < 0:
            raise TooMuch

    def compare(self, size: int) -> None:
        """So many bytes are compared. Raises `TooMuch`."""
        self._bytes -= size
        if self._bytes < 0:
            raise TooMuch

    def copy(self, sent: Message) -> Copy:
        """The client's message with what is compared of it."""
        copy = self._copies.get(id(sent))
        if copy is None:
            copy = self._copies[id(sent)] = Copy(sent)
        return copy

    def visible(self, node: Node) -> str:
        """What a person sees of a stored message, folded."""
        text = self._visible.get(node.id)
        if text is None:
            text = self._visible[node.id] = folded(visible_text(self.read(node)))
        return text

    def asked(self, node: Node) -> str:
        """The text of a stored question or result, folded."""
        text = self._asked.get(node.id)
        if text is None:
            text = self._asked[node.id] = folded(text_of(self.read(node)))
        return text

    def undated(self, node: Node) -> str:
        """What a person sees of a stored message, folded and without the moments in it."""
        text = self._undated.get(node.id)
        if text is None:
            whole = visible_text(self.read(node))
            self.compare(_COST_OF_UNDATING * len(whole))
            text = self._undated[node.id] = undated(whole, node.role)
        return text

    def calls(self, node: Node) -> frozenset[bytes]:
        """The tool calls that a stored message makes."""
        calls = self._calls.get(node.id)
        if calls is None:
            body = node.body
            self.compare(_COST_OF_VALUE * (body.count(b",") + body.count(b"[") + body.count(b"{")))
            calls = self._calls[node.id] = call_forms(self.read(node))
        return calls

    def contains(self, one: str, other: str) -> bool:
        """Does one of the texts contain the other?"""
        whole, part = (one, other) if len(one) >= len(other) else (other, one)
        self.compare(len(part))
        if whole.startswith(part) or whole.endswith(part):
            return True
        size = len(whole)
        self.compare(size if size >= _LINEAR_FROM else max(size, size * len(part) // _STEPS_PER_BYTE))
        return part in whole

    def read(self, node: Node) -> Fields:
        """What is in a stored message."""
        self.compare(len(node.body) // _READ_SPEEDUP)
        return node.fields


class Copy:
    """A message of the client, and what is compared of it; each is made once."""

    def __init__(self, sent: Message) -> None:
        self.sent = sent

    @cached_property
    def visible(self) -> str:
        """What a person sees of it, folded, without the blocks that front ends make of tool calls."""
        return folded(parted(visible_text(self.sent.fields))[0])

    @cached_property
    def flattened(self) -> tuple[str, str] | None:
        """Folded: what it says, and what it tells of calls behind that; None if it tells of none so."""
        said, calls = parted(visible_text(self.sent.fields))
        before, found, behind = said.rpartition(CALLING)
        if found:
            said, calls = before, calls + behind
        return (folded(said), calls) if calls else None

    @cached_property
    def asked(self) -> str:
        """Its text, as that of a question, folded."""
        return folded(text_of(self.sent.fields))

    @cached_property
    def undated(self) -> str:
        """What a person sees of it, folded and without the moments in it."""
        return undated(visible_text(self.sent.fields), self.sent.role)

    @cached_property
    def calls(self) -> frozenset[bytes]:
        """The tool calls that it makes."""
        return call_forms(self.sent.fields)
