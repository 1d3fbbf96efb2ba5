"""The items of an input as the messages of a chat.

Rules:

- The instructions and the leading system items are one system message, joined by blank lines: many templates
  refuse a second one, or leave it out unsaid. A later one stays where it stands, lest what went before be
  computed anew.
- What the assistant said without anybody between is one message: text, calls, reasoning. Texts that a call or
  reasoning parts are one text, as they were; two items side by side are paragraphs.
- A result follows its call at once, whatever stood between them. A call without a result was not carried out,
  and has to be answered all the same; a result without its call is an error, as it is at OpenAI.
- Images among a tool's results come behind all results of that step, for a result can hold nothing but text.
- Whether a text is the answer or was said on the way to it (its `phase`) has no place in a message, which a
  strict upstream would refuse for it: it is told beside the messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.conversation.exchange_record import code_of
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.responses.compaction import message_of
from sidecar.dialects.responses.parts import Part, content_of, parts_of, text_of
from sidecar.dialects.responses.refusal import UnknownCall, list_of_objects, refused, shown, text_in
from sidecar.dialects.responses.tools import TOOL_SEARCH, Tools, flat_name
from sidecar.errors import BadRequest

__all__ = ["ABORTED", "Leading", "Phases", "leading_of", "messages_of", "messages_to_keep"]

#: The result of a call that has none.
ABORTED = "aborted"
_SYSTEM = ("system", "developer")
_BLANK_LINE = "\n\n"
# What the provider's own tools left behind: a record for people, which no other model has ever been shown.
_RECEIPTS = {
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
    *("mcp_call", "mcp_list_tools"),
}

Message = dict[str, Any]
#: A system message that stands before all else: its role, and what it says.
Leading = tuple[str, str]
#: The phases of answers, by the places of their messages.
Phases = dict[int, str]


def messages_of(
    instructions: str,
    items: list[dict[str, Any]],
    tools: Tools,
    where: str,
    *,
    goes_on: bool = False,
    phases: Phases | None = None,
) -> list[Message]:
    """The messages that these items are. The tools that they bring are added, and their phases. Raises
    `BadRequest`.

    `goes_on`: something is said before them, where a call may be whose result they bring.
    """
    reader = _Reader(instructions, tools, goes_on)
    for at, item in enumerate(items):
        reader.take(item, f"{where}[{at}]")
    return reader.messages({} if phases is None else phases)


def leading_of(items: list[dict[str, Any]], where: str) -> tuple[Leading, ...]:
    """The system messages that these items begin with. Raises `BadRequest`."""
    told: list[Leading] = []
    for at, item in enumerate(items):
        if item.get("type") not in (None, "message") or item.get("role") not in _SYSTEM:
            break
        text = text_of(item.get("content"), f"{where}[{at}].content", _BLANK_LINE)
        if text:
            told.append((item["role"], text))
    return tuple(told)


def messages_to_keep(
    items: list[dict[str, Any]], where: str, tools: Tools
) -> list[tuple[Message, str | None]]:
    """The messages that these items are which are kept as they come, each with its phase. The tools that they
    bring are added, and what is left out. Raises `BadRequest`.

    What they leave open stays so: results may come later, of calls that were made before. System items that
    they begin with are a message each.
    """
    leading = [{"role": role, "content": text} for role, text in leading_of(items, where)]
    phases: Phases = {}
    told_of = messages_of("", items, tools, where, goes_on=True, phases=phases)
    messages = [(each, phases.get(at)) for at, each in enumerate(told_of)]
    told = {item["call_id"] for item in items if str(item.get("type")).endswith("_output")}
    if leading:
        messages[:1] = [(each, None) for each in leading]
    return [each for each in messages if each[0]["role"] != "tool" or each[0]["tool_call_id"] in told]


class _Turn:
    """What the assistant said, and what its calls gave, until somebody else speaks."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.phases: set[str | None] = set()
        self.calls: dict[str, Message] = {}
        self.results: dict[str, str] = {}
        self.images: list[Part] = []
        self.reasoning: list[str] = []
        self.before: list[str] = []  # calls of those that are said before, whose results come here
        self.is_beside = False  # was the item before this one a text as well?

    @property
    def is_over(self) -> bool:
        """Are all of its calls answered? What comes next is a further step."""
        return bool(self.calls or self.before) and self.results.keys() >= self.calls.keys()

    def say(self, text: str, phase: str | None) -> None:
        self.phases.add(phase)
        if self.is_beside and self.texts:
            text = _BLANK_LINE + text
        self.texts.append(text)
        self.is_beside = True

    def call(self, id: str, name: str, arguments: str) -> None:
        self.is_beside = False
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        self.calls.setdefault(id, call)  # some repeat the call whose result they bring

    def messages(self) -> list[Message]:
        """The message of the assistant, the results, the images in them; nothing for mere reasoning."""
        if self.before:
            return self._told_results(self.before)
        text = "".join(self.texts)
        if not self.calls and not text:
            return []
        said: Message = {"role": "assistant", "content": text or None}
        if self.reasoning:
            said["reasoning_content"] = "".join(self.reasoning)
        if not self.calls:
            return [said]
        said["tool_calls"] = list(self.calls.values())
        return [said, *self._told_results(self.calls)]

    def _told_results(self, calls: Iterable[str]) -> list[Message]:
        messages: list[Message] = []
        for id in calls:
            result = self.results.get(id, ABORTED)
            messages.append({"role": "tool", "tool_call_id": id, "content": result})
        if self.images:
            messages.append({"role": "user", "content": self.images})
        return messages


class _Reader:
    def __init__(self, instructions: str, tools: Tools, goes_on: bool) -> None:
        self._goes_on = goes_on
        self._system = [instructions] if instructions else []
        self._messages: list[Message] = []
        self._turn = _Turn()
        self._tools = tools
        self._phases: Phases = {}

    def messages(self, phases: Phases) -> list[Message]:
        self._end_turn()
        system = [{"role": "system", "content": _BLANK_LINE.join(self._system)}] if self._system else []
        phases |= {at + len(system): phase for at, phase in self._phases.items()}
        return system + self._messages

    def take(self, item: dict[str, Any], where: str) -> None:
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        if not isinstance(kind, str):
            raise refused(f"`{where}.type` has to be a string", f"{where}.type", "invalid_type")
        if kind == "message":
            self._take_message(item, where)
        elif kind == "reasoning":
            self._take_reasoning(item, where)
        elif kind in ("function_call", "custom_tool_call", "tool_search_call"):
            self._take_call(kind, item, where)
        elif kind in ("function_call_output", "custom_tool_call_output", "tool_search_output"):
            self._take_output(kind, item, where)
        elif kind == "compaction":
            self._end_turn()
            self._messages.append(message_of(item, where))
        elif kind in _RECEIPTS:
            self._turn.is_beside = False
            self._tools.leave_out(kind)
        else:
            raise refused(
                f"an item of the type {shown(kind)} has no form in chat completions", f"{where}.type"
            )

    def _take_message(self, item: dict[str, Any], where: str) -> None:
        role, here = text_in(item, "role", where), f"{where}.content"
        if role == "assistant":
            if self._turn.is_over:
                self._end_turn()
            self._turn.say(text_of(item.get("content"), here), self._phase_in(item))
        elif role in _SYSTEM:
            self._end_turn()
            text = text_of(item.get("content"), here, _BLANK_LINE)
            if self._messages:
                self._messages.append({"role": "system", "content": text})
            elif text:
                self._system.append(text)
        elif role == "user":
            self._end_turn()
            self._messages.append(
                {"role": "user", "content": content_of(parts_of(item.get("content"), here))}
            )
        else:
            raise refused(f"nobody has the role `{role}`", f"{where}.role")

    def _phase_in(self, item: dict[str, Any]) -> str | None:
        told = item.get("phase")
        phase = code_of(told) if isinstance(told, str) else None
        if phase is None and told is not None:
            self._tools.leave_out("phase")
        return phase

    def _take_reasoning(self, item: dict[str, Any], where: str) -> None:
        if self._turn.is_over:
            self._end_turn()
        self._turn.is_beside = False
        for name, between in (("content", ""), ("summary", _BLANK_LINE)):
            if text := text_of(item.get(name), f"{where}.{name}", between):
                self._turn.reasoning.append(text)
                return

    def _take_call(self, kind: str, item: dict[str, Any], where: str) -> None:
        id = text_in(item, "call_id", where)
        if self._turn.is_over and id not in self._turn.calls:
            self._end_turn()
        if kind == "tool_search_call":
            told = item.get("arguments")
            arguments = told if isinstance(told, str) else encode(told or {}).decode()
            return self._turn.call(id, TOOL_SEARCH, arguments)
        name = flat_name(text_in(item, "name", where), item.get("namespace"))
        if kind == "custom_tool_call":
            arguments = encode({"input": text_in(item, "input", where)}).decode()
        else:
            arguments = text_in(item, "arguments", where)
        self._turn.call(id, name, arguments)

    def _take_output(self, kind: str, item: dict[str, Any], where: str) -> None:
        id = text_in(item, "call_id", where)
        said = all(each["role"] == "user" for each in self._messages)  # its question may be told again
        is_before = self._goes_on and id not in self._turn.calls and said
        if is_before and id not in self._turn.results:
            self._turn.before.append(id)
        elif id not in self._turn.calls or id in self._turn.results:
            is_first = not (self._messages or self._turn.texts or self._turn.calls)
            raise (UnknownCall if is_first else BadRequest)(
                f"No tool call found for function call output with call_id {shown(id)}.",
                code="invalid_request",
                param="input",
            )
        if kind == "tool_search_output":
            found = list_of_objects(item.get("tools"), f"{where}.tools")
            self._tools.add(found, f"{where}.tools")
            self._turn.results[id] = encode(found).decode()
            return
        parts = parts_of(item.get("output"), f"{where}.output")
        self._turn.results[id] = "\n".join(each["text"] for each in parts if each["type"] == "text")
        self._turn.images += [each for each in parts if each["type"] != "text"]

    def _end_turn(self) -> None:
        messages, phases = self._turn.messages(), self._turn.phases
        phase = next(iter(phases)) if len(phases) == 1 and messages else None
        if phase is not None:
            self._phases[len(self._messages)] = phase
        elif any(phases):  # they are one message, of which there is no one phase
            self._tools.leave_out("phase")
        self._messages += messages
        self._turn = _Turn()
