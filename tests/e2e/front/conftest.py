"""nginx with the usual map for WebSockets and kept connections to the sidecar; a scripted upstream behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.front.nginx import nginx
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import serving
from tests.proxy.upstream.test_websocket import Sockets, sockets

__all__ = ["front", "sockets", "sockets_front", "upstream"]


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
    async with (
        serving("--upstream", upstream, "--store", f"sqlite:///{folder}/x.db", folder=folder) as sidecar,
        nginx(sidecar.url, folder, buffering=buffering) as front,
    ):
        yield front.url
