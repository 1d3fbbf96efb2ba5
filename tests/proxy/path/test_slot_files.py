"""Chats that come back from the files of an engine's slots, and nobody else's chat."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from sidecar.background import slot_files
from sidecar.server.serve import running
from sidecar.store import make_store
from tests.proxy.client import Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.proxy.path.test_responses_socket import connected
from tests.proxy.several import chats, target, upstreams
from tests.proxy.slot_engine import SlotEngine

LONG = "the river carried old letters past a quiet mill " * 40
ON = {"slots": 2, "slot_files": 3}
ME, YOU = {"Authorization": "Bearer me"}, {"Authorization": "Bearer you"}
MARK = {"X-Task": "title_generation"}


def long(id: str) -> str:
    """A first question that begins as no other chat's does."""
    return f"{id}: {LONG}"


@pytest.fixture
def engine(upstream: Upstream) -> SlotEngine:
    upstream.otherwise = made = SlotEngine()
    return made


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_files, "_QUIET", 0.0)
    monkeypatch.setattr(slot_files, "_SHARE", 1)
    monkeypatch.setattr(slot_files, "_ROUND", 0.02)


async def counted(sidecar: Sidecar, result: str) -> int:
    text = (await sidecar.send("GET", "/-/metrics")).body.decode()
    found = re.search(rf'sidecar_slot_files_total{{result="{result}"}} (\d+)', text)
    return int(found[1]) if found else 0


async def until(sidecar: Sidecar, result: str, number: int) -> None:
    async with asyncio.timeout(5):
        while await counted(sidecar, result) < number:
            await asyncio.sleep(0.005)


async def saved(sidecar: Sidecar, id: str, *said: str, number: int = 1, **more: Any) -> None:
    """A chat that is asked a first question, and saved."""
    await sidecar.ask(*(said or (long(id),)), id=id, **more)
    await until(sidecar, "saved", number)


async def test_off_it_asks_the_engine_for_chats_alone(start: Start, upstream: Upstream, engine: SlotEngine):
    sidecar = await start(session={"slots": 2})
    await sidecar.ask(LONG, id="a")
    await sidecar.ask(LONG, "ok", "and?", id="a")
    assert len(upstream.requests) == len(chats(upstream)) == 2


async def test_a_chat_comes_back_after_its_engine_was_started_anew(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    engine.restart()
    reply = await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert reply.json["choices"][0]["message"]["content"] == "ok"
    assert engine.cached[-1] > len(LONG)
    assert engine.did("restore") == engine.did("save")[:1]
    assert await counted(sidecar, "restored") == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_stream_of_either_api_is_saved_and_brought_back(start: Start, engine: SlotEngine, path: str):
    sidecar = await start(session=ON, responses={"upstream": "translate"})
    held = [{"role": "user", "content": LONG}]
    for _ in range(2):
        name = "input" if path.endswith("responses") else "messages"
        body = json.dumps({"model": "m", "stream": True, name: held}).encode()
        reply = await sidecar.send("POST", path, data=body, headers={"X-Conversation-ID": "a"})
        assert reply.status == 200, reply.body
        await until(sidecar, "saved", 1)
        engine.restart()
        held = [*held, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "and?"}]
    assert engine.cached[-1] > len(LONG)


async def test_over_a_websocket_too_a_chat_is_saved_and_brought_back(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON, responses={"upstream": "translate"})
    async with connected(sidecar, {"X-Conversation-ID": "a"}) as socket:
        first = await socket.ask(LONG)
        await until(sidecar, "saved", 1)
        engine.restart()
        await socket.ask("and?", previous_response_id=first["id"])
    assert engine.cached[-1] > len(LONG)


async def test_as_long_as_its_slot_holds_it_nothing_is_read(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    for said in (["ok", "and?"], ["ok", "and?", "ok", "so?"]):
        await sidecar.ask(long("a"), *said, id="a")
        assert engine.cached[-1] > len(LONG)
    assert engine.did("restore") == []


async def test_a_short_chat_is_not_saved(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await sidecar.ask("hi", id="a")
    await saved(sidecar, "b")
    assert [len(held or "") for held in (engine.files or {}).values()] == [
        len(engine.slots[engine.did("save")[0][0]].held)
    ]
    assert len(engine.did("save")) == 1


async def test_a_chat_that_grew_by_little_is_not_written_again(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    await sidecar.ask(long("a"), "ok", "and?", "ok", "so? " * 100, id="a")
    await until(sidecar, "saved", 2)
    first, second = engine.did("save")
    assert first == second  # its own file


async def test_a_chat_whose_slot_is_taken_is_saved_before_and_comes_back(
    start: Start, engine: SlotEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slot_files, "_QUIET", 60.0)
    sidecar = await start(session={"slots": 1, "slot_files": 3})
    await sidecar.ask(LONG, id="a")
    assert engine.did("save") == []
    await sidecar.ask("hi", id="b")
    assert await counted(sidecar, "saved") == 1
    await sidecar.ask(LONG, "ok", "and?", id="a")
    assert engine.cached[-1] > len(LONG)


async def test_another_tenant_never_gets_it(start: Start, engine: SlotEngine):
    sidecar = await start(session={"slots": 1, "slot_files": 3})
    await saved(sidecar, "a", headers=ME)
    engine.restart()
    await saved(sidecar, "a", long("a"), "ok", "and?", number=2, headers=YOU)
    assert (engine.did("restore"), engine.cached[-1]) == ([], 0)
    (_, mine), (_, yours) = engine.did("save")
    assert mine != yours
    engine.restart()
    await sidecar.ask(long("a"), "ok", "and?", id="a", headers=ME)
    assert [file for _, file in engine.did("restore")] == [mine]


async def test_a_file_that_another_chat_has_overwritten_is_not_read(start: Start, engine: SlotEngine):
    sidecar = await start(session={"slots": 2, "slot_files": 1})
    await saved(sidecar, "a")
    await saved(sidecar, "b", number=2)
    assert len(engine.files or {}) == 1
    engine.restart()
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert engine.did("restore") == []
    assert engine.cached[-1] == 0


async def test_of_more_chats_than_files_the_ones_saved_last_come_back(start: Start, engine: SlotEngine):
    sidecar = await start(session={"slots": 2, "slot_files": 3})
    for number, id in enumerate("abcd"):
        await saved(sidecar, id, number=number + 1)
    assert len(engine.files or {}) == 3
    engine.restart()
    for id in "bcd":
        await sidecar.ask(long(id), "ok", "and?", id=id)
        assert engine.cached[-1] > len(LONG)
        engine.restart()


async def test_what_is_written_over_while_it_is_read_is_thrown_away(start: Start, engine: SlotEngine):
    sidecar = await start(session={"slots": 2, "slot_files": 1})
    other = await start(session={"slots": 2, "slot_files": 1})
    await saved(sidecar, "a")
    engine.restart()

    async def meanwhile() -> None:
        await saved(other, "b")

    engine.then["restore"] = meanwhile
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert [what for what, *_ in engine.actions if what in ("restore", "erase")] == ["restore", "erase"]
    assert await counted(sidecar, "failed") == 1
    assert engine.cached[-1] == 0


async def test_what_a_deleted_chat_left_is_overwritten(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    store = make_store(sidecar.settings.store_path)
    await store.open()
    await store.delete((await sidecar.only()).conversation["id"])
    await store.close()
    await until(sidecar, "wiped", 1)
    assert list((engine.files or {}).values()) == [""]


async def test_where_a_turn_takes_the_slot_that_was_emptied_for_that_it_is_tried_again(
    start: Start, engine: SlotEngine
):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")

    async def meanwhile() -> None:
        for slot in engine.slots:
            slot.held = "somebody else's"

    engine.then["erase"] = meanwhile
    store = make_store(sidecar.settings.store_path)
    await store.open()
    await store.delete((await sidecar.only()).conversation["id"])
    await store.close()
    await until(sidecar, "wiped", 1)
    assert list((engine.files or {}).values()) == [""]


async def test_what_is_left_when_everything_is_deleted_is_overwritten(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    store = make_store(sidecar.settings.store_path)
    await store.open()
    await store.delete_learned()
    await store.close()
    await until(sidecar, "wiped", 1)
    assert list((engine.files or {}).values()) == [""]


async def test_files_beyond_the_setting_are_overwritten(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    await saved(sidecar, "b", number=2)
    fewer = await start(session={"slots": 2, "slot_files": 1})
    await until(fewer, "wiped", 1)
    assert sorted(map(bool, (engine.files or {}).values())) == [False, True]


async def test_chats_come_back_after_the_sidecar_was_started_anew(start: Start, engine: SlotEngine):
    await saved(await start(session=ON), "a")
    engine.restart()
    sidecar = await start(session=ON)
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert engine.cached[-1] > len(LONG)


async def test_two_that_share_a_store_share_the_files_too(start: Start, engine: SlotEngine):
    one, other = await start(session=ON), await start(session=ON)
    await saved(one, "a")
    await saved(other, "b")
    assert len({file for _, file in engine.did("save")}) == 2
    engine.restart()
    third = await start(session=ON)
    for id in "ab":
        await third.ask(long(id), "ok", "and?", id=id)
        assert engine.cached[-1] > len(LONG)


async def test_what_another_process_has_saved_a_moment_ago_comes_back(
    start: Start, engine: SlotEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slot_files, "_ROUND", 60.0)
    one, other = await start(session=ON), await start(session=ON)
    await saved(one, "a")
    engine.restart()
    await other.ask(long("a"), "ok", "and?", id="a")
    assert engine.cached[-1] > len(LONG)


async def test_two_that_share_no_store_share_no_file(start: Start, engine: SlotEngine, tmp_path: Any):
    one, other = await start(session=ON), await start(session=ON, store=f"sqlite:///{tmp_path}/other.db")
    await saved(one, "a")
    await saved(other, "a")
    assert len(engine.files or {}) == 2


async def test_a_file_that_is_gone_costs_no_turn(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    engine.restart()
    engine.files = {}
    reply = await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert (reply.status, engine.cached[-1]) == (200, 0)
    assert await counted(sidecar, "failed") == 1


async def test_no_turn_waits_for_an_engine_that_does_not_come_to_an_end(
    start: Start, engine: SlotEngine, monkeypatch: pytest.MonkeyPatch
):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    monkeypatch.setattr(slot_files, "_PATIENCE", 0.05)
    engine.restart()
    engine.gate = asyncio.Event()
    reply = await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert (reply.status, engine.cached[-1]) == (200, 0)
    engine.gate.set()


async def test_of_another_model_nothing_is_read(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    engine.restart()
    engine.model = "/models/b.gguf"
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert engine.did("restore") == []


async def test_what_another_process_has_saved_and_is_there_still_is_not_read(
    start: Start, engine: SlotEngine
):
    await saved(await start(session=ON), "a")
    sidecar = await start(session=ON)
    await sidecar.ask(long("a"), "ok", "and?", id="a")
    assert engine.cached[-1] > len(LONG)
    assert engine.did("restore") == []


async def test_a_store_that_cannot_be_read_costs_no_turn(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    engine.restart()
    with closing(sqlite3.connect(sidecar.settings.store_path or "", isolation_level=None)) as other:
        other.execute("ALTER TABLE learned RENAME TO lost")
        reply = await sidecar.ask(long("a"), "ok", "and?", id="a")
        other.execute("ALTER TABLE lost RENAME TO learned")
    assert (reply.status, engine.cached[-1]) == (200, 0)


@pytest.mark.parametrize(
    ("lacks", "says"),
    [({"tells": False}, "does not save its slots"), ({"counts": False}, "how many tokens its slots hold")],
)
async def test_an_engine_that_tells_too_little_is_said_and_left_alone(
    start: Start, engine: SlotEngine, caplog: pytest.LogCaptureFixture, lacks: dict[str, bool], says: str
):
    sidecar = await start(session=ON)
    for name, value in lacks.items():
        setattr(engine, name, value)
    await sidecar.ask(LONG, id="a")
    await eventually(lambda: says in caplog.text)
    looked = engine.looked
    await sidecar.ask(LONG, "ok", LONG, id="a")
    assert (engine.looked, engine.actions) == (looked, [])


async def test_an_engine_without_a_folder_is_said_and_left_alone(
    start: Start, engine: SlotEngine, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(session=ON)
    engine.files = None
    await sidecar.ask(LONG, id="a")
    await eventually(lambda: "does not save its slots" in caplog.text)
    await sidecar.ask(LONG, "ok", LONG, id="a")
    assert len(engine.actions) == 1


async def test_sliding_windows_are_found_out_and_said(
    start: Start, engine: SlotEngine, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(session=ON)
    await saved(sidecar, "a")
    engine.has_sliding_windows = True
    said = [long("a")]
    for _ in range(3):
        engine.restart()
        said += ["ok", "and?"]
        assert (await sidecar.ask(*said, id="a")).status == 200
    assert len(engine.did("restore")) == 2
    assert "computes their prompts anew" in caplog.text
    findings = (await sidecar.send("GET", "/-/doctor")).json["findings"]
    (found,) = (each for each in findings if each["code"] == "slots_not_saved")
    assert "--swa-full" in found["cure"]


async def test_temporary_chats_are_never_saved(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await sidecar.ask(LONG, id="temporary:a")
    await saved(sidecar, "b")
    assert len(engine.did("save")) == 1


async def test_a_slot_that_somebody_else_used_is_not_saved(start: Start, engine: SlotEngine):
    sidecar = await start(session={"slots": 1, "slot_files": 3})
    looked = engine.looked
    engine.gate = asyncio.Event()
    await sidecar.ask(LONG, id="a")  # its save waits at the engine
    await eventually(lambda: engine.looked >= looked + 2)
    await sidecar.ask("title? " * 300, headers=MARK)
    engine.gate.set()
    await until(sidecar, "failed", 1)
    assert await counted(sidecar, "saved") == 0
    await until(sidecar, "wiped", 1)
    assert list((engine.files or {}).values()) == [""]


async def test_a_client_that_chooses_its_slot_itself_is_left_alone(start: Start, engine: SlotEngine):
    sidecar = await start(session=ON)
    await sidecar.ask(LONG, id="a", id_slot=1)
    assert engine.looked == 0


async def test_each_url_of_a_target_has_files_of_its_own(start: Start):
    engines = [SlotEngine(), SlotEngine()]
    ids: list[str] = []
    async with upstreams("one", "other") as servers:
        for server, engine in zip(servers, engines, strict=True):
            server.otherwise = engine
        session = {"slots": 2, "slot_files": 60}
        sidecar = await start(session=session, targets=[target("pool", *servers)])
        while len(ids) < 6 or not all(each.files for each in engines):  # which has which, their ports decide
            ids.append(f"chat {len(ids)}")
            await saved(sidecar, ids[-1], number=len(ids))
        names = [set(each.files or {}) for each in engines]
        assert names[0].isdisjoint(names[1])
        for each in engines:
            each.restart()
        for id in ids:
            await sidecar.ask(long(id), "ok", "and?", id=id)
    restored = [each.did("restore") for each in engines]
    assert all(restored)
    assert sum(cached > len(LONG) for each in engines for cached in each.cached) == sum(map(len, restored))


async def test_what_waits_is_saved_when_the_sidecar_ends(
    start: Start, engine: SlotEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slot_files, "_QUIET", 60.0)
    other = await start(session=ON, timeouts={"shutdown": 5})
    async with running(other.settings) as url:
        await Sidecar(url, other.settings, other.http).ask(LONG, id="a")
        assert engine.did("save") == []
    assert len(engine.did("save")) == 1


async def test_an_engine_that_does_not_come_to_an_end_holds_up_no_end_of_the_sidecar(
    start: Start, engine: SlotEngine
):
    engine.gate = asyncio.Event()
    other = await start(session=ON)
    async with asyncio.timeout(10):
        async with running(other.settings) as url:
            await Sidecar(url, other.settings, other.http).ask(LONG, id="a")
            await eventually(lambda: engine.asked)
