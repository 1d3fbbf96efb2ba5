"""A forward proxy, as companies have one: tunnels by CONNECT, and plain requests that name a whole URL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE = 1 << 16


@dataclass
class OutgoingProxy:
    """Remembers each request line and, of its headers, who asked."""

    #: Said instead of passing anything on, such as `407 Proxy Authentication Required`.
    refuses: str = ""
    #: Take the connection and say nothing.
    is_silent: bool = False
    asked: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _busy: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> OutgoingProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            self.asked.append(first)
            who = [line for line in lines if line.lower().startswith("proxy-authorization:")]
            self.credentials += [line.partition(": ")[2] for line in who]
            if self.is_silent:
                await asyncio.sleep(60)
            elif self.refuses:
                writer.write(f"HTTP/1.1 {self.refuses}\r\nContent-Length: 6\r\n\r\nsecret".encode())
                await writer.drain()
            else:
                await self._pass_on(first, [line for line in lines if line not in who], reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # either side left
        finally:
            writer.close()

    async def _pass_on(
        self, first: str, lines: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, version = first.split(" ")
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there, to = await asyncio.open_connection(url.hostname, url.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = url.path + (f"?{url.query}" if url.query else "")
            to.write("\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode("latin-1"))
        try:
            await asyncio.gather(_pump(reader, to), _pump(there, writer))
        finally:
            to.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE):
        target.write(piece)
        await target.drain()
    target.close()
