"""What went upstream for a question, and what can be told of it.

The upstream is a mock that keeps what it gets. All is asked as a client asks that sends its whole history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from sidecar.conversation.measure import measure
from sidecar.prompt.recall import HEADING
from sidecar.prompt.weights import DEFAULT_WEIGHTS
from tests.bench.recall.talk import Message
from tests.proxy.mock_upstream import Upstream

__all__ = ["Prompt", "sent", "text_of", "tokens_of"]


@dataclass(slots=True, frozen=True)
class Prompt:
    """The messages that went upstream, the question at their end.

    `tokens`: by the sidecar's own estimate, which nothing has taught; `quoted`: those of the turn that
    quotes what was dropped.
    """

    messages: Sequence[Message]
    tokens: int
    quoted: int

    @property
    def text(self) -> str:
        """All that stands before the question."""
        return "\n".join(map(text_of, self.messages[:-1]))

    def holds(self, needs: Sequence[str]) -> bool:
        """Is all of it there before the question?"""
        text = self.text
        return all(each in text for each in needs)

    def prefers(self, old: str, new: Sequence[str]) -> bool:
        """Is what was corrected there without its correction, or once more behind it?"""
        text = self.text
        return bool(old) and text.rfind(old) > min((text.rfind(each) for each in new), default=-1)

    @property
    def fault(self) -> str:
        """What a strict chat template would refuse; empty if it is in order."""
        expected: tuple[str, ...] = ("user",)
        called: list[str] = []
        for at, each in enumerate(self.messages):
            role = each["role"]
            if role not in expected:
                return f"message {at} is of the {role}, not of {' or '.join(expected)}"
            if role == "tool" and each["tool_call_id"] not in called:
                return f"message {at} is the result of no call"
            if role == "assistant":
                called = [call["id"] for call in each.get("tool_calls", ())]
            expected = _behind(role, called)
        return "" if expected == ("assistant",) else "it does not end with a question"


def text_of(message: Mapping[str, object]) -> str:
    """Its text; of a message that is more than a text, all of it."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return json.dumps(message, ensure_ascii=False)


def tokens_of(messages: Sequence[Message]) -> int:
    """The sidecar's own estimate, which nothing has taught."""
    return sum(DEFAULT_WEIGHTS.tokens(measure(msgspec.json.encode(each))) for each in messages)


async def sent(
    http: aiohttp.ClientSession, url: str, upstream: Upstream, messages: Sequence[Message], *, id: str
) -> Prompt:
    """Ask this of the sidecar; `id` names the chat. Raises `RuntimeError` where it refuses."""
    body = {"model": "m", "messages": messages}
    headers = {"X-Conversation-ID": id, "X-Sidecar-History": "full"}
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        if response.status != 200:
            raise RuntimeError(f"the sidecar refused: {await response.text()}")
    received = upstream.requests[-1].json["messages"]
    upstream.requests.clear()
    quoting = [each for each in received if text_of(each).startswith(HEADING)]
    return Prompt(received, tokens_of(received), tokens_of(quoting))


def _behind(role: str, called: Sequence[str]) -> tuple[str, ...]:
    """Who may speak behind a message of this role."""
    if role == "assistant":
        return ("tool",) if called else ("user",)
    return ("tool", "assistant") if role == "tool" else ("assistant",)
