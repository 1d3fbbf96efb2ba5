"""A client of the sidecar, and a reader of what it has stored."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from sidecar.commands.verify import wrongs
from sidecar.export import as_json
from sidecar.settings import Settings
from sidecar.store import make_store

CHAT = "/v1/chat/completions"


@dataclass
class Reply:
    """A response, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcome(self) -> str | None:
        return self.headers.get("X-Sidecar-Outcome")


@dataclass
class Stored:
    """One conversation as `sidecar export` tells it."""

    conversation: dict[str, Any]
    messages: list[dict[str, Any]]
    threads: list[dict[str, Any]]
    exchanges: list[dict[str, Any]]

    @property
    def key(self) -> str | None:
        key: str | None = self.conversation["key"]
        return key

    @property
    def texts(self) -> list[str]:
        return [_text(each) for each in self.messages]

    @property
    def branches(self) -> list[list[str]]:
        """From the root to each tip, in the order in which the tips were recorded."""
        by_id = {each["id"]: each for each in self.messages}
        inner = {each["parent"] for each in self.messages}
        branches = []
        for tip in (each for each in self.messages if each["id"] not in inner):
            line = [tip]
            while line[-1]["parent"] is not None:
                line.append(by_id[line[-1]["parent"]])
            branches.append([_text(each) for each in reversed(line)])
        return branches


def _text(entry: dict[str, Any]) -> str:
    content = entry["message"].get("content")
    text = content if isinstance(content, str) else json.dumps(content)
    return text if entry["state"] == "complete" else f"{text} ({entry['state']})"


@dataclass
class Sidecar:
    """A running sidecar and a session to it."""

    url: str
    settings: Settings
    http: ClientSession

    async def ask(
        self,
        *messages: str | dict[str, Any],
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = CHAT,
        **body: Any,
    ) -> Reply:
        """Ask for a completion. Strings are messages of user and assistant in turn."""
        data = json.dumps({"model": "m", "messages": chat(*messages), **body}).encode()
        return await self.send("POST", path, data=data, headers={**named(id), **(headers or {})})

    async def send(
        self, method: str, path: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        # aiohttp warns of large bodies that are given as bytes.
        body = io.BytesIO(data) if data is not None and len(data) > 1 << 20 else data
        async with self.http.request(method, self.url + path, data=body, headers=headers) as response:
            return Reply(response.status, response.headers, await response.read())

    async def stored(self) -> list[Stored]:
        """All conversations in the store's file, in which `sidecar verify` finds nothing wrong."""
        store = make_store(self.settings.store_path)
        await store.open()
        found = []
        try:
            async for each in store.conversations():
                whole = await store.snapshot(each.id)
                assert whole is not None
                assert list(wrongs(whole, store.secret)) == []
                found.append(json.loads(as_json(each, await store.tree(each.id))))
        finally:
            await store.close()
        return [Stored(**each) for each in found]

    async def only(self) -> Stored:
        """The one conversation in the store."""
        (conversation,) = await self.stored()
        return conversation

    async def metric(self, name: str) -> float:
        """A counter's value, summed over its labels."""
        text = (await self.send("GET", "/-/metrics")).body.decode()
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def chat(*messages: str | dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "assistant" if at % 2 else "user", "content": each} if isinstance(each, str) else each
        for at, each in enumerate(messages)
    ]


def named(id: str | None) -> dict[str, str]:
    return {} if id is None else {"X-Conversation-ID": id}


def assert_error(reply: Reply, status: int, code: str, *, type: str | None = None) -> dict[str, Any]:
    """The reply is an error of the sidecar's own, in OpenAI's shape; returns what is in it."""
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"].startswith("application/json")
    assert set(reply.json) == {"error"}
    error: dict[str, Any] = reply.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    if type is not None:
        assert error["type"] == type
    return error


async def eventually(holds: Callable[[], Any], *, within: float = 5.0) -> None:
    """Wait until it holds, at most so many seconds."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)


async def settled() -> None:
    """Let everything that is under way in this process go on until it waits for something: so many turns of
    the loop, since on a busy machine a time alone may be over after one."""
    for _ in range(20):
        await asyncio.sleep(0.005)
