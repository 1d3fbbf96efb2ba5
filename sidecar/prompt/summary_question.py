"""What a model is asked when it is to sum up turns: the summary so far, and the turns as plain text.

Owned rules: what is said reads as text, with calls and results of tools in short and without reasoning and
images; a turn is never longer than the room, however many calls it has, and a piece holds whole turns, so
that every piece which was summed up is a step that need not be done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.conversation.message import encode, read, visible_text
from sidecar.prompt.compact import shortened
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import Front, measure

__all__ = ["Piece", "pieces", "question", "transcript"]

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


def question(prompt: str, model: str, before: str, text: str, max_tokens: int) -> bytes:
    """The body of the request for a summary of what is told in `before`, itself a summary, and `text`."""
    # A word has more than one token in most languages, and two in many.
    task = f"{prompt}\nWrite at most {max(1, max_tokens // 2)} words."
    so_far = f"<summary>\n{before}\n</summary>\n\n" if before else ""
    messages = [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{so_far}<conversation>\n{text}\n</conversation>"},
    ]
    return encode({"model": model, "messages": messages, "max_tokens": max_tokens, "stream": False})


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
