"""nginx with the usual map for WebSockets and kept connections to the sidecar; a scripted upstream behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.program import Program, free_ports, plain_environment
from tests.proxy.process import serving
from tests.proxy.test_websocket import Sockets, sockets
from tests.proxy.upstream import Upstream

__all__ = ["front", "sockets", "sockets_front", "upstream"]

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    upstream sidecar {{
        server {sidecar};
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://sidecar;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_request_buffering {buffering};
        }}
    }}
}}
"""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["on", "off"])
async def front(upstream: Upstream, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of nginx; it reads requests whole before it passes them on, or it does not."""
    async with nginx_before(upstream.url, tmp_path, buffering=request.param) as url:
        yield url


@pytest.fixture
async def sockets_front(sockets: Sockets, tmp_path: Path) -> AsyncIterator[str]:
    """The same, with WebSockets behind the sidecar."""
    async with nginx_before(sockets.url, tmp_path, buffering="on") as url:
        yield url


@asynccontextmanager
async def nginx_before(upstream: str, folder: Path, *, buffering: str) -> AsyncIterator[str]:
    """A sidecar in front of an upstream, and nginx in front of that."""
    nginx = os.environ.get("NGINX") or shutil.which("nginx") or "/usr/sbin/nginx"
    (port,) = free_ports(1)
    async with serving(
        "--upstream", upstream, "--store", f"sqlite:///{folder}/x.db", folder=folder
    ) as sidecar:
        configuration = folder / "nginx.conf"
        address = sidecar.url.removeprefix("http://")
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, sidecar=address, port=port, buffering=buffering)
        )
        url = f"http://127.0.0.1:{port}"
        program = Program(
            (nginx, "-c", str(configuration), "-p", str(folder)),
            url=f"{url}/-/live",
            folder=folder,
            environment=plain_environment(),
            log=folder / "nginx.log",
            patience=10,
        )
        await program.start()
        try:
            yield url
        finally:
            await program.stop()
