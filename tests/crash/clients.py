"""Clients of both kinds: one sends only what is new, the other its full history, edits and regenerates.

They count a reply as seen when they have seen its end: `data: [DONE]`, or the last byte of a JSON body.
"""

from __future__ import annotations

import itertools
import json
import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import ClientError, ClientSession

from tests.crash.ledger import Seen

Message = dict[str, Any]
IMAGE = f"data:image/png;base64,{b64encode(random.Random(1).randbytes(15_000)).decode()}"


class Refused(Exception):
    """The sidecar answered, and not with a reply."""


class Client:
    """One conversation, held over any number of servers. `notify` is called for every reply seen."""

    def __init__(
        self, key: str, *, full: bool, chance: random.Random, notify: Callable[[Seen], None]
    ) -> None:
        self._key = key
        self._full = full
        self._chance = chance
        self._notify = notify
        self._numbers = itertools.count()
        #: What has been said, up to the last reply seen.
        self._path: list[Message] = []
        self._unanswered: list[Message] = []

    async def talk(self, http: ClientSession, base: str) -> None:
        """Ask again and again, until the server is gone. Raises `Refused`."""
        while True:
            before, new = self._next()
            self._unanswered = new
            reply = await self._ask(http, base, [*before, *new] if self._full else new)
            if reply is None:
                return
            self._unanswered = []
            self._path = [*before, *new, reply]
            self._notify(self._seen((*before, *new), reply))

    def _seen(self, before: Sequence[Message], reply: Message) -> Seen:
        return Seen(self._key, tuple(before), reply, whole=self._full)

    def _next(self) -> tuple[list[Message], list[Message]]:
        """What goes before, and what is new."""
        path = self._path
        calls = path[-1].get("tool_calls") if path else None
        if calls:
            return path, [{"role": "tool", "tool_call_id": call["id"], "content": "42"} for call in calls]
        if self._unanswered and self._chance.random() < 0.5:
            return path, self._unanswered
        if self._full and path and self._chance.random() < 0.15:
            return path[:-1], []  # regenerate
        questions = [at for at, message in enumerate(path) if message["role"] == "user"]
        if self._full and questions and self._chance.random() < 0.15:
            path = path[: self._chance.choice(questions)]  # edit a question
        return path, [{"role": "user", "content": self._asked()}]

    def _asked(self) -> str | list[Message]:
        """A new question, or one about an image that was sent before, which the store keeps once."""
        text = f"question {next(self._numbers)} of {self._key}"
        if self._chance.random() < 0.8:
            return text
        return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": IMAGE}}]

    async def _ask(self, http: ClientSession, base: str, messages: list[Message]) -> Message | None:
        """The reply, None if the server went before its end."""
        streamed = self._chance.random() < 0.6
        body = {"model": "m", "messages": messages, "stream": streamed}
        mode = "full" if self._full else "append"
        headers = {"X-Conversation-ID": self._key, "X-Sidecar-History": mode}
        data = b""
        try:
            async with http.post(f"{base}/v1/chat/completions", json=body, headers=headers) as response:
                async for chunk in response.content.iter_any():
                    data += chunk
                if response.status != 200:
                    raise Refused(f"{response.status} {data[:300]!r}")
        except (ClientError, OSError):
            pass  # what came before may have been all of it
        return _streamed(data) if streamed else _whole(data)


def _whole(data: bytes) -> Message | None:
    try:
        message: Message = json.loads(data)["choices"][0]["message"]
    except ValueError:
        return None
    return message


def _streamed(data: bytes) -> Message | None:
    *events, rest = data.decode(errors="replace").split("\n\n")
    if "data: [DONE]" not in [*events, rest]:
        return None
    message: Message = {"role": "assistant", "content": None}
    calls: dict[int, Message] = {}
    for event in events[: events.index("data: [DONE]")] if "data: [DONE]" in events else events:
        delta = json.loads(event.removeprefix("data: "))["choices"][0]["delta"]
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                message[name] = (message.get(name) or "") + delta[name]
        for part in delta.get("tool_calls", ()):
            if part["index"] in calls:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
            else:
                calls[part["index"]] = {name: part[name] for name in ("id", "type", "function")}
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message
