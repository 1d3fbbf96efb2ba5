from __future__ import annotations

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_turns_with_title_tags_and_follow_ups_make_one_path(chat: Chat, house: House):
    await chat.send("What is a quasar?")
    await chat.send("And a pulsar?")
    await chat.send("Which is older?")
    assert await chat.shown() == [
        "What is a quasar?",
        "Answer 1 by model-a.",
        "And a pulsar?",
        "Answer 2 by model-a.",
        "Which is older?",
        "Answer 3 by model-a.",
    ]
    assert house.model.last.texts == (await chat.shown())[:-1]
    assert await house.tree(chat) == await chat.shown()
    await house.model.until(lambda: len(house.model.tasks) >= 5)
    assert house.model.tasks == ["follow_ups", "follow_ups", "follow_ups", "tags", "title"]
    assert {each.conversation for each in house.model.turns} == {chat.id}
    assert {each.conversation for each in house.model.asked if each.task} == {None}
