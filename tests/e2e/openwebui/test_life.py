"""Long chats, several users, restarts: what happens to a set-up that is in use."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.stored import tree

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: The smallest context in which one turn with Open WebUI's 40 tools fits well, in characters of the request.
CONTEXT = 44_000


async def test_sixty_turns_fit_into_a_small_context(house: House):
    def refuses(body: dict[str, Any]) -> None:
        size = len(msgspec.json.encode(body))
        if size > CONTEXT:
            error = {
                "message": "too long",
                "code": "context_length_exceeded",
                "type": "invalid_request_error",
            }
            raise web.HTTPBadRequest(text=msgspec.json.encode({"error": error}).decode())

    house.model.refuses = refuses
    await house.sidecar.stop()
    await house.sidecar.start(SIDECAR_TRIM__MAX_INPUT_TOKENS=str(CONTEXT // 4))
    try:
        chat = await house.chat()
        padding = "and so on " * 40
        for at in range(1, 61):
            await chat.send(f"Question {at}, {padding}?", follow_ups=at)
        assert len(house.model.turns) == 60
        assert len(house.model.last.texts) < 60
        shown = await chat.shown()
        assert [text for text in shown if text.startswith("Answer")] == [
            f"Answer {at} by model-a." for at in range(1, 61)
        ][-len(shown) // 2 :]
        assert len(await house.tree(chat)) == 120
    finally:
        await house.sidecar.stop()
        await house.sidecar.start()


async def test_two_users_with_the_same_first_message_share_nothing(house: House):
    admin = await house.admin()
    grace = await house.api.user(admin, "Grace")
    chats = [await house.chat(), await house.chat(account=grace)]
    for chat in chats:
        await chat.send("hi")
    for chat in chats:
        await chat.send("Who am I?")
    assert [each.texts for each in house.model.turns[2:]] == [
        ["hi", "Answer 1 by model-a.", "Who am I?"],
        ["hi", "Answer 2 by model-a.", "Who am I?"],
    ]
    kept = await house.kept()
    assert {each["conversation"]["key"]: tree(each) for each in kept} == {
        chats[0].id: ["hi", "Answer 1 by model-a.", "Who am I?", "Answer 3 by model-a."],
        chats[1].id: ["hi", "Answer 2 by model-a.", "Who am I?", "Answer 4 by model-a."],
    }
    assert len({each["conversation"]["tenant"] for each in kept}) == 2


async def test_a_chat_survives_that_the_sidecar_is_killed_and_open_webui_restarted(chat: Chat, house: House):
    await chat.send("First?")
    await house.sidecar.kill()
    await house.sidecar.start()
    await chat.send("Second?")
    await asyncio.gather(house.open_webui.stop(), house.sidecar.stop())
    await asyncio.gather(house.open_webui.start(), house.sidecar.start())
    await chat.open(chat.id)
    await chat.send("Third?")
    told = ["First?", "Answer 1 by model-a.", "Second?", "Answer 2 by model-a.", "Third?"]
    assert house.model.last.texts == told
    assert await chat.shown() == [*told, "Answer 3 by model-a."]
    assert await house.tree(chat) == [*told, "Answer 3 by model-a."]
