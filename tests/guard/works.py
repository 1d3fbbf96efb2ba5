"""The three works that are counted, each the newest turn of a chat that is stored.

Messages are short: how long they are does not change the count, but a long body reaches the sidecar in as
many pieces as it happens. Replies tell no usage: what is learned of it is learned later, now and then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SAID", "WORKS", "Work"]

Message = dict[str, Any]

_TEXT = "Hello there."
_ANSWER = {"role": "assistant", "content": _TEXT}
_CHOICE = {"index": 0, "message": _ANSWER, "finish_reason": "stop"}
#: A whole reply.
SAID = json.dumps({"id": "r", "object": "chat.completion", "choices": [_CHOICE]}).encode()


@dataclass(frozen=True)
class Work:
    """`messages` in the request that is counted, answered with `chunks`; 0: JSON."""

    name: str
    messages: int
    chunks: int

    def before(self, chat: str) -> Message:
        """The request of the turn before, which `SAID` answers."""
        return {"model": "m", "messages": _messages(chat, self.messages - 2)}

    def body(self, chat: str) -> Message:
        """The request."""
        return {"model": "m", "stream": bool(self.chunks), "messages": _messages(chat, self.messages)}

    def reply(self) -> Sequence[bytes]:
        """In the pieces in which it is sent."""
        if not self.chunks:
            return [SAID]
        events = [_event({"content": "word "}, None)] * self.chunks
        return [*events, _event({}, "stop"), b"data: [DONE]\n\n"]


WORKS = (
    Work("short chat, JSON", messages=6, chunks=0),
    Work("stream of 200 chunks", messages=6, chunks=200),
    Work("200 messages, one turn longer", messages=202, chunks=0),
)


def _messages(chat: str, number: int) -> list[Message]:
    roles = ["system", "user"] + ["assistant", "user"] * (number // 2 - 1)
    contents = [_TEXT if role == "assistant" else f"{role} {at} of {chat}" for at, role in enumerate(roles)]
    return [{"role": role, "content": said} for role, said in zip(roles, contents, strict=True)]


def _event(delta: Message, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "r", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
