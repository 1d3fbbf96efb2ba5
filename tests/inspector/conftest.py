"""A sidecar with an inspector, on sockets of its own, and a visitor of its pages."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from multidict import CIMultiDictProxy
from yarl import URL

from sidecar.inspector.door import Door
from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.proxy.client import Sidecar
from tests.proxy.conftest import upstream as upstream


@dataclass
class Page:
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Visitor:
    """`root`: the address that is printed; `sidecar`: where clients are."""

    root: str
    door: Door
    sidecar: Sidecar
    http: ClientSession

    async def get(self, path: str = "", **headers: str) -> Page:
        return await self.send("GET", self.root + path, headers=headers)

    async def value(self, path: str = "") -> Any:
        """The JSON twin of a page."""
        page = await self.get(path + ("&" if "?" in path else "?") + "format=json")
        assert page.status == 200, page.text
        return page.json

    async def send(self, method: str, url: str | URL, **about: Any) -> Page:
        async with self.http.request(method, url, allow_redirects=False, **about) as response:
            return Page(response.status, response.headers, await response.text())


@pytest.fixture
async def visit(upstream, tmp_path: Path):
    async with AsyncExitStack() as stack:

        async def visit(**settings: Any) -> Visitor:
            given = {
                "upstream": upstream.url,
                "listen": "127.0.0.1:0",
                "store": f"sqlite:///{tmp_path}/sidecar.db",
                "timeouts": {"shutdown": 0.2},
                **settings,
                "admin": {"listen": "127.0.0.1:0", **settings.get("admin", {})},
                "trim": {"window_refresh": 0, **settings.get("trim", {})},
            }
            made, door = Settings.model_validate(given), Door()
            url = await stack.enter_async_context(running(made, door=door))
            http = await stack.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))
            root = f"http://127.0.0.1:{door.port}/-/inspect/{door.token}/"
            assert door.address(made) in (None, root)
            return Visitor(root, door, Sidecar(url, made, http), http)

        yield visit


@pytest.fixture
async def visitor(visit) -> Visitor:
    return await visit()
