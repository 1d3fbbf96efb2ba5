"""Open WebUI as far as its requests go, in the set-ups in which people have it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from sidecar import cli
from tests.proxy.client import CHAT, Reply, Sidecar

AGENT = "Python/3.11 aiohttp/3.14.5"
TEMPLATES = {
    "X-Conversation-ID": "{{CHAT_ID}}",
    "X-Message-ID": "{{MESSAGE_ID}}",
    "X-User-Message-ID": "{{USER_MESSAGE_ID}}",
    "X-User-Message-Parent-ID": "{{USER_MESSAGE_PARENT_ID}}",
    "X-Task": "{{TASK}}",
    "X-Model": "{{MODEL_ID}}",
    "X-User-ID": "{{USER_ID}}",
}
#: What versions of it fill in; what they do not know goes out as it stands.
OLDEST: tuple[str, ...] = ()
V0_9 = ("CHAT_ID", "MESSAGE_ID", "USER_ID")
NEWEST = (*V0_9, "USER_MESSAGE_ID", "USER_MESSAGE_PARENT_ID", "TASK", "MODEL_ID")

TITLE = "### Task:\nGenerate a concise title summarizing the chat history.\n### Output:"
FOLLOW_UP = "### Task:\nPredict 3-5 useful messages this user might naturally send next\n### Output:"
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]


@dataclass
class Front:
    """One Open WebUI. `connection` are the headers of its connection, `forward` is what the variable
    ENABLE_FORWARD_USER_INFO_HEADERS says."""

    sidecar: Sidecar
    connection: Mapping[str, str] = field(default_factory=dict)
    forward: bool = False
    chat_header: str = "X-OpenWebUI-Chat-Id"
    jwt_secret: str | None = None
    fills_in: tuple[str, ...] = NEWEST
    title: str | None = TITLE
    follow_up: str | None = FOLLOW_UP
    key: str = "Bearer sk-of-the-connection"
    path: str = CHAT

    async def chats(self, *chat_ids: str, turns: int = 2, user: str = "user-1") -> None:
        """Chats of so many turns, with their background tasks."""
        for chat_id in chat_ids:
            await self.chat(chat_id, turns, user)

    async def chat(self, chat_id: str, turns: int = 2, user: str = "user-1") -> None:
        said: list[str] = []
        for number in range(turns):
            said.append(f"question {number} of {chat_id}")
            ids = {"CHAT_ID": chat_id, "USER_ID": user, "USER_MESSAGE_ID": f"q{number}"}
            ids["USER_MESSAGE_PARENT_ID"] = f"a{number - 1}" if number else ""
            if self.title is not None and not number:
                await self.ask([f"{self.title}\n{said}"], ids | {"TASK": "title_generation"})
            turn = {"MESSAGE_ID": f"a{number}", "MODEL_ID": "m"}
            reply = await self.ask(said, ids | turn, tools=TOOLS, stream=False)
            said.append("ok" if reply.status == 200 else "?")
            if self.follow_up is not None:
                await self.ask([f"{self.follow_up}\n{said}"], ids | {"TASK": "follow_up_generation"})

    async def ask(self, said: list[str], about: Mapping[str, str], **body: Any) -> Reply:
        """One request, about these things."""
        headers = {"User-Agent": AGENT, "Authorization": self.key, **self._forwarded(about)}
        headers |= {name: self._filled(value, about) for name, value in self.connection.items()}
        return await self.sidecar.ask(*said, headers=headers, path=self.path, **body)

    def _filled(self, value: str, about: Mapping[str, str]) -> str:
        for name in self.fills_in:
            value = value.replace(f"{{{{{name}}}}}", about.get(name, ""))
        return value

    def _forwarded(self, about: Mapping[str, str]) -> dict[str, str]:
        if not self.forward:
            return {}
        headers = {"X-OpenWebUI-Auth-Type": "jwt"}
        if about.get("CHAT_ID"):
            headers[self.chat_header] = about["CHAT_ID"]
        if self.jwt_secret is None:
            return headers | {"X-OpenWebUI-User-Id": about["USER_ID"], "X-OpenWebUI-User-Name": "Ada"}
        claims = {"sub": about["USER_ID"], "iss": "open-webui"}
        return headers | {"X-OpenWebUI-User-Jwt": jwt.encode(claims, self.jwt_secret, algorithm="HS256")}


async def doctor(sidecar: Sidecar, *arguments: str) -> int:
    """Run `sidecar doctor` on it, as a user does; returns the exit code."""
    return await asyncio.to_thread(cli.main, ["doctor", "--url", sidecar.url, *arguments])
