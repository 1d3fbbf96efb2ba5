"""What the other workers are doing: each answers the others on a socket of its own, and nobody else.

Rules: the sockets lie in a folder that is open to this user alone. A worker that does not answer within a
second is said to be silent, and holds up no page. While nobody asks, nothing is done.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from sidecar.inspector.live import Told

__all__ = ["ask", "telling"]

_PATIENCE = 1.0  # seconds
_MOST = 4 << 20  # bytes of an answer

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Told).decode


@asynccontextmanager
async def telling(made: socket.socket, tell: Callable[[], Told]) -> AsyncIterator[None]:
    """For as long as the body runs, whoever connects to this socket is told what `tell` gives."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, TimeoutError):
            writer.write(_encode(tell()))
            await asyncio.wait_for(writer.drain(), _PATIENCE)
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=made)
    try:
        yield
    finally:
        server.close()


async def ask(paths: Sequence[str]) -> list[Told | None]:
    """What each of the workers that listen there tells; None for one that does not."""
    return list(await asyncio.gather(*map(_ask, paths)))


async def _ask(path: str) -> Told | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return _decode(await _all(reader))
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None


async def _all(reader: asyncio.StreamReader) -> bytes:
    told = bytearray()
    while len(told) <= _MOST and (piece := await reader.read(1 << 16)):
        told += piece
    return bytes(told)
