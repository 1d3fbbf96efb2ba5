"""The whole set-up once for each of the two configurations, and a chat of its own for every test.

browser -> Open WebUI -> sidecar -> model
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.openwebui.browser import Chat, browser, page_of
from tests.e2e.openwebui.model import Model
from tests.e2e.openwebui.server import (
    CONFIGURATIONS,
    NO_HEADERS,
    Account,
    Api,
    open_webui,
    sidecar,
    start_open_webui,
)
from tests.e2e.program import Program, free_ports
from tests.e2e.stored import Branch, exported, tree


class House:
    """Everything that runs."""

    def __init__(
        self,
        configuration: str,
        model: Model,
        sidecar: Program,
        open_webui: Program,
        running: Browser,
        url: str,
    ) -> None:
        self.configuration, self.model = configuration, model
        self.sidecar, self.open_webui = sidecar, open_webui
        self.browser, self.url, self.api = running, url, Api(url)
        self.store = sidecar.folder / "sidecar.db"
        self.known: set[str] = set()
        self._admin: Account | None = None
        self._chats: list[Chat] = []

    async def chat(self, *models: str, account: Account | None = None, temporary: bool = False) -> Chat:
        """An empty chat on a page of its own."""
        account = account or await self.admin()
        chat = Chat(await page_of(self.browser, self.url, account.token), self.url, self.model)
        self._chats.append(chat)
        await chat.begin(*models, temporary=temporary)
        return chat

    async def admin(self) -> Account:
        # Signed in once: Open WebUI limits how often one may.
        self._admin = self._admin or await self.api.admin()
        return self._admin

    @asynccontextmanager
    async def connected_to(self, base_url: str) -> AsyncIterator[None]:
        """Within this context Open WebUI sends its requests to this base URL."""
        admin = await self.admin()
        before = await admin.get("/openai/config")
        await admin.post("/openai/config/update", {**before, "OPENAI_API_BASE_URLS": [base_url]})
        try:
            yield
        finally:
            await admin.post("/openai/config/update", before)

    async def begin(self) -> None:
        self.model.clear()
        self.known = {each["conversation"]["id"] for each in await exported(self.store)}

    async def end(self, pictures: Path) -> None:
        for at, chat in enumerate(self._chats):
            await chat.page.screenshot(path=pictures / f"page-{at}.png")
            await chat.page.context.close()
        self._chats.clear()
        await self.model.quiet(0)

    async def kept(self) -> list[dict[str, Any]]:
        """The conversations that this test has made, as the export tells them."""
        return [each for each in await exported(self.store) if each["conversation"]["id"] not in self.known]

    async def only(self) -> dict[str, Any]:
        """The one conversation that this test has made."""
        (conversation,) = await self.kept()
        return conversation

    async def tree(self, chat: Chat) -> Branch:
        """The one conversation that this test has made: it is this chat, and holds this."""
        conversation = await self.only()
        key = None if self.configuration == NO_HEADERS else chat.id
        assert conversation["conversation"]["key"] == key, json.dumps(conversation["conversation"])
        return tree(conversation)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=CONFIGURATIONS)
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("openwebui")
    at_front, in_middle, behind = free_ports(3)
    model = Model(behind)
    front = open_webui(folder, at_front, in_middle, request.param)
    middle = sidecar(folder, in_middle, behind)
    await model.start()
    try:
        await middle.start()
        await start_open_webui(front)
        async with browser() as chromium:
            yield House(request.param, model, middle, front, chromium, f"http://127.0.0.1:{at_front}")
    finally:
        await front.stop()
        await middle.stop()
        await model.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def house(running: House, tmp_path: Path) -> AsyncIterator[House]:
    await running.begin()
    yield running
    await running.end(tmp_path)


@pytest_asyncio.fixture(loop_scope="session")
async def chat(house: House) -> Chat:
    return await house.chat()
