"""One item of an answer, while it is told: what has to be said, in which order, and all of it at its end.

Rules: an item is announced, and so is each part of it, before anything of it is told; its id is the one that
it was announced with. What its end says is what the pieces were, joined.
"""

from __future__ import annotations

from typing import Any, Literal

from sidecar.dialects.chat.brackets import Brackets
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.ids import Prefix, call_id, item_id
from sidecar.dialects.responses.tools import Kind, Tool, Tools

__all__ = ["CallDraft", "Draft", "Event", "MessageDraft", "ReasoningDraft", "call_of", "input_of"]

Event = dict[str, Any]
Ended = Literal["completed", "incomplete"]

#: What stands in place of sealed reasoning; see `asked.REASONING`.
NOT_SEALED = "see-summary"
# Arguments that some upstreams begin with, before the real ones.
_NOTHING = frozenset(("", "{}", "null", '""'))
_PREFIXES: dict[Kind, Prefix] = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}


class Draft:
    """`at`: its place in the output."""

    def __init__(self, id: str, at: int) -> None:
        self.id = id
        self.at = at

    def _event(self, kind: str, **about: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self.id, "output_index": self.at, **about}

    def _item(self, kind: str, item: dict[str, Any]) -> Event:
        return {"type": f"response.output_item.{kind}", "output_index": self.at, "item": item}


class MessageDraft(Draft):
    """What the assistant says, or that it refuses to. `phase`: is that its answer, or said on the
    way to it? Where an upstream tells."""

    def __init__(self, exchange: bytes, at: int, phase: str = "") -> None:
        super().__init__(item_id("msg", exchange, at), at)
        self.phase = phase
        self._parts: list[dict[str, Any]] = []
        self._kind = ""
        self._pieces: list[str] = []
        self._annotations: list[Any] = []
        self._logprobs: list[Any] = []

    def open(self) -> list[Event]:
        """Announce it."""
        return [self._item("added", self._whole("in_progress"))]

    def say(self, text: str, logprobs: list[Any]) -> list[Event]:
        """Some more text."""
        events = self._part("output_text")
        self._pieces.append(text)
        self._logprobs += logprobs
        return [*events, self._told("output_text.delta", delta=text, logprobs=logprobs)]

    def refuse(self, text: str) -> list[Event]:
        """Some more of a refusal."""
        events = self._part("refusal")
        self._pieces.append(text)
        return [*events, self._told("refusal.delta", delta=text)]

    def annotate(self, annotation: dict[str, Any]) -> list[Event]:
        """A source of what was said, say."""
        events = self._part("output_text")
        self._annotations.append(annotation)
        at = len(self._annotations) - 1
        told = self._told("output_text.annotation.added", annotation=annotation, annotation_index=at)
        return [*events, told]

    def close(self, ended: Ended) -> tuple[list[Event], dict[str, Any]]:
        """The events of its end, and the item."""
        events, item = self._end_of_part(), self._whole(ended)
        return [*events, self._item("done", item)], item

    def _whole(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": list(self._parts),
            **({"phase": self.phase} if self.phase else {}),
        }

    def _told(self, kind: str, **about: Any) -> Event:
        return self._event(kind, content_index=len(self._parts), **about)

    def _part(self, kind: str) -> list[Event]:
        """Go on in a part of this kind."""
        if self._kind == kind:
            return []
        events = self._end_of_part()
        self._kind = kind
        return [*events, self._told("content_part.added", part=self._as_part("", [], []))]

    def _as_part(self, text: str, annotations: list[Any], logprobs: list[Any]) -> dict[str, Any]:
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}

    def _end_of_part(self) -> list[Event]:
        if not self._kind:
            return []
        text = "".join(self._pieces)
        part = self._as_part(text, self._annotations, self._logprobs)
        if self._kind == "refusal":
            told = self._told("refusal.done", refusal=text)
        else:
            told = self._told("output_text.done", text=text, logprobs=self._logprobs)
        events = [told, self._told("content_part.done", part=part)]
        self._parts.append(part)
        self._kind, self._pieces, self._annotations, self._logprobs = "", [], [], []
        return events


class ReasoningDraft(Draft):
    """What the model thinks, told as a summary: both forms of the API know that, and all clients show it."""

    def __init__(self, exchange: bytes, at: int, *, is_wanted_back: bool) -> None:
        super().__init__(item_id("rs", exchange, at), at)
        self._pieces: list[str] = []
        self._sealed = {"encrypted_content": NOT_SEALED} if is_wanted_back else {}

    def open(self) -> list[Event]:
        """Announce it, and its one part."""
        return [self._item("added", self._whole([])), self._told("part.added", part=_summary(""))]

    def think(self, text: str) -> list[Event]:
        """Some more of it."""
        self._pieces.append(text)
        return [self._told("text.delta", delta=text)]

    def close(self, _ended: Ended) -> tuple[list[Event], dict[str, Any]]:
        """The events of its end, and the item."""
        text = "".join(self._pieces)
        item = self._whole([_summary(text)])
        told = self._told("text.done", text=text), self._told("part.done", part=_summary(text))
        return [*told, self._item("done", item)], item

    def _whole(self, summary: list[Any]) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": summary, **self._sealed}

    def _told(self, kind: str, **about: Any) -> Event:
        return self._event(f"reasoning_summary_{kind}", summary_index=0, **about)


class CallDraft(Draft):
    """A call of a tool. It is announced once its name is known and its arguments have begun.

    `number`: so many began before it. `given`: the id that the upstream gave it; `call_id`: the one that it
    is told under, ours where that is another call's (`is_doubled`) or none was given.
    """

    def __init__(self, exchange: bytes, number: int, tools: Tools, *, is_doubled: bool = False) -> None:
        super().__init__("", -1)
        self.given = ""
        self.call_id = call_id(exchange, number) if is_doubled else ""
        self.name = ""
        self.number = number
        self._exchange, self._tools = exchange, tools
        self._pieces: list[str] = []
        self._brackets = Brackets()
        self._told = 0  # so many of them

    @property
    def is_open(self) -> bool:
        """Has it been announced?"""
        return self.at >= 0

    def take(self, id: Any, name: Any, arguments: Any) -> int:
        """What a piece says of it: id and name until it is announced. Gives how much more it holds."""
        if not self.is_open:
            if isinstance(id, str) and id:
                self.given = self.given or id
                self.call_id = self.call_id or id
            if isinstance(name, str) and name != self.name:  # some repeat it, some tell it in pieces
                self.name += name
        if isinstance(arguments, dict):
            arguments = encode(arguments).decode()
        if not isinstance(arguments, str) or not arguments:
            return 0
        if self._is_nothing and arguments not in _NOTHING:
            self._pieces, self._brackets = [], Brackets()
        self._pieces.append(arguments)
        return len(arguments)

    @property
    def is_whole(self) -> bool:
        """Does it say what to call, and with what?"""
        is_begun = bool(self.name and self._pieces) and self._pieces[0].lstrip().startswith("{")
        return is_begun and self._brackets.are_closed(self._pieces)

    def is_repeated_by(self, function: dict[str, Any]) -> bool:
        """Does a piece say no more than it does?"""
        return (function.get("name"), function.get("arguments")) == (self.name, "".join(self._pieces))

    def is_another(self, function: dict[str, Any]) -> bool:
        """Does a piece call something else? Some begin with arguments that are not yet the real ones."""
        return function.get("name") != self.name or not self._is_nothing

    @property
    def is_ready(self) -> bool:
        """Can it be announced?"""
        return bool(self.name) and not self._is_nothing

    @property
    def _is_nothing(self) -> bool:
        return not self._told and "".join(self._pieces[:2]) in _NOTHING

    def open(self, at: int) -> list[Event]:
        """Announce it, at this place of the output."""
        self.at = at
        self._tool = self._tools.of(self.name)
        self.call_id = self.call_id or call_id(self._exchange, self.number)
        self.id = item_id(_PREFIXES[self._tool.kind], self._exchange, at)
        return [self._item("added", self._whole("in_progress", ""))]

    def tell(self) -> list[Event]:
        """The arguments that came since. Those of other tools than functions are known once all have come."""
        if self._tool.kind != "function":
            return []
        new, self._told = self._pieces[self._told :], len(self._pieces)
        return [self._event("function_call_arguments.delta", delta=each) for each in new]

    def close(self, ended: Ended) -> tuple[list[Event], dict[str, Any]]:
        """The events of its end, and the item."""
        if self._is_nothing:
            self._pieces = ["{}"]
        events, arguments = self.tell(), "".join(self._pieces)
        if self._tool.kind == "function":
            about = {"name": self._tool.name, "arguments": arguments}
            events.append(self._event("function_call_arguments.done", **about))
        elif self._tool.kind == "custom":
            arguments = input_of(arguments)
            events.append(self._event("custom_tool_call_input.delta", delta=arguments))
            events.append(self._event("custom_tool_call_input.done", input=arguments))
        item = self._whole(ended, arguments)
        return [*events, self._item("done", item)], item

    def _whole(self, status: str, arguments: str) -> dict[str, Any]:
        about: dict[str, Any] = {"id": self.id, "call_id": self.call_id, "status": status}
        return call_of(self._tool, about, arguments)


def call_of(tool: Tool, about: dict[str, Any], said: str) -> dict[str, Any]:
    """The item of a call of this tool. `about`: its id, and what all have; `said`: its arguments, or the text
    for a tool that takes that."""
    kind, name, namespace = tool
    if kind == "tool_search":
        told = {"execution": "client", "arguments": _object_of(said)}
        return {**about, "type": "tool_search_call", **told}
    item = {**about, "type": "custom_tool_call" if kind == "custom" else "function_call", "name": name}
    if namespace is not None:
        item["namespace"] = namespace
    return {**item, "input" if kind == "custom" else "arguments": said}


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _object_of(arguments: str) -> dict[str, Any]:
    try:
        told = loads(arguments.encode())
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def input_of(arguments: str) -> str:
    """The text for a tool that takes free text; what is no such object is that text itself."""
    told = _object_of(arguments).get("input")
    return told if isinstance(told, str) else arguments
