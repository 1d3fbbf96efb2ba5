"""Clients as they are: what they keep of an answer, and what of a chat they send again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.proxy.client import Reply, Sidecar
from tests.referee.talk import TOOLS, Fields, result, user

#: What nearly every client keeps of an answer.
_USUAL = ("role", "content", "tool_calls")
_OF_A_CALL = ("id", "type", "function")


@dataclass
class Client:
    """One that runs a tool until it gets an answer in words. `id`: None to name no conversation.

    `is_thin`: it sends only what is new. It drops all that is not in OpenAI's reference.
    """

    sidecar: Sidecar
    id: str | None = "a"
    is_thin: bool = False
    model: str = "m"
    more: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    history: list[Fields] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    async def ask(self, text: str) -> str:
        """The answer in words. Fails if the upstream refuses."""
        new = [user(text)]
        while True:
            message = await self._send(new)
            self.history += [*new, kept(message)]
            if not message.get("tool_calls"):
                return str(message["content"])
            new = [result(call["id"], f"{text} is 42") for call in message["tool_calls"]]

    async def _send(self, new: list[Fields]) -> Fields:
        sent = new if self.is_thin else [*self.history, *new]
        reply = await self.sidecar.ask(
            *sent, id=self.id, model=self.model, headers=self.headers, **{"tools": TOOLS, **self.more}
        )
        self.replies.append(reply)
        assert reply.status == 200, reply.body
        message: Fields = reply.json["choices"][0]["message"]
        return message


def kept(message: Fields) -> Fields:
    """What a client keeps of an answer."""
    told = {name: message[name] for name in _USUAL if name in message}
    if "tool_calls" in told:
        told["tool_calls"] = [{name: call[name] for name in _OF_A_CALL} for call in told["tool_calls"]]
    return told
