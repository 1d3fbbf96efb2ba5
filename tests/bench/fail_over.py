"""Two targets that fail at random: is any turn lost, kept twice, or asked of an engine that had begun?

The exit code is 1 if any is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.export import as_json
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.store import make_store
from tests.proxy.mock_upstream import CUT, Exchange, Upstream, cuts, event, says, sends, streams

__all__ = ["Soak", "main"]

_LATE = 0.3  # seconds after which a connection that breaks was no stale one
_FAULTS = {"none": 70, "busy": 8, "away": 8, "reset": 3, "late reset": 2, "breaks off": 4, "error": 5}
_ERROR = b'{"error":{"message":"no","code":"failed"}}'
_TURNS = 10


@dataclass
class Soak:
    """Chats with two targets. `faults`: what went wrong that must not."""

    seed: int
    requests: int
    at_once: int = 16
    begun: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    async def run(self, folder: Path) -> None:
        """Ask as often as that, then compare what clients saw with what is stored."""
        self._chance = random.Random(self.seed)
        self._asked = iter(range(self.requests))
        engines = [Upstream(otherwise=self._engine(name)) for name in ("one", "two")]
        for each in engines:
            await each.start()
        settings = Settings.model_validate(
            {
                "upstream": engines[0].url,
                "listen": "127.0.0.1:0",
                "store": f"sqlite:///{folder}/soak.db",
                "targets": [
                    {"name": f"t{at}", "url": each.url, "models": ["m"], "priority": at}
                    for at, each in enumerate(engines)
                ],
                "retries": {"backoff": 0.01},
                "trim": {"window_refresh": 0},
            }
        )
        async with running(settings) as url, aiohttp.ClientSession() as http:
            flapping = asyncio.ensure_future(self._flap(engines))
            try:
                await asyncio.gather(*(self._client(http, url, at) for at in range(self.at_once)))
            finally:
                flapping.cancel()
                await asyncio.gather(flapping, return_exceptions=True)
        for each in engines:
            await each.stop()
        await self._compare(settings)

    def _engine(self, name: str) -> Any:
        async def answer(exchange: Exchange) -> None:
            if exchange.request.method == "GET":
                return await sends(b'{"data":[]}')(exchange)
            question = exchange.request.json["messages"][-1]["content"]
            fault = self._chance.choices([*_FAULTS], [*_FAULTS.values()])[0]
            self.drawn[fault] += 1
            if fault in ("none", "breaks off"):
                self.begun[question] += 1
            match fault:
                case "none":
                    await says(f"{name} answers {question}")(exchange)
                case "busy" | "away":
                    await sends(_ERROR, status=429 if fault == "busy" else 503)(exchange)
                case "reset":
                    await cuts()(exchange)
                case "late reset":
                    await asyncio.sleep(_LATE)
                    self.begun[question] += 1  # what ends before that counts as one that cannot have begun
                    await cuts()(exchange)
                case "breaks off":
                    await streams(event({"role": "assistant", "content": "half"}), CUT)(exchange)
                case _:
                    await sends(_ERROR, status=500)(exchange)

        return answer

    async def _flap(self, engines: list[Upstream]) -> None:
        """Now and then one refuses connections for a moment."""
        while True:
            await asyncio.sleep(0.2)
            engine = self._chance.choice(engines)
            await engine.stop()
            self.drawn["refuses"] += 1
            await asyncio.sleep(0.05)
            await engine.start()

    async def _client(self, http: aiohttp.ClientSession, url: str, number: int) -> None:
        chat, history = 0, list[dict[str, str]]()
        for asked in self._asked:
            if len(history) >= 2 * _TURNS:
                chat, history = chat + 1, []
            question = f"question {asked}"
            said = await self._ask(http, url, f"{number}-{chat}", history, question, stream=bool(asked % 2))
            if said is not None:
                self.answered[question] = said
                history += [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": said},
                ]

    async def _ask(
        self,
        http: aiohttp.ClientSession,
        url: str,
        chat: str,
        history: list[dict[str, str]],
        question: str,
        *,
        stream: bool,
    ) -> str | None:
        """The answer; None for an error that the client saw."""
        messages = [*history, {"role": "user", "content": question}]
        body = {"model": "m", "stream": stream, "messages": messages}
        headers = {"X-Conversation-ID": chat}
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                told = await response.read()
        except aiohttp.ClientError:
            self.seen["broke off"] += 1
            return None
        self.seen[str(response.status)] += 1
        if response.status != 200:
            return None
        if not stream:
            text: str = json.loads(told)["choices"][0]["message"]["content"]
            return text
        if not told.endswith(b"data: [DONE]\n\n"):
            self.faults.append(f"{question}: a stream without its end was ended well")
            return None
        lines = [each.removeprefix(b"data: ") for each in told.split(b"\n\n") if each.startswith(b"data: {")]
        return "".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in lines)

    async def _compare(self, settings: Settings) -> None:
        store = make_store(settings.store_path)
        await store.open()
        kept: Counter[tuple[str, str]] = Counter()
        try:
            async for conversation in store.conversations():
                told = json.loads(as_json(conversation, await store.tree(conversation.id)))
                by_id = {each["id"]: each for each in told["messages"]}
                for each in told["messages"]:
                    if each["message"]["role"] == "assistant" and each["state"] == "complete":
                        parent = by_id[each["parent"]]
                        kept[parent["message"]["content"], each["message"]["content"]] += 1
        finally:
            await store.close()
        for question, said in self.answered.items():
            if kept[question, said] != 1:
                self.faults.append(f"{question}: seen once, kept {kept[question, said]} times")
        self.faults += [f"{each}: begun {count} times" for each, count in self.begun.items() if count > 1]
        # A stream may break behind its last word: then it is kept, and its client saw it break off.
        asked = Counter(question for question, _ in kept.elements())
        self.faults += [f"{each}: kept {count} times" for each, count in asked.items() if count > 1]


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench fail_over", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args(arguments)
    soak, began = Soak(given.seed, given.requests), time.monotonic()
    await soak.run(folder)
    print(f"{given.requests} requests, seed {given.seed}, {time.monotonic() - began:.0f} s")
    print("engines:", dict(soak.drawn), "clients:", dict(soak.seen))
    print(f"{len(soak.answered)} answers seen to their end, {len(soak.faults)} faults")
    for fault in soak.faults[:20]:
        print(fault)
    if soak.faults:
        sys.exit(1)
