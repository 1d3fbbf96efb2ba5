"""What the other workers do and remember: each answers the others on a socket of its own, and nobody else.

Rules: the sockets lie in a folder that is open to this user alone. A worker that does not answer within a
second is said to be silent, and holds up no page. While nobody asks, nothing is done.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import msgspec

__all__ = ["ask", "telling"]

_PATIENCE = 1.0  # seconds
_MOST = 4 << 20  # bytes of an answer

# Another process serves on the same socket when this one has ended: its place has to stay.
_KEPT: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


@asynccontextmanager
async def telling(made: socket.socket, tell: Mapping[str, Callable[[], object]]) -> AsyncIterator[None]:
    """For as long as the body runs, whoever connects to this socket and asks by a name in a line is told what
    the function of that name gives."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, TimeoutError, ValueError):
            asked = await asyncio.wait_for(reader.readline(), _PATIENCE)
            if (about := tell.get(asked.decode("ascii", "replace").strip())) is not None:
                # In a thread: what a doctor remembers of thousands of requests takes milliseconds.
                writer.write(await asyncio.to_thread(_encode, about()))
            await asyncio.wait_for(writer.drain(), _PATIENCE)
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=made, **_KEPT)
    try:
        yield
    finally:
        server.close()


async def ask(paths: Sequence[str], about: str, kind: type[T]) -> list[T | None]:
    """What each of the workers that listen there tells of this; None for one that does not."""
    return list(await asyncio.gather(*(_ask(path, about, kind) for path in paths)))


async def _ask(path: str, about: str, kind: type[T]) -> T | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(f"{about}\n".encode())
                return await asyncio.to_thread(msgspec.json.decode, await _all(reader), type=kind)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None


async def _all(reader: asyncio.StreamReader) -> bytes:
    told = bytearray()
    while len(told) <= _MOST and (piece := await reader.read(1 << 16)):
        told += piece
    return bytes(told)
