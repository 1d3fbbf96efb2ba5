"""An upstream that answers what a test tells it, on a real socket, and remembers every request.

An answer is a list of steps after the head of the response: bytes are sent, an `asyncio.Event` is waited
for, a number is a pause in seconds, `CUT` breaks the connection off.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

CUT = "cut"
Step = bytes | asyncio.Event | float | str
EVENTS = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Received:
    """One request as it arrived. `gone` is set once whoever sent it has left."""

    method: str
    target: str
    headers: CIMultiDict[str]
    connection: int
    gone: asyncio.Event
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def wants_stream(self) -> bool:
        return re.search(rb'"stream": ?true', self.body) is not None

    @property
    def said(self) -> list[Any]:
        """The texts of its messages; of a message with more than text, the message."""
        return [
            each["content"] if set(each) == {"role", "content"} else each for each in self.json["messages"]
        ]


@dataclass
class Exchange:
    """One request and the wire on which it is answered."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunked: bool = False

    async def head(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        self.chunked = length is None
        lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {length}")
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def piece(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def play(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                await self.piece(step)
                await asyncio.sleep(0.001)  # lets the pieces arrive apart
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step == CUT:
                self.writer.transport.abort()
                return
            else:
                await asyncio.sleep(float(step))
        if self.chunked:
            await self.send(b"0\r\n\r\n")

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body, piece by piece."""
        if "chunked" in self.request.headers.get("Transfer-Encoding", ""):
            while size := int((await self._line()).split(b";")[0], 16):
                yield await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return
        left = int(self.request.headers.get("Content-Length", "0"))
        while left:
            piece = await self.reader.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionError("the request ended early")
            left -= len(piece)
            yield piece

    async def _line(self) -> bytes:
        line = await self.reader.readline()
        if not line:
            raise ConnectionError("the request ended early")
        return line


Answer = Callable[[Exchange], Awaitable[None]]


def sends(*steps: Step, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A response of known length, in these steps."""

    async def answer(exchange: Exchange) -> None:
        length = sum(len(step) for step in steps if isinstance(step, bytes))
        await exchange.head(status, JSON if headers is None else headers, length)
        await exchange.play(steps)

    return answer


def streams(*steps: Step, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A chunked response, of events unless the headers say something else."""

    async def answer(exchange: Exchange) -> None:
        await exchange.head(status, EVENTS if headers is None else headers, None)
        await exchange.play(steps)

    return answer


def waits(gate: asyncio.Event, then: Answer) -> Answer:
    """Silence until the gate opens, headers and all."""

    async def answer(exchange: Exchange) -> None:
        await gate.wait()
        await then(exchange)

    return answer


def cuts() -> Answer:
    """The connection breaks off before any answer."""

    async def answer(exchange: Exchange) -> None:
        exchange.writer.transport.abort()

    return answer


def says(text: str | None = "ok", *, finish: str = "stop", model: str = "m", **more: Any) -> Answer:
    """A chat completion with this message: streamed if the request asks for that."""

    async def answer(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await streams(*told(text or "", finish=finish, **more))(exchange)
        else:
            await sends(completion(text, finish=finish, model=model, **more))(exchange)

    return answer


def completion(text: str | None, *, finish: str = "stop", model: str = "m", **more: Any) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"object": "chat.completion", "model": model, "choices": [choice]}).encode()


def event(delta: dict[str, Any], *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    chunk = {"object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def told(text: str, *, finish: str = "stop", **more: Any) -> list[bytes]:
    """A whole stream: the text word by word, its end, `[DONE]`."""
    words = text.split(" ")
    pieces = [word if at == 0 else f" {word}" for at, word in enumerate(words)]
    first = event({"role": "assistant", "content": "", **more})
    return [first, *(event({"content": piece}) for piece in pieces), event({}, finish=finish), DONE]


@dataclass
class Upstream:
    """The server. Answers come from the script, and then from `otherwise`."""

    requests: list[Received] = field(default_factory=list)
    otherwise: Answer = field(default_factory=says)
    #: Answer before the request's body is read; the answer reads it.
    reads_lazily: bool = False
    #: What it is to answer is for chats alone; whatever else is asked gets `otherwise`.
    only_chats: bool = False
    connections: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    #: Serves https where it is given.
    tls: ssl.SSLContext | None = None
    _script: deque[Answer] = field(default_factory=deque)
    _server: asyncio.Server | None = None
    _held: weakref.finalize[..., Upstream] | None = None
    _busy: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/v1"

    @property
    def last(self) -> Received:
        return self.requests[-1]

    def will(self, *answers: Answer) -> None:
        self._script.extend(answers)

    async def start(self) -> None:
        if self._held is not None:
            self._held()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on. Nobody else gets the port: some other server would answer."""
        if self._server is not None:
            self._server.close()
            held = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((self.host, self.port))
            self._held = weakref.finalize(self, held.close)
            self._server = None
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    def _connection(self) -> asyncio.StreamReaderProtocol:
        gone = asyncio.Event()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self._serve(reader, writer, gone, self.connections))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
            task.add_done_callback(lambda _: writer.close())  # it may be cancelled before it has begun

        return _Watched(gone, connected)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event, number: int
    ) -> None:
        try:
            while not gone.is_set():
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").rstrip().split("\r\n")
                method, target, _ = first.split(" ", 2)
                headers = CIMultiDict(
                    [(name, value) for name, _, value in (s.partition(": ") for s in lines)]
                )
                exchange = Exchange(Received(method, target, headers, number, gone), reader, writer)
                if not self.reads_lazily:
                    exchange.request.body = b"".join([piece async for piece in exchange.body()])
                self.requests.append(exchange.request)
                await self._answer(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the peer left between two requests, or in the middle of one; `gone` tells
        finally:
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        is_meant = not self.only_chats or exchange.request.target.endswith("/chat/completions")
        answer = self._script.popleft() if self._script and is_meant else self.otherwise
        work = asyncio.ensure_future(answer(exchange))
        left = asyncio.ensure_future(exchange.request.gone.wait())
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not work.done():
                work.cancel()
        await asyncio.gather(work, return_exceptions=exchange.request.gone.is_set())


class _Watched(asyncio.StreamReaderProtocol):
    """Notices at once that the peer has left, whatever the answer is doing."""

    def __init__(
        self, gone: asyncio.Event, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]
    ) -> None:
        super().__init__(asyncio.StreamReader(limit=1 << 20), connected)
        self._gone = gone

    def eof_received(self) -> bool | None:
        self._gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        super().connection_lost(exc)
