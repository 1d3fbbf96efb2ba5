"""Chats that name themselves by nothing, all at once, by a client that does what users and front ends do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Exchange, Upstream, says

CONTEXT = "### Task:\nRespond to the user query using the provided context\n<context>{}</context>\n\n"


@dataclass
class Chat:
    """The client's copy of a chat, and every id under which the upstream has seen it: one, until a question
    is edited, which begins a branch with an id of its own."""

    sidecar: Sidecar
    opening: str
    rolls: random.Random
    texts: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)

    async def goes_on(self) -> None:
        if len(self.texts) < 4:
            return await self.asks(self.opening if not self.texts else f"question {self.rolls.random()}")
        what = self.rolls.choice(["ask", "ask", "regenerate", "edit", "wish"])
        if what == "ask":
            await self.asks(f"question {self.rolls.random()}")
        elif what == "edit":
            del self.texts[-2:]
            self.replaced |= self.ids
            self.ids = set()
            await self.asks(f"edited {self.rolls.random()}")
        elif what == "regenerate":
            del self.texts[-1]
            await self.is_answered(self.texts)
        else:
            answer = self.texts.pop()
            await self.is_answered([*self.texts, answer, "Shorter, please."])
        return None

    async def asks(self, text: str) -> None:
        context = CONTEXT.format(self.rolls.random()) if self.rolls.random() < 0.5 else ""
        self.texts.append(text)
        await self.is_answered([*self.texts[:-1], context + text])

    async def is_answered(self, sent: list[str]) -> None:
        reply = await self.sidecar.ask(*sent)
        self.ids.add(reply.headers["X-Conversation-ID"])
        self.texts.append(reply.json["choices"][0]["message"]["content"])


@pytest.mark.parametrize("seed", range(5))
async def test_each_chat_keeps_its_id_until_an_edit(sidecar: Sidecar, upstream: Upstream, seed: int):
    rolls = random.Random(seed)

    async def answer(exchange: Exchange) -> None:
        await says(f"answer {len(upstream.requests)}")(exchange)

    upstream.otherwise = answer
    chats = [Chat(sidecar, opening, rolls) for opening in ("hi", "hi", "hi", "how are you?", "hello")]
    for _ in range(50):
        await rolls.choice(chats).goes_on()

    assert [len(chat.ids) for chat in chats] == [1] * len(chats)
    assert not any(chat.ids & chat.replaced for chat in chats)
    told = [id for chat in chats for id in (*chat.ids, *chat.replaced)]
    assert len(told) == len(set(told))
    assert {each.headers["X-Conversation-ID"] for each in upstream.requests} == set(told)
