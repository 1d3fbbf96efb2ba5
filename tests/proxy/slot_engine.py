"""llama.cpp's server as far as its slots go: a character is a token, and a file is what was in a slot."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.proxy.mock_upstream import DONE, EVENTS, JSON, Exchange, event, sends, streams

_ACTION = re.compile(r"/slots/(\d+)\?action=(\w+)")


@dataclass
class Slot:
    held: str = ""
    task: int = -1
    #: It was read from a file, and nobody has asked since.
    is_restored: bool = False


@dataclass
class SlotEngine:
    """Answers chats, and does what it is told with its slots. It remembers the actions: what, slot, file."""

    count: int = 2
    #: None: it was started without a folder for them.
    files: dict[str, str] | None = field(default_factory=dict)
    model: str = "/models/a.gguf"
    #: What it read from a file is of no use to it.
    has_sliding_windows: bool = False
    #: It does not tell how many tokens a slot holds, or nothing of its slots at all.
    counts: bool = True
    tells: bool = True
    #: What a slot's action waits for.
    gate: asyncio.Event | None = None
    #: Called when it has done such an action, before it says so.
    then: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    actions: list[tuple[str, int, str]] = field(default_factory=list)
    looked: int = 0
    #: For how many actions.
    asked: int = 0
    #: Of each chat's request, the characters of the prompt that it had.
    cached: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.slots = [Slot() for _ in range(self.count)]
        self.tasks = 0

    def did(self, action: str) -> list[tuple[int, str]]:
        return [(slot, file) for what, slot, file in self.actions if what == action]

    async def __call__(self, exchange: Exchange) -> None:
        path = exchange.request.target
        if path.endswith("/chat/completions"):
            return await self._chat(exchange)
        if path == "/slots":
            self.looked += 1
            if not self.tells:
                return await sends(b"{}", status=501, headers=JSON)(exchange)
            return await _says(exchange, [self._told(at) for at in range(self.count)])
        if path == "/props":
            return await _says(exchange, {"model_path": self.model, "build_info": "b1"})
        if (found := _ACTION.fullmatch(path)) is not None:
            self.asked += 1
            if self.gate is not None:
                await self.gate.wait()
            return await self._act(exchange, int(found[1]), found[2])
        await _says(exchange, {"data": []} if path == "/v1/models" else [])

    def _told(self, at: int) -> dict[str, Any]:
        slot = self.slots[at]
        told: dict[str, Any] = {"id": at, "is_processing": False}
        if slot.task >= 0:
            told |= {"id_task": slot.task} | ({"n_prompt_tokens": len(slot.held)} if self.counts else {})
        return told

    async def _act(self, exchange: Exchange, at: int, action: str) -> None:
        slot, file = self.slots[at], exchange.request.json.get("filename", "")
        self.actions.append((action, at, file))
        if self.files is None:
            return await sends(b'{"error":{"code":501}}', status=501, headers=JSON)(exchange)
        if action == "save":
            self.files[file] = slot.held
            return await _says(exchange, {"n_saved": len(slot.held)})
        slot.held, slot.is_restored = self.files.get(file, "") if action == "restore" else "", True
        count = len(slot.held)
        if (then := self.then.pop(action, None)) is not None:
            await then()
        if action == "restore" and file not in self.files:
            return await sends(b'{"error":{"code":400}}', status=400, headers=JSON)(exchange)
        await _says(exchange, {f"n_{action}d": count})

    async def _chat(self, exchange: Exchange) -> None:
        body = exchange.request.json
        slot = self.slots[body.get("id_slot", 0)]
        prompt = "".join(f"<{each['role']}>{each['content']}" for each in body["messages"]) + "<assistant>"
        is_lost = self.has_sliding_windows and slot.is_restored
        cached = 0 if is_lost else _common(slot.held, prompt)
        slot.held, slot.task, slot.is_restored = f"{prompt}ok", self.tasks, False
        self.tasks += 1
        self.cached.append(cached)
        timings = {"cache_n": cached, "prompt_n": len(prompt) - cached, "predicted_n": 3}
        if exchange.request.wants_stream:
            first, last = (
                event({"role": "assistant", "content": "ok"}),
                event({}, finish="stop", timings=timings),
            )
            return await streams(first, last, DONE, headers=EVENTS)(exchange)
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        await _says(exchange, {"object": "chat.completion", "choices": [choice], "timings": timings})


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


async def _says(exchange: Exchange, value: Any) -> None:
    await sends(json.dumps(value).encode())(exchange)
