"""The tips that a process has recorded: found without asking, and never when anything else may be true."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import AsyncExitStack, closing

import msgspec
import pytest

from sidecar.store import make_store
from sidecar.store.sqlite import tip_cache as tips
from sidecar.store.sqlite.file_locks import FileLocks
from sidecar.store.sqlite.tip_cache import CachedTip, TipCache
from tests.store.trees import OTHER_TENANT, TENANT, chat, question, reply, talk, update

ID = "conv_1"


@pytest.fixture
async def opened(tmp_path, monkeypatch):
    """Opens the same file once more; the stamp is looked at every time."""
    monkeypatch.setattr(tips, "_STAMP_INTERVAL", 0.0)
    async with AsyncExitStack() as stack:

        async def open_again(**options):
            store = make_store(str(tmp_path / "sidecar.db"), **options)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_again


@pytest.fixture
async def store(opened):
    return await opened()


def find_cached(store, *nodes, tenant=TENANT):
    """The tip that is known without asking, of a request that ends with these."""
    found = store.find_cached(tenant, [ID], [node.hash for node in reversed(nodes)])
    if found is None:
        return None
    assert found.is_tip
    ((tip,),) = found.nodes.values()
    return tip


async def test_where_a_turn_ended_is_known_without_asking(store):
    first, answer = chat("hi", "ok")
    assert find_cached(store, first, answer) is None
    await store.record(update(talk(), first, answer))
    second = question("and?", answer)
    assert find_cached(store, first, answer, second) == answer
    await store.record(update(talk(tip=answer.id), second, last := reply("yes", second)))
    assert find_cached(store, first, answer, second, last) == last
    assert find_cached(store, first, answer) is None  # asked again, or a branch: there is more than the tip


async def test_what_is_at_hand_is_the_conversation_as_it_is_stored(store):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(system=b"s", full=True), first, answer))
    await store.record(update(talk(), second := question("and?", answer), last := reply("yes", second)))
    hashes = [last.hash]
    found = store.find_cached(TENANT, [ID], hashes)
    assert found == await store.find(TENANT, [ID], hashes)
    assert (found.conversation.system, found.conversation.full) == (b"s", True)


async def test_nobody_finds_another_tenants_tip(store):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    assert find_cached(store, answer, tenant=OTHER_TENANT) is None
    assert store.find_cached(TENANT, ["conv_2"], [answer.hash]) is None


async def test_answers_that_read_alike_are_not_at_hand(store):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    await store.record(update(talk(), other := reply("ok", first)))
    assert other.hash == answer.hash
    assert find_cached(store, first, answer) is None
    # Nor what follows one of them: after the other it would read the same.
    await store.record(update(talk(), second := question("and?", answer), reply("yes", second)))
    await store.record(update(talk(), second := question("and?", other), last := reply("yes", second)))
    assert find_cached(store, first, answer, second, last) is None


async def test_two_answers_at_once_are_not_at_hand(store):
    first = question("hi")
    await store.record(update(talk(), first, one := reply("ok", first), two := reply("well", first)))
    assert find_cached(store, first, one) is find_cached(store, first, two) is None


async def test_a_chat_that_began_in_another_process_is_at_hand_after_its_next_turn(opened):
    first, answer = chat("hi", "ok")
    await (await opened()).record(update(talk(), first, answer))
    store = await opened()
    assert find_cached(store, first, answer) is None
    await store.record(update(talk(), second := question("and?", answer), last := reply("yes", second)))
    assert find_cached(store, first, answer, second, last) == last


async def test_nothing_is_at_hand_once_another_process_has_written(opened):
    store, other = await opened(), await opened()
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    await other.record(update(talk("conv_2"), question("hello")))
    assert find_cached(store, first, answer) is None
    await store.record(update(talk("conv_3"), question("hello")))
    assert find_cached(store, first, answer) is None
    second = question("and?", answer)
    await store.record(update(talk(), second, last := reply("yes", second)))
    assert find_cached(store, last) == last


async def test_another_process_is_noticed_within_a_moment(opened, monkeypatch):
    monkeypatch.setattr(tips, "_STAMP_INTERVAL", 0.05)
    store, other = await opened(), await opened()
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    assert find_cached(store, first, answer) == answer
    await other.delete(ID)
    await asyncio.sleep(0.06)
    assert find_cached(store, first, answer) is None


async def test_nothing_is_at_hand_of_a_file_in_whose_place_another_has_come(store, tmp_path):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    (tmp_path / "new").touch()
    os.replace(tmp_path / "new", tmp_path / "sidecar.db")
    assert find_cached(store, first, answer) is None


async def test_two_answers_that_read_alike_to_a_question_that_had_none_are_not_at_hand(store):
    await store.record(update(talk(), first := question("hi")))
    assert find_cached(store, first) == first
    answers = [reply("ok", first), reply("ok", first)]
    await asyncio.gather(*(store.record(update(talk(), each)) for each in answers))
    assert find_cached(store, first, answers[1]) is None


async def test_what_a_program_without_a_stamp_deleted_is_noticed_when_a_turn_is_recorded(store, tmp_path):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other, other:
        other.execute("PRAGMA foreign_keys = ON")
        other.execute("DELETE FROM conversation")
    await store.record(update(talk(), second := question("and?", answer), reply("yes", second)))
    assert await store.snapshot(ID) is None
    assert find_cached(store, first, answer) is None


async def test_nothing_is_at_hand_without_the_file_that_others_find(store, tmp_path):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    (tmp_path / "sidecar.db-turns").unlink()
    assert find_cached(store, first, answer) is None


@pytest.mark.parametrize("change", ["delete", "rewrite", "put"])
async def test_nothing_is_at_hand_once_anything_was_deleted_or_replaced(store, change):
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    whole = await store.snapshot(ID)
    if change == "delete":
        await store.delete(ID)
    elif change == "rewrite":
        await store.replace_snapshot(ID, lambda each: each)
    else:
        await store.add_snapshot(whole)
    assert find_cached(store, first, answer) is None


async def test_a_turn_under_a_message_that_another_process_deleted_is_not_kept(opened):
    store, other = await opened(), await opened()
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    await other.delete(ID)
    await store.record(update(talk(), second := question("and?", answer), reply("yes", second)))
    assert await store.snapshot(ID) is None


async def test_without_the_file_beside_the_store_nothing_is_at_hand_and_all_is_kept(tmp_path):
    (tmp_path / "sidecar.db-turns").mkdir()
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    first, answer = chat("hi", "ok")
    await store.record(update(talk(), first, answer))
    assert find_cached(store, first, answer) is None
    assert [node.id for node in await store.tree(ID)] == [first.id, answer.id]
    await store.close()


def test_of_more_than_there_is_room_for_the_oldest_go(tmp_path):
    turns = FileLocks(str(tmp_path / "turns"))
    held = TipCache(str(tmp_path), turns, room=3000)
    with closing(sqlite3.connect(":memory:")) as connection:
        held.begin(connection)
    ends = {f"conv_{number}": reply("ok", question(str(number))) for number in range(4)}
    for id, tip in ends.items():
        held.keep(id, held.left(talk(id), tip))
    found = [held.find(TENANT, [id], [tip.hash]) for id, tip in ends.items()]
    assert [each is not None for each in found] == [False, False, True, True]
    held.keep("conv_3", None)
    held.keep("conv_2", held.left(talk("conv_2"), ends["conv_2"]))
    assert held.find(TENANT, ["conv_3"], [ends["conv_3"].hash]) is None
    assert held.find(TENANT, ["conv_2"], [ends["conv_2"].hash]) is not None
    turns.close()


@pytest.mark.parametrize(
    "told", [{"usage": b"x" * 4000}, {"model": "x" * 1000}, {"finish_reason": "x" * 1000}]
)
def test_what_an_upstream_tells_of_its_answer_takes_room_as_well(tmp_path, told):
    turns = FileLocks(str(tmp_path / "turns"))
    held = TipCache(str(tmp_path), turns, room=4000)
    with closing(sqlite3.connect(":memory:")) as connection:
        held.begin(connection)
    ends = {
        "conv_1": reply("ok", question("1")),
        "conv_2": msgspec.structs.replace(reply("ok", question("2")), **told),
    }
    for id, tip in ends.items():
        held.keep(id, held.left(talk(id), tip))
        held.keep(id, held.left(talk(id), tip))  # what the one before took is free again
    assert [held.find(TENANT, [id], [tip.hash]) for id, tip in ends.items()] == [None, None]
    turns.close()


def test_what_was_recorded_before_something_was_deleted_is_not_held_after_it(tmp_path):
    """The reply of the writing thread may come late."""
    turns = FileLocks(str(tmp_path / "turns"))
    held = TipCache(str(tmp_path), turns)
    with closing(sqlite3.connect(":memory:")) as connection:
        held.begin(connection)
    tip = reply("ok", question("hi"))
    left = held.left(talk(), tip)
    assert isinstance(left, CachedTip)
    held.clear()
    held.keep(ID, left)
    assert held.find(TENANT, [ID], [tip.hash]) is None
    turns.close()
