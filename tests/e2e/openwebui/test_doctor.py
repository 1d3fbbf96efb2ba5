"""What `sidecar doctor` says of the real client: nothing of the best set-up, and the cure of the others."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.doctor.ask import ask
from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import NO_HEADERS

FOUND = {
    "template headers": [],
    "chat id only": ["chat_id_only"],
    NO_HEADERS: ["no_chat_id", "one_tenant"],
}
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("running", FOUND, indirect=True),
]


async def test_the_doctor_knows_the_set_up_from_two_turns(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await house.model.quiet()
    url, messages = house.sidecar.url.removesuffix("/-/ready"), len(house.model.turns)
    report = await asyncio.to_thread(ask, url, messages)
    assert [each["code"] for each in report["findings"]] == FOUND[house.configuration]
    # It asks for the title at the moment of the first message: that comes before it, or behind it.
    behind = report["requests"]["chats"] - messages
    assert len(house.model.tasks) - behind in (0, 1)
    assert list(report["requests"]["clients"]) == ["Open WebUI (Python aiohttp)"]
    assert report["tasks"]["by_header"] + report["tasks"]["by_opening"] == behind > 0
    assert report["chat_id"]["conversations"] == 1
