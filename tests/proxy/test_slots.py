"""The slot of the engine that a conversation gets, and its cache."""

from __future__ import annotations

from tests.proxy.client import CHAT, Sidecar
from tests.proxy.conftest import Start
from tests.proxy.upstream import Upstream

MARK = {"X-Task": "title_generation"}


async def slots(sidecar: Sidecar, upstream: Upstream, *ids: str) -> list[int]:
    found = []
    for id in ids:
        await sidecar.ask("hi", id=id)
        found.append(upstream.last.json["id_slot"])
    return found


async def test_without_settings_the_engine_chooses(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    assert not {"id_slot", "cache_prompt"} & set(upstream.last.json)


async def test_a_chat_stays_on_its_slot_and_chats_are_spread(start: Start, upstream: Upstream):
    sidecar = await start(session={"slots": 4}, secret="a secret of the tests")
    ids = [f"chat {number}" for number in range(40)]
    found = await slots(sidecar, upstream, *ids)
    assert found == await slots(sidecar, upstream, *ids)
    assert {found.count(slot) > 4 for slot in range(4)} == {True}


async def test_the_slot_is_the_same_after_a_restart(start: Start, upstream: Upstream):
    ids = [f"chat {number}" for number in range(8)]
    before = await slots(await start(session={"slots": 8}), upstream, *ids)
    assert await slots(await start(session={"slots": 8}), upstream, *ids) == before


async def test_a_chat_without_an_id_stays_on_its_slot_too(start: Start, upstream: Upstream):
    sidecar = await start(session={"slots": 100})
    await sidecar.ask("hi")
    first = upstream.last.json["id_slot"]
    await sidecar.ask("hi", "ok", "and?")
    assert upstream.last.json["id_slot"] == first


async def test_the_slot_that_a_client_asks_for_stays(start: Start, upstream: Upstream):
    sidecar = await start(session={"slots": 1, "cache_prompt": True})
    await sidecar.ask("hi", id="a", id_slot=7, cache_prompt=False)
    assert (upstream.last.json["id_slot"], upstream.last.json["cache_prompt"]) == (7, False)


async def test_a_task_gets_no_slot(start: Start, upstream: Upstream):
    sidecar = await start(session={"slots": 2, "cache_prompt": True})
    body = b'{"messages":[{"role":"user","content":"title?"}]}'
    await sidecar.send("POST", CHAT, data=body, headers=MARK)
    assert upstream.last.body == body


async def test_the_cache_is_asked_for_where_it_is_set(start: Start, upstream: Upstream):
    sidecar = await start(session={"cache_prompt": True})
    await sidecar.ask("hi", id="a")
    assert upstream.last.json["cache_prompt"] is True
    assert "id_slot" not in upstream.last.json
