"""nginx and Caddy with TLS as the guide to operations sets them up, word for word but for ports and files."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.front.nginx import nginx_with
from tests.e2e.program import Program, free_ports, plain_environment
from tests.guides import blocks
from tests.proxy.authority import Authority
from tests.proxy.client import CHAT, chat
from tests.proxy.mock_upstream import DONE, Upstream, event, streams
from tests.proxy.process import serving

HOST = "chat.example.com"


@dataclass
class Front:
    """`url` of a server with TLS that is called `HOST`; `trust`: how its certificate is known."""

    url: str
    trust: ssl.SSLContext

    @asynccontextmanager
    async def asked(self, body: dict) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Host": HOST, "Content-Type": "application/json"}
        data = io.BytesIO(json.dumps(body).encode())  # large ones are not to be sent in one piece
        connector = aiohttp.TCPConnector(ssl=self.trust)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post(self.url + CHAT, data=data, headers=headers, server_hostname=HOST) as reply,
        ):
            yield reply


@pytest.fixture(params=["nginx", "caddy"])
async def front(upstream: Upstream, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Front]:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("front", host=HOST)
    port, plain = free_ports(2)
    started = {"nginx": _nginx, "caddy": _caddy}[request.param]
    async with (
        serving("--upstream", upstream.url, "--store", "memory:", folder=tmp_path) as sidecar,
        started(sidecar.url.removeprefix("http://"), certificate, key, port, plain),
    ):
        yield Front(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(authority.ca)))


@asynccontextmanager
async def _nginx(sidecar: str, certificate: Path, key: Path, port: int, plain: int) -> AsyncIterator[None]:
    (servers,) = blocks("operations", "nginx")
    told = {
        "127.0.0.1:8790": sidecar,
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl; listen 127.0.0.1:{plain};",
        f"/etc/ssl/{HOST}.pem": str(certificate),
        f"/etc/ssl/{HOST}.key": str(key),
    }
    async with nginx_with(_replaced(servers, told), plain, certificate.parent):
        yield


@asynccontextmanager
async def _caddy(sidecar: str, certificate: Path, key: Path, port: int, plain: int) -> AsyncIterator[None]:
    (site,) = blocks("operations", "caddy")
    told = {
        "127.0.0.1:8790": sidecar,
        f"{HOST} {{": f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}",
    }
    file = certificate.parent / "Caddyfile"
    ready = f"http://127.0.0.1:{plain} {{\n\trespond 200\n}}\n"
    file.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + _replaced(site, told) + ready)
    program = Program(
        (
            os.environ.get("CADDY") or shutil.which("caddy") or "/usr/bin/caddy",
            *("run", "--adapter", "caddyfile", "--config", str(file)),
        ),
        url=f"http://127.0.0.1:{plain}",
        folder=certificate.parent,
        environment={**plain_environment(), "HOME": str(certificate.parent)},
        log=certificate.parent / "caddy.log",
        patience=20,
    )
    await program.start()
    try:
        yield
    finally:
        await program.stop()


def _replaced(text: str, told: dict[str, str]) -> str:
    for old, new in told.items():
        assert old in text
        text = text.replace(old, new)
    return text


async def test_of_a_sidecar_that_was_killed_nginx_tells_in_json(upstream: Upstream, tmp_path: Path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("front", host=HOST)
    port, plain = free_ports(2)
    front = Front(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(authority.ca)))
    async with (
        serving("--upstream", upstream.url, "--store", "memory:", folder=tmp_path) as sidecar,
        _nginx(sidecar.url.removeprefix("http://"), certificate, key, port, plain),
    ):
        sidecar.running.kill()
        await sidecar.running.wait()
        async with front.asked({}) as reply:
            assert (reply.status, reply.content_type) == (502, "application/json")
            assert (await reply.json())["error"]["code"] == "sidecar_unreachable"


async def test_a_stream_comes_piece_by_piece_over_tls(front: Front, upstream: Upstream):
    gate = asyncio.Event()
    first, second = event({"content": "one"}), event({"content": "two"}, finish="stop")
    upstream.will(streams(first, gate, second, DONE))
    async with front.asked({"model": "m", "messages": chat("hi"), "stream": True}) as reply:
        assert reply.status == 200, await reply.text()
        assert await asyncio.wait_for(reply.content.readexactly(len(first)), 5) == first
        gate.set()
        assert await reply.read() == second + DONE


async def test_an_image_of_many_megabytes_goes_through(front: Front, upstream: Upstream):
    async with front.asked({"model": "m", "messages": chat("x" * 20_000_000)}) as reply:
        assert reply.status == 200, await reply.text()
    assert len(upstream.last.body) > 20_000_000
