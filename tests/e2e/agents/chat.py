"""A chat as a front end keeps it: it holds its own history, and sends all of it with every question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

__all__ = ["Chat", "ask"]


async def ask(
    http: aiohttp.ClientSession,
    url: str,
    messages: list[dict[str, Any]],
    headers: Mapping[str, str],
    **body: Any,
) -> tuple[str, Mapping[str, str]]:
    """The text of the answer, streamed, and the headers that it came with."""
    asked = {"model": "m", "stream": True, **body, "messages": messages}
    async with http.post(f"{url}/v1/chat/completions", json=asked, headers=headers) as response:
        told = await response.text()
        assert response.status == 200, told
        events = [line[6:] for line in told.splitlines() if line.startswith("data: {")]
        deltas = [choice["delta"] for each in events for choice in json.loads(each).get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas), response.headers


class Chat:
    """One chat of one user. With an `id` it names itself, without one it sends no header at all."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, *, id: str | None, key: str = "", **headers: str
    ) -> None:
        self._http, self._url = http, url
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        if id is not None:
            self.headers["X-Conversation-ID"] = id
        self.has_id = id is not None
        self.messages: list[dict[str, Any]] = []

    async def ask(self, question: str, *, context: str = "") -> str:
        """Ask the next question. The context is sent with it this once, as retrieval does."""
        self.messages.append({"role": "user", "content": question})
        return await self._answered(context)

    async def regenerate(self) -> str:
        """Throw the last answer away and ask for another."""
        self.messages.pop()
        return await self._answered("")

    async def edit(self, question: str) -> str:
        """Ask something else instead of the last question."""
        del self.messages[-2:]
        return await self.ask(question)

    async def task(self, prompt: str, **headers: str) -> str:
        """What a front end asks for itself, about this chat."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        text, _ = await ask(
            self._http, self._url, [{"role": "user", "content": prompt}], {**self.headers, **named}
        )
        return text

    async def _answered(self, context: str) -> str:
        *before, question = self.messages
        sent = {**question, "content": context + question["content"]}
        text, _ = await ask(self._http, self._url, [*before, sent], self.headers)
        self.messages.append({"role": "assistant", "content": text})
        return text
