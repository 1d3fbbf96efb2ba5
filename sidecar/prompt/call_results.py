"""Which result answers which call, in what is kept of a path.

A result belongs to the call of its id in the answer right before it; else it comes late, and belongs to the
newest call of that id that has none. Of two results to one call the last one counts. Some upstreams give
their calls no ids (llama.cpp #11992), or empty ones (Gemini): clients make them up and answer with those. So
results that name no call are those of the calls without a name, in their order.

A call whose arguments broke off goes only where the request itself brings its result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sidecar.conversation.message import Fields
from sidecar.prompt.sendable import is_finished

__all__ = ["Call", "Pairs", "matched"]


class _Said(Protocol):
    """A message in its place."""

    @property
    def role(self) -> str:
        """Who says it."""
        ...

    @property
    def body(self) -> bytes:
        """JSON; what makes no calls is not read."""
        ...

    @property
    def fields(self) -> Fields:
        """What is in it."""
        ...


@dataclass(slots=True, frozen=True)
class Call:
    """`made`: the call, with an id. `at`: the place of its message, and `number` among its calls; `result`:
    the place of its result, -1 for none."""

    made: dict[str, Any]
    at: int
    number: int
    result: int = -1

    @property
    def name(self) -> str:
        """Of the tool that is called."""
        return str(self._called.get("name") or "tool")

    @property
    def in_words(self) -> str:
        """As a text, for where no calls go."""
        called = self._called
        return f"{self.name}({called.get('arguments', called.get('input', ''))})" if called else self.name

    @property
    def _called(self) -> dict[str, Any]:
        told = (self.made.get(kind) for kind in ("function", "custom"))
        return next((each for each in told if isinstance(each, dict)), {})


@dataclass(slots=True)
class Pairs:
    """By their places: the `calls` that go with each message, the call that goes along with each `late`
    result, and the results that do not go.
    """

    calls: dict[int, list[Call]] = field(default_factory=dict)
    late: dict[int, Call] = field(default_factory=dict)
    left_out: set[int] = field(default_factory=set)

    def take_out(self, at: int) -> list[Call]:
        """The calls of one message go no more, nor do their results in place; gives them."""
        taken = self.calls.get(at, [])
        if taken:
            self.calls[at] = []
        self.left_out.update(call.result for call in taken)
        return taken

    def take_out_late(self, result: int) -> Call:
        """A late result goes no more; gives its call."""
        self.left_out.add(result)
        return self.late.pop(result)


def matched(said: Sequence[_Said], stored: int) -> Pairs:
    """Calls and results of these messages; from the place `stored` on they are the request's own."""
    sweep = _Sweep(stored)
    for at, each in enumerate(said):
        if each.role == "tool":
            sweep.result(at, str(each.fields.get("tool_call_id") or ""))
        elif each.role in ("user", "assistant"):
            sweep.group.clear()
            sweep.nameless.clear()
            if each.role == "assistant" and b'"tool_calls"' in each.body:
                sweep.answer(at, each.fields.get("tool_calls"))
    return sweep.pairs()


class _Sweep:
    """One pass over the messages. `group`: the calls of the answer just before; `waiting`: without a result;
    `done`: with one; both by their ids."""

    def __init__(self, stored: int) -> None:
        self._stored = stored
        self.group: set[str] = set()
        self.nameless: deque[Call] = deque()
        self._waiting: dict[str, Call] = {}
        self._done: dict[str, Call] = {}
        self._answered: dict[int, dict[int, Call]] = {}
        self._late: dict[int, Call] = {}
        self._left_out: set[int] = set()

    def answer(self, at: int, made: object) -> None:
        """A message that makes calls."""
        if type(made) is not list:
            return
        if at < self._stored:
            self._answered[at] = {}
        for number, call in enumerate(made):
            if type(call) is dict:
                id = _id_of(call)
                told = Call(call if call.get("id") == id else {**call, "id": id}, at, number)
                if id is None:
                    self.nameless.append(told)
                else:
                    self.group.add(id)
                    self._waiting[id] = told
                    self._done.pop(id, None)

    def result(self, at: int, id: str) -> None:
        """A message with the result of a call."""
        call = self._waiting.pop(id, None)
        if call is None and id not in self._done and self.nameless:
            call = self.nameless.popleft()
            call = replace(call, made={**call.made, "id": id})
            self.group.add(id)
        if call is None:
            call = self._done.get(id)
            if call is None or (at < self._stored and id not in self.group):
                if at < self._stored:
                    self._left_out.add(at)
                return
            self._undo(call)
        self._put(replace(call, result=at), is_late=id not in self.group)

    def _put(self, call: Call, *, is_late: bool) -> None:
        self._done[call.made["id"]] = call
        if call.at >= self._stored:
            return  # the client's own pair
        if call.result < self._stored and not is_finished(call.made):
            self._left_out.add(call.result)
        elif is_late:
            self._late[call.result] = call
        else:
            self._answered[call.at][call.number] = call

    def _undo(self, call: Call) -> None:
        """Another result has come for it."""
        if call.at < self._stored:
            self._left_out.add(call.result)
            self._late.pop(call.result, None)
            self._answered[call.at].pop(call.number, None)

    def pairs(self) -> Pairs:
        """What goes with what."""
        calls = {at: [found[number] for number in sorted(found)] for at, found in self._answered.items()}
        return Pairs(calls, self._late, self._left_out)


def _id_of(call: dict[str, Any]) -> str | None:
    id = call.get("id")
    return str(id) if id != "" and isinstance(id, (str, int)) else None
