"""The slot of the engine that a conversation gets, and its cache."""

from __future__ import annotations

from tests.proxy.client import CHAT, Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream

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


async def test_as_many_chats_as_there_are_slots_have_one_each_and_stay_on_it(
    start: Start, upstream: Upstream
):
    sidecar = await start(session={"slots": 4})
    ids = [f"chat {number}" for number in range(4)]
    found = await slots(sidecar, upstream, *ids)
    assert sorted(found) == [0, 1, 2, 3]
    assert await slots(sidecar, upstream, *reversed(ids)) == found[::-1]


async def test_one_more_takes_the_slot_of_the_one_that_was_longest_silent(start: Start, upstream: Upstream):
    sidecar = await start(session={"slots": 3})
    first, second, third = await slots(sidecar, upstream, "a", "b", "c")
    assert await slots(sidecar, upstream, "a", "d", "c", "a") == [first, second, third, first]
    assert await slots(sidecar, upstream, "b") == [second]  # d was silent for longer than c and a


async def test_the_slots_are_the_same_after_a_restart(start: Start, upstream: Upstream):
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
