"""What a model is asked when it is to sum up turns, and whether what it answers is a summary.

It is told the summary so far, and the turns as plain text.

Owned rules: what is said reads as text, with calls and results of tools in short and without reasoning and
images; a turn is never longer than the room, however many calls it has, and a piece holds whole turns, so
that every piece which was summed up is a step that need not be done again. An answer is kept only if it is
a summary: finished by itself, a text that is neither reasoning nor a call of a tool, within its length. The
words that are asked for never change; only the room beside them does, which models that think first need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.conversation.message import Fields, encode, read, visible_text
from sidecar.prompt.compact import shortened
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import Front, measure

__all__ = ["MORE_ROOM", "Piece", "fault_of", "pieces", "question", "transcript"]

#: So many times the tokens of a summary a model gets for its answer when it is asked again.
MORE_ROOM = 4
# Lengths are estimated on the high side; what is a little longer is cut off at its end.
_TOO_LONG = 1.25
# How engines and gateways say that a model ended by itself.
_ENDS = frozenset(("stop", "end_turn", "eos", "eos_token", "stop_sequence"))
# How a call or a thought begins that a server took for text.
_NO_PROSE = re.compile(
    r"<\|?/?(?:tool|function|invoke|channel|think|thought|reason|start|python)|\[TOOL_CALLS\]", re.IGNORECASE
)
# Characters of one message, one tool result, the arguments of one call.
_TEXT = 2000
_RESULT = 400
_ARGUMENTS = 200
_GAP = " […] "
_RESULTS = ("tool", "function")


@dataclass(slots=True, frozen=True)
class Piece:
    """Turns as text, and the front that has been told with them."""

    front: Front
    text: str


def pieces(line: Sequence[Outgoing], told: int, fronts: Sequence[Front], room: int) -> list[Piece]:
    """What the line says behind its first `told` messages, up to the last front, in pieces of this room."""
    found: list[Piece] = []
    for front in fronts:
        turn = _within(transcript(line[told : front.end]), room)
        told = front.end
        joined = f"{found[-1].text}\n{turn}" if found else turn
        if found and measure(joined) <= room:
            found[-1] = Piece(front, joined)
        else:
            found.append(Piece(front, turn))
    return found


def question(prompt: str, model: str, before: str, text: str, max_tokens: int, room: int = 1) -> bytes:
    """The body of the request for a summary of what is told in `before`, itself a summary, and `text`.

    `room`: how many times the tokens of a summary the whole answer may have.
    """
    # A word has more than one token in most languages, and two in many.
    task = f"{prompt}\nWrite at most {max(1, max_tokens // 2)} words."
    so_far = f"<summary>\n{before}\n</summary>\n\n" if before else ""
    messages = [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{so_far}<conversation>\n{text}\n</conversation>"},
    ]
    return encode({"model": model, "messages": messages, "max_tokens": room * max_tokens, "stream": False})


def fault_of(answer: Fields, finish: str | None, max_tokens: int) -> str:
    """What is wrong with a summary that a model gave; empty if it is one."""
    if answer.get("tool_calls") or answer.get("function_call"):
        return "called a tool"
    if (finish or "").lower() not in _ENDS:
        return "did not come to its end"
    text = visible_text(answer)
    if not text:
        return "answered without a text"
    if _NO_PROSE.match(text) or _is_call(text):
        return "answered with no prose"
    return "wrote more than was asked for" if measure(text) > _TOO_LONG * max_tokens else ""


def _is_call(text: str) -> bool:
    """Is it JSON that names a function, as models without a parser for it write calls?"""
    try:
        fields = read(text.encode())
    except ValueError:
        return False
    return "name" in fields or "tool_calls" in fields


def transcript(line: Sequence[Outgoing]) -> str:
    """Messages as plain text, a paragraph or a line each."""
    return "\n".join(said for each in line for said in _said(each))


def _said(each: Outgoing) -> Iterator[str]:
    if each.role in _RESULTS:
        yield f"Result: {_short(visible_text(read(each.raw)), _RESULT)}"
        return
    fields = read(shortened(each).raw)
    text = visible_text(fields)
    name = each.role.capitalize() or "Somebody"
    if text:
        yield f"{name}: {_short(text, _TEXT)}"
    calls = fields.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield f"{name} calls {_short(_text(function.get('name')), _ARGUMENTS)}: " + _short(
                _text(function.get("arguments")), _ARGUMENTS
            )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _short(text: str, most: int) -> str:
    """Its beginning and its end, where it has more than so many characters."""
    if len(text) <= most:
        return text
    end = most // 3
    return text[: most - end] + _GAP + text[len(text) - end :]


def _within(text: str, room: int) -> str:
    """Its beginning and its end, where it has more than so many tokens."""
    said, most = text, len(text)
    while most and (tokens := measure(said)) > room:
        most = min(most - 1, most * room // tokens)
        said = _short(text, most)
    return said
