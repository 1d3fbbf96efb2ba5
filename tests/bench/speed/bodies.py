"""What is asked: chats that are the same every time, and as long as the real ones."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from typing import Any

__all__ = ["REPLY", "Script", "as_responses", "images", "long", "many", "short", "webui"]

#: The first line, the lines that turns add, and the last: see generator.c.
Script = list[bytes]

Message = dict[str, Any]

#: What the upstream answers where it does not stream.
REPLY = (
    "There are three things to look at before you change the pump: whether the valve in front of it opens at"
    " all, whether the fuse of the heating circuit is still whole, and what the display says after a restart."
    " If all three are in order, let the water run for a minute and measure again at the outlet, with the"
    " mixer wide open. A difference of more than four degrees means that the exchanger is full of lime."
)
_SAID = (
    "the of and to in is that for it as was with be by on not at are this have from or had an they which you"
    " were all there would their we him been has when who will more if no out so said what up its about into"
    " than them can only other new some could time these two may then do first any my now such like our over"
    ' man even most made after also did many before must through back years where much "naïve" your way well'
)
_WORDS = _SAID.split()
_ID = "CHAT" * 4


def short(model: str, turns: int) -> Script:
    """A short chat, 2 kB on the average over five turns."""
    chance = random.Random(1)
    opening = [_said("system", _text(chance, 300)), _said("user", f"About {_ID}: {_text(chance, 280)}")]
    return _script(model, opening, [_text(chance, 300) for _ in range(turns)])


def long(model: str, turns: int) -> Script:
    """200 messages, 415 kB."""
    chance = random.Random(2)
    return _script(model, _history(chance, 200, 2020), [_text(chance, 2020) for _ in range(turns)])


def webui(model: str, turns: int) -> Script:
    """What Open WebUI sends in the middle of a chat: 70 kB, of them 25 kB for 40 tools."""
    chance = random.Random(3)
    tools = [_tool(chance, number) for number in range(40)]
    return _script(model, _history(chance, 34, 1080), [_text(chance, 500) for _ in range(turns)], tools=tools)


def images(model: str, turns: int) -> Script:
    """A picture of 2.1 MB with each turn, all of which are sent again."""
    chance = random.Random(4)

    def shown(text: str) -> list[Message]:
        picture = base64.b64encode(chance.randbytes(1_575_000)).decode()
        url = {"url": f"data:image/png;base64,{picture}"}
        return [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]

    opening = [_said("user", shown(f"About {_ID}: what is this?"))]
    return _script(model, opening, [shown("And this?") for _ in range(turns)])


def many(model: str, turns: int) -> Script:
    """Nearly as many messages as the sidecar takes, 3 MB."""
    chance = random.Random(5)
    return _script(model, _history(chance, 19_900, 100), [_text(chance, 100) for _ in range(turns)])


def as_responses(script: Script) -> Script:
    """The same, asked over the Responses API, which has one list of messages as well."""
    first, *turns, end = script
    head, messages = first.split(b'"messages":', 1)
    head = head.replace(b'"stream_options":{"include_usage":true},', b"")
    return [head + b'"input":' + messages, *turns, end]


def _history(chance: random.Random, messages: int, size: int) -> list[Message]:
    """So many messages up to the user's newest, the first of them the system's."""
    roles = ["system", "user"] + ["assistant", "user"] * (messages // 2 - 1)
    said = [_said(role, _text(chance, size)) for role in roles]
    said[1]["content"] = f"About {_ID}: " + said[1]["content"]
    return said


def _script(model: str, opening: Sequence[Message], questions: Sequence[Any], **more: Any) -> Script:
    chunks = int(model.split("-")[1])
    reply = _said("assistant", " word" * chunks if chunks else REPLY)
    asked: dict[str, Any] = {"model": model, "stream": bool(chunks)}
    if chunks:
        asked["stream_options"] = {"include_usage": True}
    first = _json(asked | {"messages": opening}).removesuffix(b"]}")
    turns = [b"," + _json([reply, _said("user", question)])[1:-1] for question in questions]
    return [first, *turns, b"]," + _json(more)[1:] if more else b"]}"]


def _said(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _text(chance: random.Random, size: int) -> str:
    words: list[str] = []
    length = 0
    while length < size:
        words.append(chance.choice(_WORDS))
        length += len(words[-1].encode()) + 1
    return " ".join(words)


def _tool(chance: random.Random, number: int) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": _text(chance, 80)} for name in ("query", "scope")}
    return {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": _text(chance, 230),
            "parameters": {"type": "object", "properties": properties, "required": ["query"]},
        },
    }
