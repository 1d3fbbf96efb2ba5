"""Is this request a background task of the front end (title, tags, follow-ups …)? And what of it can go?

Tasks share the chat's id, and the title comes before the first turn, so a task that is taken for a
turn spoils the history. Where the front end marks them (`X-Task`), the mark decides, and an empty
mark says "a real turn". Without the header only the shape is left: at most one system message, one
user message, no tools, and the opening words of a known prompt. Where the system message has those words
there may be more user messages: opencode asks for a title in one, and gives the chat's question in the next.
`### Task:` alone proves nothing, for retrieval turns open with it as well.

A task's prompt holds a part of the chat, or all of it. Where that has to be shorter, lines go from its
middle: what the chat began with tells what it is about, its end is what a task mostly asks for. The prompt
around it stays, and so does a prompt in which no chat is found.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from sidecar.conversation.message import Fields, encode, read, text_of
from sidecar.dialects.base import Request

__all__ = ["MARKER", "is_task", "shorter_task"]

MARKER = "[A part of the chat, left out to save room]"
_OPEN, _CLOSE = "<chat_history>\n", "\n</chat_history>"
#: Of the lines that stay, this share of the room goes to the oldest.
_BEGINNING = 0.25


def is_task(mark: str | None, request: Request, openings: tuple[str, ...]) -> bool:
    """`mark` is the value of the task header, None where the request has no such header."""
    if mark is not None:
        return bool(mark)
    asked = request.path.messages
    if request.tools or request.prefill or request.path.last_answer or not asked or len(request.system) > 1:
        return False
    if any(each.role != "user" for each in asked):
        return False
    texts = (text_of(each.fields).lstrip() for each in (*request.system, *(asked if len(asked) == 1 else ())))
    return any(text.startswith(openings) for text in texts)


def shorter_task(request: Request, most: int, size: Callable[[bytes], int]) -> list[bytes] | None:
    """The messages of a task in at most so many tokens; None if nothing has to go, or nothing can.

    As few lines go as will do; the last line of the chat stays, whatever its length.
    """
    sent = [each.raw for each in request.sent]
    excess = sum(map(size, sent)) - most
    if excess <= 0:
        return None
    for at, raw in enumerate(sent):
        fields = read(raw)
        chat = _chat(fields.get("content"))
        if chat is not None:
            sent[at] = _shorter(fields, chat, size(raw) - excess, size)
            return sent
    return None


class _Chat(NamedTuple):
    """A prompt with a chat in it: the text before the chat's lines, those, and the text after them."""

    before: str
    lines: list[str]
    after: str

    def without(self, count: int) -> str:
        """The prompt when so many lines are left out; not all of them."""
        stay = len(self.lines) - count
        first = int(stay * _BEGINNING)
        lines = (*self.lines[:first], MARKER, *self.lines[first + count :])
        return self.before + "\n".join(lines) + self.after


def _chat(content: object) -> _Chat | None:
    if not isinstance(content, str):
        return None
    before, opened, rest = content.partition(_OPEN)
    chat, closed, after = rest.rpartition(_CLOSE)
    lines = chat.split("\n")
    return _Chat(before + opened, lines, closed + after) if closed and len(lines) > 1 else None


def _shorter(fields: Fields, chat: _Chat, room: int, size: Callable[[bytes], int]) -> bytes:
    def without(count: int) -> bytes:
        return encode({**fields, "content": chat.without(count)})

    most = len(chat.lines) - 1
    # The more lines go, the less is left; what the marker adds may only matter to the first of them.
    count = bisect_left(range(most), True, lo=1, key=lambda count: size(without(count)) <= room)
    return without(count)
