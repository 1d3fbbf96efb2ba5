"""nginx between Open WebUI and the sidecar: the chat, its tasks and a stop go through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.front.nginx import nginx
from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_chat_through_nginx_streams_stops_and_is_kept_with_its_tasks(
    chat: Chat, house: House, tmp_path: Path
):
    async with (
        nginx(house.sidecar.url.removesuffix("/-/ready"), tmp_path) as front,
        house.connected_to(f"{front.url}/v1"),
    ):
        await chat.send("What is a quasar?")
        await house.model.until(lambda: "title" in house.model.tasks)
        await chat.send("Count! [slow]", wait=False)
        await chat.page.get_by_text("word15").wait_for()
        assert not house.model.last.done
        await chat.stop()
        assert house.model.last.left
        question, answer, count, counted = await chat.shown()
        assert (question, answer, count) == ("What is a quasar?", "Answer 1 by model-a.", "Count! [slow]")
        assert counted.startswith("word0 word1 word2")
        assert house.model.last.texts == [question, answer, count]
        assert {each.conversation for each in house.model.turns} == {chat.id}
        assert {each.conversation for each in house.model.asked if each.task} == {None}
        assert await house.tree(chat) == [question, answer, count, "word0 word1 word2 wo… (partial)"]
    # Written once a request has ended, also by its client.
    passed = [each for each in front.served() if each.startswith("POST /v1/chat/completions ")]
    assert len(passed) == len(house.model.asked)
