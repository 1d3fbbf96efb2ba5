"""Clients that go on whatever happens: after an error, a break or an outage they wait and ask again."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientSession

from tests.crash.clients import Client, Message, Refused, _whole
from tests.crash.ledger import Seen
from tests.crash.responses import WAYS, ResponsesClient
from tests.e2e.openwebui.server import Account
from tests.soak.upstream import END, NO_CALLS

__all__ = ["AGENTS", "Life", "agent", "web_chat"]

#: Kinds of agents; as many of each kind chat at a time as are asked for.
AGENTS = ("thin", "whole", *WAYS)
_TURNS = 40  # of a chat, before another begins
_PAUSE = 1.0  # seconds between a reply and the next question, on average


@dataclass
class Life:
    """What all clients share. `unsaid`: answers that were none, by what came instead."""

    chance: random.Random
    notify: Callable[[Seen], None]
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    unsaid: int = 0


class _Enduring(Client):
    """A chat that ends after some turns, or with the life. To be put before a kind of `Client`."""

    life: Life

    async def talk(self, http: ClientSession, base: str) -> None:
        for _ in range(_TURNS):
            before, new = self._next()
            self._unanswered = new
            try:
                reply = await self._ask(http, base, [*before, *new] if self._full else new)
            except (AssertionError, ClientError, LookupError, OSError, Refused, ValueError):
                reply = None
            if reply is None:
                self.life.unsaid += 1
            else:
                self._unanswered = []
                self._path = [*before, *new, reply]
                self._notify(self._seen((*before, *new), reply))
            try:
                await asyncio.wait_for(self.life.is_over.wait(), self._chance.expovariate(1 / _PAUSE))
            except TimeoutError:
                continue
            return


class _Agent(_Enduring):
    pass


class _ResponsesAgent(_Enduring, ResponsesClient):
    pass


class _WebChat(_Enduring):
    """A chat of Open WebUI's: `base` is its address, and the chat's id is what the sidecar knows it by.

    Open WebUI keeps the tree of the chat itself, and sends what is on the path to the question that is asked.
    """

    account: Account
    #: What stood before the question that was asked last.
    _behind: list[Message]

    def _next(self) -> tuple[list[Message], list[Message]]:
        before, new = super()._next()
        if new and "node" in new[0]:  # nothing answered it: Open WebUI asks it again where it stands
            return self._behind, new
        self._behind = before
        return before, new

    def _asked(self) -> str:
        return f"question {next(self._numbers)} of {self._key}, {NO_CALLS}"

    async def _ask(self, http: ClientSession, base: str, messages: list[Message]) -> Message | None:
        for message in messages:
            message.setdefault("node", str(uuid.UUID(int=self._chance.getrandbits(128), version=4)))
        *before, question = messages
        answer = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        streamed = self._chance.random() < 0.8
        body = {
            "model": "m",
            "messages": [{"role": each["role"], "content": each["content"]} for each in messages],
            "stream": streamed,
            "chat_id": self._key,
            "id": answer,
            "user_message": {
                "id": question["node"],
                "parentId": before[-1]["node"] if before else None,
                "role": "user",
                "content": question["content"],
                "childrenIds": [],
                "models": ["m"],
            },
        }
        headers = {"Authorization": f"Bearer {self.account.token}"}
        data = b""
        try:
            async with http.post(f"{base}/api/chat/completions", json=body, headers=headers) as response:
                async for chunk in response.content.iter_any():
                    data += chunk
                if response.status != 200:
                    raise Refused(f"{response.status} {data[:300]!r}")
        except (ClientError, OSError):
            pass  # what came before may have been all of it
        reply = await self._kept(answer) if streamed else _whole(data)
        # One that it has kept of an answer that broke off looks the same, but for its end.
        if reply is None or not str(reply["content"]).endswith(END):
            return None
        return {**reply, "node": answer}

    async def _kept(self, answer: str) -> Message | None:
        """What Open WebUI has kept of a stream: it reads that itself, and tells browsers of it."""
        chat = (await self.account.get(f"/api/v1/chats/{self._key}"))["chat"]
        message = chat["history"]["messages"].get(answer, {})
        if not message.get("done") or message.get("error"):
            return None
        return {"role": "assistant", "content": message["content"]}


def agent(kind: str, key: str, life: Life) -> Client:
    """A client of one of the kinds of `AGENTS`."""
    made: _Enduring
    if kind in WAYS:
        made = _ResponsesAgent(key, kind, chance=life.chance, notify=life.notify)
    else:
        made = _Agent(key, full=kind == "whole", chance=life.chance, notify=life.notify)
    made.life = life
    return made


async def web_chat(account: Account, life: Life) -> Client:
    """A new chat of this user's."""
    chat = {"title": "soak", "models": ["m"], "messages": [], "history": {"messages": {}, "currentId": None}}
    begun = await account.post("/api/v1/chats/new", {"chat": chat})
    made = _WebChat(begun["id"], full=True, chance=life.chance, notify=life.notify)
    made.life, made.account = life, account
    return made
