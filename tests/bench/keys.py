"""Clients' keys under load: when a revoked one is refused, what a rotated one keeps, how many get in at once.

Two sidecars on one PostgreSQL have the same keys; they are changed by the commands that people use. Then many
clients ask with one key of which four may be answered at once, by one worker and by two. The exit code is 1
if a key is accepted for longer than five seconds, a chat is lost, or a fifth request gets through.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from tests.bench.scenes import table
from tests.proxy.process import clean_environment, serving
from tests.served import served
from tests.store.postgres import Server

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_WITHIN = 5.0  # seconds
_PATIENCE = 120.0
_PARALLEL = 4
#: Nobody reads what it logs, and a full pipe would stop it.
_REQUIRED = {"SIDECAR_KEYS__ENFORCEMENT": "required", "SIDECAR_LOGS__LEVEL": "error"}


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench keys", description=__doc__)
    parser.add_argument("--revokes", type=int, default=5, help="keys that are revoked (%(default)s)")
    parser.add_argument("--chats", type=int, default=12, help="that talk while their key is rotated")
    parser.add_argument("--grace", type=int, default=3, help="seconds of the old secret (%(default)s)")
    parser.add_argument("--clients", type=int, default=1000, help="that ask with one key (%(default)s)")
    given = parser.parse_args(arguments)
    found = _Found()
    async with AsyncExitStack() as stack:
        upstream = _Upstream()
        address = await stack.enter_async_context(upstream.serve())
        # One address each, so that none waits for a connection of another.
        http = await stack.enter_async_context(
            ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=_PATIENCE))
        )
        server = Server()
        server.start()
        stack.callback(server.close)
        store = server.url(await server.database())
        flags = ("--upstream", address, "--store", store)
        replicas = [
            await stack.enter_async_context(serving(*flags, folder=folder, **_REQUIRED)) for _ in range(2)
        ]
        urls = [each.url for each in replicas]
        for number in range(given.revokes):
            await _revoke(http, urls, store, f"revoked{number}", found)
        await _rotate(http, urls, store, given, found)
        for workers in (1, 2):
            await _crowd(http, address, folder, workers, given.clients, upstream, found)
    print(f"\n{table(('what', 'figure'), found.rows)}\n")
    if found.is_wrong:
        sys.exit(1)


@dataclass
class _Found:
    rows: list[list[str]] = field(default_factory=list)
    is_wrong: bool = False

    def tell(self, what: str, figure: str, *, is_right: bool) -> None:
        self.rows.append([what, figure])
        self.is_wrong = self.is_wrong or not is_right
        print(f"{what}: {figure}{'' if is_right else '   ! wrong'}", flush=True)


class _Upstream:
    """Streams a few pieces, and knows how many streams there were at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._numbers = itertools.count()

    def serve(self) -> AbstractAsyncContextManager[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        return served(app, backlog=2048)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for said in (f"answer {next(self._numbers)}", " and", " more"):
                await response.write(_event({"content": said}, None))
                await asyncio.sleep(0.005)
            await response.write(_event({}, "stop") + b"data: [DONE]\n\n")
        finally:
            self.now -= 1
        return response


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def _keys(store: str, *arguments: str) -> str:
    """`sidecar keys`, as people type it; gives what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "keys", *arguments, "--store", store),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean_environment(), "PYTHONPATH": str(_ROOT), "HOME": os.environ.get("HOME", "/")},
    )
    said, complained = await asyncio.wait_for(process.communicate(), _PATIENCE)
    if process.returncode:
        raise RuntimeError(complained.decode())
    return said.decode().strip()


async def _ask(
    http: ClientSession, url: str, key: str, chat: str, messages: list[dict[str, str]]
) -> tuple[int, str, str]:
    """The status, the outcome and the text of an answer."""
    headers = {"Authorization": f"Bearer {key}", "X-Conversation-ID": chat}
    body = {"model": "m", "stream": True, "messages": messages}
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        said = (await response.read()).decode()
        if response.status != 200:
            return response.status, "", ""
        events = [json.loads(line[6:]) for line in said.split("\n\n") if line.startswith("data: {")]
        text = "".join(each["choices"][0]["delta"].get("content", "") for each in events)
        return 200, response.headers["X-Sidecar-Outcome"], text


_HI = [{"role": "user", "content": "hi"}]


async def _until_refused(http: ClientSession, url: str, key: str, begun: float) -> float:
    """Seconds since then until it is refused there, asked all the time."""
    while time.monotonic() - begun < _PATIENCE:
        if (await _ask(http, url, key, "a", _HI))[0] == 401:
            return time.monotonic() - begun
        await asyncio.sleep(0.02)
    return _PATIENCE


async def _revoke(http: ClientSession, urls: list[str], store: str, name: str, found: _Found) -> None:
    key = await _keys(store, "add", name)
    asking = [asyncio.create_task(_until_refused(http, url, key, time.monotonic())) for url in urls]
    await asyncio.sleep(random.uniform(0.5, 3.0))  # whenever it comes, between two looks at the store
    if any(each.done() for each in asking):
        raise RuntimeError("a valid key was refused")
    await _keys(store, "revoke", name)
    ended = time.monotonic()
    await asyncio.gather(*asking)
    took = time.monotonic() - ended
    found.tell(f"{name}: refused by both sidecars after", f"{took:.2f} s", is_right=took <= _WITHIN)


class _Talker:
    """A chat that goes on and on, at either sidecar; with the old secret as long as that is valid."""

    def __init__(self, http: ClientSession, urls: list[str], name: str, keys: list[str]) -> None:
        self._http, self._urls, self._name, self.keys = http, urls, name, keys
        self.outcomes: list[str] = []
        self.refused_at: float | None = None
        self._said: list[dict[str, str]] = []

    async def talk(self, over: asyncio.Event) -> None:
        for turn in itertools.count():
            if over.is_set():
                return
            asked = [*self._said, {"role": "user", "content": f"question {turn} of {self._name}"}]
            key, url = self.keys[0], self._urls[turn % len(self._urls)]
            status, outcome, text = await _ask(self._http, url, key, self._name, asked)
            if status == 401 and len(self.keys) > 1:
                self.refused_at = time.monotonic()
                del self.keys[0]
                continue
            self.outcomes.append(outcome if status == 200 else str(status))
            self._said = [*asked, {"role": "assistant", "content": text}]
            await asyncio.sleep(0.05)


async def _rotate(
    http: ClientSession, urls: list[str], store: str, given: argparse.Namespace, found: _Found
) -> None:
    old = await _keys(store, "add", "rotated")
    talkers = [_Talker(http, urls, f"chat {at}", [old]) for at in range(given.chats)]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for each in talkers:
            group.create_task(each.talk(over))
        await asyncio.sleep(1.0)
        ends = time.monotonic() + given.grace  # at the earliest: the command takes a moment
        new = await _keys(store, "rotate", "rotated", "--grace", f"{given.grace}s")
        for at, each in enumerate(talkers):
            each.keys[:] = [old, new] if at % 2 else [new]
        async with asyncio.timeout(_PATIENCE):
            while any(len(each.keys) > 1 for each in talkers):
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        over.set()
    after = [each.refused_at - ends for each in talkers if each.refused_at is not None]
    lost = sum(each.outcomes[1:] != ["continue"] * (len(each.outcomes) - 1) for each in talkers)
    turns = sum(len(each.outcomes) for each in talkers)
    found.tell(
        f"a key rotated under {turns} turns of {given.chats} chats: lost chats", f"{lost}", is_right=not lost
    )
    found.tell(
        "its old secret is refused, after its grace",
        f"{min(after):.2f} to {max(after):.2f} s",
        is_right=min(after) >= 0 and max(after) <= _WITHIN,
    )


async def _crowd(
    http: ClientSession,
    upstream_url: str,
    folder: Path,
    workers: int,
    clients: int,
    upstream: _Upstream,
    found: _Found,
) -> None:
    store = f"sqlite:///{folder}/crowd{workers}.db"
    key = await _keys(store, "add", "crowd", "--parallel", str(_PARALLEL))
    refused = 0

    async def until_answered(at: int) -> None:
        nonlocal refused
        chance = random.Random(at)
        while (await _ask(http, process.url, key, f"chat {at}", _HI))[0] != 200:
            refused += 1
            await asyncio.sleep(chance.uniform(0.1, 2.0))

    flags = ("--upstream", upstream_url, "--store", store, "--workers", str(workers))
    async with serving(*flags, folder=folder, **_REQUIRED) as process:
        upstream.most, begun = 0, time.monotonic()
        async with asyncio.TaskGroup() as group:
            for at in range(clients):
                group.create_task(until_answered(at))
        took = time.monotonic() - begun
    found.tell(
        f"{clients} clients with one key of `parallel = {_PARALLEL}`, {workers} worker{'s' * (workers > 1)}:"
        f" all answered in {took:.0f} s, {refused} times 429; upstream at once",
        f"{upstream.most}",
        is_right=upstream.most == _PARALLEL,
    )
