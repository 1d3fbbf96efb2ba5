"""Bodies of any size pass without being held in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from aiohttp import ClientSession

from tests.proxy.process import serving
from tests.proxy.upstream import Exchange, Upstream, sends

SIZE = 200 << 20
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
