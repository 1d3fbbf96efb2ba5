"""Bodies of any size pass without being held in memory, and many at a time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import ClientSession, TCPConnector

from tests.proxy.client import CHAT, chat, eventually
from tests.proxy.mock_upstream import Exchange, Upstream, says, sends, waits
from tests.proxy.process import serving

SIZE = 96 << 20
PIECE = os.urandom(1 << 20)
WHOLE = hashlib.sha256(PIECE * (SIZE // len(PIECE))).hexdigest()
# What the sockets and buffers of a hop may take.
ALLOWED = 24 << 20


async def test_an_upload_does_not_sit_in_memory(upstream: Upstream, tmp_path: Path):
    upstream.reads_lazily = True
    digest = hashlib.sha256()

    async def answer(exchange: Exchange) -> None:
        async for piece in exchange.body():
            digest.update(piece)
        await sends(b"{}")(exchange)

    async def pieces():
        for _ in range(SIZE // len(PIECE)):
            yield PIECE

    upstream.otherwise = answer
    async with serving("--upstream", upstream.url, folder=tmp_path) as process, ClientSession() as http:
        async with http.post(process.url + "/v1/files", data=b"warm up") as response:
            assert response.status == 200
        digest = hashlib.sha256()
        before = process.peak_memory
        async with http.post(process.url + "/v1/files", data=pieces()) as response:
            assert response.status == 200
        assert process.peak_memory - before < ALLOWED
    assert digest.hexdigest() == WHOLE


async def test_a_download_does_not_sit_in_memory(upstream: Upstream, tmp_path: Path):
    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, {"Content-Type": "audio/mpeg"}, SIZE)
        for _ in range(SIZE // len(PIECE)):
            await exchange.send(PIECE)

    upstream.will(sends(b"warm up"))
    upstream.otherwise = answer
    digest = hashlib.sha256()
    async with serving("--upstream", upstream.url, folder=tmp_path) as process, ClientSession() as http:
        async with http.get(process.url + "/v1/files/1/content") as response:
            await response.read()
        before = process.peak_memory
        async with http.get(process.url + "/v1/files/1/content") as response:
            assert response.headers["Content-Length"] == str(SIZE)
            async for piece in response.content.iter_any():
                digest.update(piece)
        assert process.peak_memory - before < ALLOWED
    assert digest.hexdigest() == WHOLE


async def test_more_clients_are_served_than_the_usual_limit_of_files_allows(
    upstream: Upstream, tmp_path: Path
):
    """1024 in a shell and under systemd, of which a stream takes two; here it is 64."""
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
    async with AsyncExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (few, most))
        process = await stack.enter_async_context(serving("--upstream", upstream.url, folder=tmp_path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
        gate = asyncio.Event()
        upstream.otherwise = waits(gate, says())
        http = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))

        async def ask() -> int:
            async with http.post(process.url + CHAT, json={"messages": chat("hi")}) as response:
                return response.status

        asked = [asyncio.create_task(ask()) for _ in range(80)]
        await eventually(lambda: len(upstream.requests) == len(asked))
        gate.set()
        assert set(await asyncio.gather(*asked)) == {200}
