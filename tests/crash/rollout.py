"""Every sidecar replaced by a new one under load, as Kubernetes does it with our manifest of replicas.

One after another: a new one starts, and is in service once `/-/ready` says so; an old one goes out of
service, and after a pause is told to stop. Clients have one address, as that of a Service: a new connection
goes to one that is in service, an open one stays where it is. `./dev bench rollout` does this with figures,
and with an older version if one is given; the tests for some seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import (
    ClientError,
    ClientOSError,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
    TCPConnector,
    web,
)
from yarl import URL

from sidecar.export import as_json
from sidecar.store import make_store
from tests.crash.ledger import Fault, Seen, faults
from tests.proxy.process import Process, serving
from tests.served import served

__all__ = ["Summary", "roll_out"]

_PATIENCE = 60.0  # seconds for anything that has to come
_PIECES = 20  # of one answer
_AGAIN, _AGAIN_AFTER = 2, 0.5  # times that a client sends a request again, and after how long: as OpenAI's do


@dataclass
class Summary:
    """What came of it. `running`: streams under way when each of the old ones was told to stop, in all;
    `sent_again`: requests on a kept connection that was closed before any of an answer came."""

    seen: list[Seen] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    sent_again: int = 0
    running: int = 0
    endings: list[float] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    longest_wait: float = 0.0
    faults: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{each:.1f}" for each in self.endings)
        told = [
            f"{len(self.exit_codes)} replaced, {self.running} streams under way at their signals",
            f"{len(self.seen)} answers seen whole, {len(self.failed)} failed",
            f"{self.sent_again} requests sent again on a new connection",
            f"{len(self.faults)} answers not kept or not once",
            f"the old ones ended {ends} s after the signal with {self.exit_codes}",
            f"nobody waited longer than {self.longest_wait:.2f} s for the head of an answer",
        ]
        return "; ".join(told)


class _Upstream:
    """Answers in pieces, each after a pause."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._numbers = itertools.count()

    def serve(self) -> AbstractAsyncContextManager[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        return served(app)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        mark = f"reply-00000000-{next(self._numbers)}"
        for at in range(_PIECES):
            await asyncio.sleep(self._pause)
            await response.write(_event({"content": mark if at == 0 else f" {at}"}))
        await response.write(_event({}, finish="stop") + b"data: [DONE]\n\n")
        return response


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


class _Service:
    """One address in front of those that are in service; connections go to them in turn."""

    def __init__(self) -> None:
        self.behind: list[URL] = []
        self._turns = itertools.count()
        self._busy: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for each in self._busy:
                each.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._pass_on(reader, writer))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = self.behind[next(self._turns) % len(self.behind)]
        try:
            there, back = await asyncio.open_connection(to.host, to.port)
        except OSError:  # as a refused connection looks to a client
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()
            writer.close()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            to.write(data)
            await to.drain()
        to.write_eof()
    except (OSError, RuntimeError):  # one side has gone; so does the other
        to.transport.abort()


class _Client:
    """One chat, turn after turn. Whatever is no whole answer is a failure; but a request on a connection that
    was kept is sent again where that was closed before any of an answer came, as OpenAI's own clients do."""

    def __init__(self, key: str, summary: Summary, running: set[str], *, keeps_connections: bool) -> None:
        self._key, self._summary, self._running = key, summary, running
        self._keeps_connections = keeps_connections

    async def talk(self, http: ClientSession, url: str, over: asyncio.Event) -> None:
        path: list[dict[str, str]] = []
        for number in itertools.count():
            if over.is_set():
                return
            asked = [*path, {"role": "user", "content": f"question {number} of {self._key}"}]
            try:
                reply = await self._patiently(http, url, asked)
            except (ClientError, OSError, ValueError) as error:
                self._summary.failed.append(f"{self._key}: {error!r}")
                continue
            finally:
                self._running.discard(self._key)
            self._summary.seen.append(Seen(self._key, tuple(asked), reply, whole=True))
            path = [*asked, reply]

    async def _patiently(
        self, http: ClientSession, url: str, messages: list[dict[str, str]]
    ) -> dict[str, str]:
        for _ in range(_AGAIN if self._keeps_connections else 0):
            try:
                return await self._ask(http, url, messages)
            except (ClientOSError, ServerDisconnectedError):
                if self._key in self._running:
                    raise
                self._summary.sent_again += 1
                await asyncio.sleep(_AGAIN_AFTER)
        return await self._ask(http, url, messages)

    async def _ask(self, http: ClientSession, url: str, messages: list[dict[str, str]]) -> dict[str, str]:
        begun = time.monotonic()
        body = {"model": "m", "messages": messages, "stream": True}
        headers = {"X-Conversation-ID": self._key}
        async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            waited = time.monotonic() - begun
            self._summary.longest_wait = max(self._summary.longest_wait, waited)
            self._running.add(self._key)
            said = (await response.read()).decode()
        if response.status != 200 or not said.endswith("data: [DONE]\n\n"):
            raise ValueError(f"{response.status} {said[-300:]}")
        events = [json.loads(line[6:]) for line in said.split("\n\n") if line.startswith("data: {")]
        text = "".join(each["choices"][0]["delta"].get("content", "") for each in events)
        return {"role": "assistant", "content": text}


async def roll_out(
    store: str,
    folder: Path,
    *,
    replicas: int = 2,
    clients: int = 12,
    pause: float = 0.02,
    out_of_service: float = 0.5,
    keeps_connections: bool = False,
    older: Path | None = None,
) -> Summary:
    """Replace each of so many. `pause`: seconds between two pieces of an answer; `out_of_service`: between
    the end of new connections and the signal; `older`: a checkout of the version that is replaced."""
    summary, running, over = Summary(), set[str](), asyncio.Event()
    service = _Service()
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(_Upstream(pause).serve())

        async def start(of: Path | None) -> Process:
            more = {"PYTHONPATH": str(of)} if of is not None else {}
            flags = ("--upstream", upstream, "--store", store)
            begun = serving(*flags, folder=folder, SIDECAR_TIMEOUTS__SHUTDOWN="30", **more)
            return await stack.enter_async_context(begun)

        old = [await start(older) for _ in range(replicas)]
        service.behind = [URL(each.url) for each in old]
        url = await stack.enter_async_context(service.serve())
        connector = TCPConnector(limit=0, force_close=not keeps_connections)
        http = await stack.enter_async_context(
            ClientSession(connector=connector, timeout=ClientTimeout(total=_PATIENCE))
        )
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                talker = _Client(f"chat-{number}", summary, running, keeps_connections=keeps_connections)
                group.create_task(talker.talk(http, url, over))
            await _until(lambda: len(summary.seen) >= clients)
            for each in old:
                new = await start(None)
                await _until_ready(http, new)
                service.behind = [*(u for u in service.behind if u != URL(each.url)), URL(new.url)]
                await asyncio.sleep(out_of_service)
                await _replaced(each, summary, running)
            more = len(summary.seen) + clients
            await _until(lambda: len(summary.seen) >= more or bool(summary.failed))
            over.set()
    summary.faults = faults(summary.seen, await _lines(store))
    return summary


async def _replaced(process: Process, summary: Summary, running: set[str]) -> None:
    summary.running += len(running)
    told = time.monotonic()
    process.running.send_signal(signal.SIGTERM)
    summary.exit_codes.append(await asyncio.wait_for(process.running.wait(), _PATIENCE))
    summary.endings.append(time.monotonic() - told)


async def _until(is_so) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not is_so():
            await asyncio.sleep(0.01)


async def _until_ready(http: ClientSession, process: Process) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            async with http.get(f"{process.url}/-/ready") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _lines(store: str) -> list[dict]:
    opened = make_store(store)
    await opened.open()
    try:
        return [
            json.loads(as_json(each, await opened.tree(each.id))) async for each in opened.conversations()
        ]
    finally:
        await opened.close()
