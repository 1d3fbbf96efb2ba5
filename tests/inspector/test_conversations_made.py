"""Conversations that were made over the Conversations API, before anybody asked anything in them."""

from __future__ import annotations

import json
from typing import Any

from sidecar.conversation.exchange_record import OF_CONVERSATION
from sidecar.inspector.usage import usage
from sidecar.store import MemoryStore
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream
from tests.store.trees import exchange, talk, update

DAY = 86_400_000


async def post(visitor: Any, path: str, **body: Any) -> Any:
    data = json.dumps(body).encode()
    return (await visitor.sidecar.send("POST", f"/v1/{path}", data=data)).json


async def test_they_are_listed_and_shown_and_what_is_asked_in_them_too(visit, upstream: Upstream):
    visitor = await visit(responses={"upstream": "translate"})
    made = await post(visitor, "conversations", metadata={"secret": "Zeppelin"})
    path = await opened(visitor, made["id"])
    assert (await visitor.value(path))["entries"] == []
    assert (await visitor.get(path)).status == 200
    await post(visitor, f"conversations/{made['id']}/items", items=[{"role": "user", "content": "0"}])
    await post(visitor, "responses", model="m", input="1", conversation=made["id"])
    page = await visitor.value(path)
    assert [each["exchange"] is not None for each in page["entries"]] == [False, False, True]
    assert [each["failed"] for each in page["entries"]] == [[], [], []]
    assert "Zeppelin" not in (await visitor.get(path)).text
    used = await visitor.value("usage")
    assert used["total"]["requests"] == 1


async def test_what_made_one_is_no_request():
    store = MemoryStore()
    made = exchange("conv_a", None, at=19 * DAY + 1, outcome=OF_CONVERSATION)
    await store.record(update(talk("conv_a", at=5.0), exchange=made))
    page = await usage(store, 3, 19.5 * 86_400)
    assert (page.total.requests, page.total.unreported, page.rows) == (0, 0, ())
