"""Open WebUI with its own context compaction on: the tree stays one, and nothing is put in twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.doctor.ask import ask
from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

TURNS = 8
#: It counts a token for four characters: a summary is due with every third turn or so.
THRESHOLD = 250
PADDING = "and so on " * 15


@asynccontextmanager
async def compaction(house: House) -> AsyncIterator[None]:
    admin = await house.admin()
    before = await admin.get("/api/v1/chats/config")
    wanted = {"ENABLE_CONTEXT_COMPACTION": True, "CONTEXT_COMPACTION_TOKEN_THRESHOLD": THRESHOLD}
    wanted |= {"CONTEXT_COMPACTION_TOKEN_CAP": THRESHOLD}
    await admin.post("/api/v1/chats/config", {**before, **wanted})
    try:
        yield
    finally:
        await admin.post("/api/v1/chats/config", before)


async def test_a_chat_that_it_compacts_stays_one_path_and_goes_as_it_was_sent(chat: Chat, house: House):
    async with compaction(house):
        for at in range(TURNS):
            await chat.send(f"Question {at}, {PADDING}?")
    turns = house.model.turns
    assert len(turns) == TURNS
    summed = [each for each in turns if "[CONVERSATION SUMMARY]" in (each.system or "")]
    assert summed
    assert len(turns[-1].texts) < 2 * TURNS - 1

    shown = await chat.shown()
    for at, each in enumerate(turns):
        # What comes is the end of the chat, each message once.
        assert each.texts == shown[2 * at + 1 - len(each.texts) : 2 * at + 1]
    assert await house.tree(chat) == [_short(text) for text in shown]
    assert {each.conversation for each in turns} == {chat.id}

    report = await asyncio.to_thread(ask, house.sidecar.url.removesuffix("/-/ready"))
    (found,) = [each for each in report["findings"] if each["code"] == "client_compacts"]
    assert found["found"].startswith("Open WebUI")
    assert "ENABLE_CONTEXT_COMPACTION" in found["cure"]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:20]}…"
