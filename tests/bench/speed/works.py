"""The works: what is asked, by how many at once, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.bench.speed import bodies

__all__ = ["WORKS", "Work"]

_HEADERS = (
    "Accept: */*",
    "User-Agent: Python/3.11 aiohttp/3.13",
    "Authorization: Bearer sk-bench-0123456789",
    "X-Conversation-ID: {chat}",
)
# What config/guides/openwebui.md advises for the connection's headers.
_OPEN_WEBUI = (
    *_HEADERS,
    "X-Message-ID: {turn}",
    "X-User-Message-ID: u{turn}",
    "X-User-Message-Parent-ID: {before}",
    "X-Task: ",
    "X-Model: m",
    "X-User-ID: 5b7f7e0c-3c0f-4d59-9f0b-0f6f9a3c1d2e",
)


@dataclass(frozen=True)
class Work:
    """`chats` have the turns `first` to `last` (0 is the first) on so many `connections`."""

    name: str
    what: str
    body: Callable[[str, int], bodies.Script]
    connections: int
    #: 0: as many as fill the time.
    chats: int = 0
    #: The most, where they fill the time.
    most: int = 0
    first: int = 0
    last: int = 0
    #: Of a reply, and milliseconds between two of them; 0: JSON.
    chunks: int = 0
    gap: int = 0
    #: Milliseconds over which the connections begin.
    ramp: int = 0
    unit: Literal["request", "chunk"] = "request"
    is_new_each: bool = False
    headers: tuple[str, ...] = _HEADERS
    #: Measured on a process that has done nothing before: memory per stream.
    is_about_memory: bool = False
    #: What one more client asks meanwhile, turn by turn of one chat: so many.
    beside: Callable[[str, int], bodies.Script] | None = None
    beside_turns: int = 0
    #: Connections that are open meanwhile and ask nothing.
    idle: int = 0
    #: Asked over the Responses API too, of a sidecar that translates.
    over_responses: bool = False
    #: Measured only where it is named.
    is_on_demand: bool = False

    @property
    def model(self) -> str:
        return f"mock-{self.chunks}-{self.gap}"

    @property
    def beside_script(self) -> bytes:
        """What is asked beside it, as the generator reads it; nothing if nothing is."""
        lines = self.beside("mock-0-0", self.beside_turns - 1) if self.beside else []
        return b"".join(line + b"\n" for line in lines)

    @property
    def turns(self) -> int:
        """How many turns of each chat are measured."""
        return self.last - self.first + 1

    @property
    def script(self) -> bytes:
        return b"".join(line + b"\n" for line in self.body(self.model, self.last))

    @property
    def responses_script(self) -> bytes:
        """The same for the Responses API."""
        return b"".join(line + b"\n" for line in bodies.as_responses(self.body(self.model, self.last)))


WORKS = (
    Work("chat", "short chat, JSON, 16 kept connections", bodies.short, 16, last=4, most=3200),
    Work(
        "reconnect",
        "short chat, JSON, a new connection per request, 4 at once",
        bodies.short,
        4,
        last=4,
        most=800,
        is_new_each=True,
    ),
    Work(
        "gaps20",
        "40 streams of 100 chunks, 20 ms gaps",
        bodies.short,
        40,
        chats=40,
        chunks=100,
        gap=20,
        ramp=300,
        unit="chunk",
    ),
    Work(
        "gaps10",
        "200 streams of 200 chunks, 10 ms gaps",
        bodies.short,
        200,
        chats=200,
        chunks=200,
        gap=10,
        ramp=200,
        unit="chunk",
    ),
    Work("flat-out", "8 streams of 200 chunks, no gaps", bodies.short, 8, most=400, chunks=200, unit="chunk"),
    Work(
        "responses",
        "40 streams of 100 chunks, 20 ms gaps, over chat completions and over the Responses API, translated",
        bodies.short,
        40,
        chats=40,
        chunks=100,
        gap=20,
        ramp=300,
        unit="chunk",
        over_responses=True,
    ),
    Work(
        "responses-long",
        "the same as long, a stream of 20 chunks, over both APIs",
        bodies.long,
        4,
        chats=16,
        first=1,
        last=16,
        chunks=20,
        over_responses=True,
    ),
    Work(
        "long",
        "200 messages, 415 kB, each request one turn longer (warm), JSON",
        bodies.long,
        4,
        chats=16,
        first=1,
        last=16,
    ),
    Work("long-cold", "the same, first sight of each chat", bodies.long, 4, most=200),
    Work(
        "long-stream",
        "the same as long, a stream of 20 chunks",
        bodies.long,
        4,
        chats=16,
        first=1,
        last=16,
        chunks=20,
    ),
    Work("long-stream-cold", "the same, first sight of each chat", bodies.long, 4, most=200, chunks=20),
    Work(
        "webui",
        "Open WebUI, 70 kB, 40 tools, growing chat, a stream of 20 chunks",
        bodies.webui,
        4,
        chats=24,
        first=1,
        last=20,
        chunks=20,
        headers=_OPEN_WEBUI,
    ),
    Work(
        "burst",
        "200 first turns at once, a stream of 20 chunks",
        bodies.short,
        200,
        chats=200,
        chunks=20,
    ),
    Work(
        "images",
        "20 streams of 200 chunks, 20 ms gaps; meanwhile a chat with 1 to 12 pictures of 2.1 MB, up to 25 MB",
        bodies.short,
        20,
        chats=20,
        chunks=200,
        gap=20,
        ramp=20,
        unit="chunk",
        beside=bodies.images,
        beside_turns=12,
        is_on_demand=True,
    ),
    Work(
        "many",
        "the same streams; meanwhile three turns of a chat of 19,900 messages",
        bodies.short,
        20,
        chats=20,
        chunks=200,
        gap=20,
        ramp=20,
        unit="chunk",
        beside=bodies.many,
        beside_turns=3,
        is_on_demand=True,
    ),
    Work(
        "idle",
        "short chat, JSON, 16 kept connections, beside 1,000 that are open and idle",
        bodies.short,
        16,
        last=4,
        most=3200,
        idle=1000,
        is_on_demand=True,
    ),
    Work(
        "slow",
        "1,000 slow streams: memory",
        bodies.short,
        1000,
        chats=1000,
        chunks=5,
        gap=1000,
        ramp=1500,
        unit="chunk",
        is_about_memory=True,
    ),
)
