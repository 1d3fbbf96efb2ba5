"""Items that a client has taken out of its conversation are nowhere any more, and it goes on without them."""

from __future__ import annotations

import json

import pytest

from tests.dialects.responses import said
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.proxy.path.test_conversations import RESPONSES, TRANSLATED, do, listed, made, texts


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


async def take_out(sidecar: Sidecar, id: str, *places: int) -> None:
    items = await listed(sidecar, id)
    for at in places:
        assert (await do(sidecar, "DELETE", f"/{id}/items/{items[at]['id']}")).status == 200


class TestAllOfIt:
    async def test_a_conversation_of_which_none_is_left_goes_on(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "1"), said("assistant", "one"))
        await take_out(sidecar, id, 0, 1)
        data = json.dumps({"model": "m", "conversation": id}).encode()
        assert (await sidecar.send("POST", RESPONSES, data=data)).status == 200
        assert upstream.last.json["messages"] == []
        assert await texts(sidecar, id) == ["ok"]
