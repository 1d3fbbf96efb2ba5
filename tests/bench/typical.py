"""A chat as people have it in Open WebUI: documents, an image, tools. The words are those of Python's manual
pages, so that they pack as well as people's words do."""

from __future__ import annotations

import base64
import json
import pydoc
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.conversation.tree import Node
from tests.store.trees import message

__all__ = ["TURNS", "Part", "chat"]

#: In one chat.
TURNS = 20
_IMAGE = 150_000  # bytes of the file
_TOPICS = (
    "argparse",
    "asyncio",
    "collections",
    "datetime",
    "json",
    "logging",
    "pathlib",
    "random",
    "statistics",
)


@dataclass
class Part:
    """What one turn adds: the stored messages of each kind."""

    nodes: list[Node] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def add(self, kind: str, fields: dict[str, Any], nonce: int | None = None) -> None:
        under = self.nodes[-1] if self.nodes else self.under
        about: dict[str, Any] = {}
        if nonce is not None:
            usage = {"prompt_tokens": 4321, "completion_tokens": 321, "total_tokens": 4642}
            about = {"model": "qwen3:8b", "finish_reason": "stop", "usage": json.dumps(usage).encode()}
        self.nodes.append(message(fields, under, nonce=nonce, **about))
        self.kinds.append(kind)

    under: Node | None = None


def chat(number: int) -> Iterator[Part]:
    """The turns of one chat; every number has other words."""
    chance = random.Random(number)
    text = "".join(pydoc.render_doc(name, renderer=pydoc.TextDoc()) for name in chance.sample(_TOPICS, 4))
    under: Node | None = None
    for at in range(TURNS):
        part = Part(under=under)
        asked: Any = _words(chance, text, 150)
        kind = "text"
        if at % 4 == 0:  # documents were found for it
            asked = f"### Task: answer by these.\n<context>{_words(chance, text, 8000)}</context>\n{asked}"
            kind = "documents"
        if at == 2:
            url = "data:image/jpeg;base64," + base64.b64encode(chance.randbytes(_IMAGE)).decode()
            asked = [{"type": "text", "text": asked}, {"type": "image_url", "image_url": {"url": url}}]
            kind = "images"
        part.add(kind, {"role": "user", "content": asked})
        if at % 3 == 1:
            id = f"call_{chance.randbytes(12).hex()}"
            call = {"name": "search_web", "arguments": json.dumps({"query": _words(chance, text, 60)})}
            calls = [{"id": id, "type": "function", "function": call}]
            part.add("tools", {"role": "assistant", "content": None, "tool_calls": calls}, nonce=number)
            result = json.dumps([{"title": _words(chance, text, 50), "text": _words(chance, text, 1900)}])
            part.add("tools", {"role": "tool", "tool_call_id": id, "content": result})
        answer = {"role": "assistant", "content": _words(chance, text, chance.randrange(400, 2600))}
        part.add("text", answer, nonce=number + at)
        yield part
        under = part.nodes[-1]


def _words(chance: random.Random, text: str, length: int) -> str:
    start = chance.randrange(len(text) - length)
    return text[start : start + length]
