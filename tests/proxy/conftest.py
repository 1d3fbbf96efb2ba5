"""A scripted upstream and sidecars in front of it, all on sockets of their own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import ClientSession, DummyCookieJar

from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream


class Start(Protocol):
    """Starts a sidecar; settings that are not named have their defaults."""

    async def __call__(self, **settings: Any) -> Sidecar: ...


@pytest.fixture
async def upstream():
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def start(upstream: Upstream, tmp_path: Path):
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Sidecar:
            given = {
                "upstream": upstream.url,
                "listen": "127.0.0.1:0",
                "store": f"sqlite:///{tmp_path}/sidecar.db",
                "retries": {"backoff": 0.01},
                "timeouts": {"shutdown": 0.2},
                **settings,
                # Scripts are for the requests that a test makes, not for those that ask for windows.
                "trim": {"window_refresh": 0, **settings.get("trim", {})},
            }
            made = Settings.model_validate(given)
            url = await stack.enter_async_context(running(made))
            http = await stack.enter_async_context(
                # What arrives is looked at as it came, and nothing is added to what is sent.
                ClientSession(
                    auto_decompress=False,
                    cookie_jar=DummyCookieJar(),
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                )
            )
            return Sidecar(url, made, http)

        yield start


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start()
