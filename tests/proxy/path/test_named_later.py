"""A chat that is named only from its second turn on is one conversation and one session all the same."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sidecar.store import SQLiteStore
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, says, sends, waits

SESSION = "X-Session"


@pytest.fixture
async def sidecar(start: Start, upstream: Upstream) -> Sidecar:
    numbers = itertools.count(1)

    async def answer(exchange: Exchange) -> None:
        await says(f"answer {next(numbers)}")(exchange)

    upstream.otherwise = answer
    return await start(session={"headers": [SESSION], "body_field": "prompt_cache_key"})


def sessions(upstream: Upstream) -> set[str]:
    told = {each.headers[SESSION] for each in upstream.requests}
    assert told == {each.json["prompt_cache_key"] for each in upstream.requests}
    return told


async def talked(sidecar: Sidecar, *texts: str, **about: Any) -> list[str]:
    """What both have said once this has been asked behind that."""
    reply = await sidecar.ask(*texts, **about)
    return [*texts, reply.json["choices"][0]["message"]["content"]]


async def keys(sidecar: Sidecar) -> list[str | None]:
    return [each.key for each in await sidecar.stored()]


async def test_it_keeps_the_session_of_its_first_turn(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    for question in ("a?", "b?", "c?"):
        reply = await sidecar.ask(*told, question, id="k")
        told += [question, reply.json["choices"][0]["message"]["content"]]
        assert (reply.outcome, reply.headers["X-Conversation-ID"]) == ("continue", "k")

    assert len(sessions(upstream)) == 1
    only = await sidecar.only()
    assert (only.key, only.branches) == ("k", [told])


@pytest.mark.parametrize("name", ["X-Conversation-ID", "X-OpenWebUI-Chat-Id"])
async def test_the_header_that_told_the_session_goes_on_to_tell_it(
    start: Start, upstream: Upstream, name: str
):
    sidecar = await start()
    told = ["hi", "ok", "a?"]
    await sidecar.ask(told[0])
    reply = await sidecar.ask(*told, headers={name: "k"})

    first, second = (each.headers["X-Conversation-ID"] for each in upstream.requests)
    assert first == second
    assert reply.headers["X-Conversation-ID"] == "k"
    assert upstream.last.headers.get("X-OpenWebUI-Chat-Id") == (None if name == "X-Conversation-ID" else "k")
    await sidecar.ask("another chat", headers={name: "other"})
    assert upstream.last.headers[name] == "other"


async def test_an_edit_and_what_is_asked_again_stay_in_it(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    for sent in ([*told, "a?"], [*told, "a?"], [*told, "edited?"], ["another first question"]):
        await sidecar.ask(*sent, id="k")

    assert len(sessions(upstream)) == 1
    assert (await sidecar.only()).branches[0][:2] == told


async def test_from_then_on_it_may_send_only_what_is_new(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    told = await talked(sidecar, *told, "a?", id="k", headers={"X-Sidecar-History": "full"})
    for question in ("b?", "c?"):
        reply = await sidecar.ask(question, id="k", headers={"X-Sidecar-History": "append"})
        assert upstream.last.said == [*told, question]
        told += [question, reply.json["choices"][0]["message"]["content"]]

    assert len(sessions(upstream)) == 1
    assert (await sidecar.only()).branches == [told]


async def test_another_tenants_is_not_taken_over(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi", headers={"Authorization": "Bearer mine"})
    await sidecar.ask(*told, "a?", id="k", headers={"Authorization": "Bearer other"})

    assert len(sessions(upstream)) == 2
    assert await keys(sidecar) == [None, "k"]


@pytest.mark.parametrize(
    ("first", "second"), [({"user": "u1"}, {"user": "u2"}), ({"user": "u1"}, {}), ({}, {"user": "u1"})]
)
async def test_that_of_a_user_whom_the_body_names_is_taken_over_by_no_other(
    sidecar: Sidecar, first: dict[str, Any], second: dict[str, Any]
):
    told = await talked(sidecar, "hi", **first)
    await sidecar.ask(*told, "a?", id="k", **second)
    told = await talked(sidecar, "hello", **first)
    await sidecar.ask(*told, "a?", id="own", **first)

    assert await keys(sidecar) == [None, "k", "own"]


async def test_of_two_that_hold_its_history_neither_is_taken_over(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("hello"))
    await sidecar.ask("hi")
    await sidecar.ask("hi")
    await sidecar.ask("hi", "hello", "a?", id="k")

    assert len(sessions(upstream)) == 3
    assert await keys(sidecar) == [None, None, "k"]


@pytest.mark.parametrize("edit", ["answer", "question"])
async def test_a_history_that_is_another_takes_nothing_over(sidecar: Sidecar, edit: str):
    told = await talked(sidecar, "hi")
    await sidecar.ask(*(["hi", "edited"] if edit == "answer" else ["hi, edited", told[1]]), "a?", id="k")

    assert await keys(sidecar) == [None, "k"]


async def test_a_chat_that_has_gone_on_without_an_id_is_not_taken_over(sidecar: Sidecar):
    told = await talked(sidecar, "hi")
    await sidecar.ask(*told, "a?")
    await sidecar.ask(*told, "b?", id="k")

    assert await keys(sidecar) == [None, "k"]


async def test_nor_is_the_branch_of_another_user_whose_chat_began_alike(sidecar: Sidecar):
    told = await talked(sidecar, "hi")
    await sidecar.ask(*told, "a?")
    other = await talked(sidecar, *told, "b?")
    await sidecar.ask(*other, "c?", id="k")

    assert await keys(sidecar) == [None, "k"]


async def test_the_first_id_takes_it_and_no_second_one(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    first = await talked(sidecar, *told, "a?", id="k")
    fork = await talked(sidecar, *first, "b?", id="fork")
    await sidecar.ask(*first, "c?", id="k")
    await sidecar.ask(*fork, "d?", id="fork")

    assert len(sessions(upstream)) == 2
    assert await keys(sidecar) == ["k", "fork"]


async def test_a_turn_that_failed_takes_it_over_with_the_next_try(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    upstream.will(says("", finish="stop"), says(""))
    for _ in range(3):
        await sidecar.ask(*told, "a?", id="k")

    assert len(sessions(upstream)) == 1
    assert (await sidecar.only()).key == "k"


async def test_one_that_brought_nothing_at_all_leaves_it_to_the_next(sidecar: Sidecar, upstream: Upstream):
    told = await talked(sidecar, "hi")
    upstream.will(sends(b'{"error": {"message": "the machine is on fire"}}', status=503))
    assert (await sidecar.ask(*told, "a?", id="k")).status == 503
    assert await keys(sidecar) == [None]
    told = await talked(sidecar, *told, "a?", id="k")
    await sidecar.ask(*told, "b?", id="k")

    assert len(sessions(upstream)) == 1
    assert (await sidecar.only()).key == "k"


async def test_two_replicas_at_once_double_and_lose_nothing(
    start: Start, sidecar: Sidecar, upstream: Upstream
):
    other = await start(session={"headers": [SESSION], "body_field": "prompt_cache_key"})
    told = await talked(sidecar, "hi")
    both = await asyncio.gather(*(each.ask(*told, "a?", id="k") for each in (sidecar, other)))
    answers = [each.json["choices"][0]["message"]["content"] for each in both]
    for each, answer in zip((other, sidecar), answers, strict=True):
        assert (await each.ask(*told, "a?", answer, "b?", id="k")).status == 200

    assert len(sessions(upstream)) == 1
    lines = (await sidecar.only()).branches
    assert sorted(line[:5] for line in lines) == [[*told, "a?", each, "b?"] for each in sorted(answers)]


async def test_a_name_that_another_replica_records_meanwhile_is_found(
    start: Start, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    other = await start(session={"headers": [SESSION], "body_field": "prompt_cache_key"})
    told = await talked(sidecar, "hi")
    look = SQLiteStore.find_by_history

    async def looks_before_the_other_records(*given: Any) -> str | None:
        found = await look(*given)
        monkeypatch.setattr(SQLiteStore, "find_by_history", look)
        assert (await other.ask(*told, "a?", id="k")).status == 200
        return found

    monkeypatch.setattr(SQLiteStore, "find_by_history", looks_before_the_other_records)
    assert (await sidecar.ask(*told, "b?", id="k")).status == 200

    assert len(upstream.requests) == 3
    assert len(sessions(upstream)) == 1
    assert (await sidecar.only()).key == "k"


async def test_a_chat_that_begins_alike_and_names_nothing_stays_its_own(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("yes"), says("hello"), says("hello"))
    await sidecar.ask("hi")
    await sidecar.ask("hi", "hello", "and?", id="k")
    first = await sidecar.ask("hi")
    session = upstream.last.headers[SESSION]
    await sidecar.ask("hi", id="k")  # a second answer, behind which nothing stands
    reply = await sidecar.ask("hi", "hello", "other?")

    assert (reply.outcome, upstream.last.headers[SESSION]) == ("continue", session)
    assert reply.headers["X-Conversation-ID"] == first.headers["X-Conversation-ID"]
    assert await keys(sidecar) == ["k", None]


async def test_one_with_the_branch_of_a_chat_that_names_nothing_is_not_taken_over(
    sidecar: Sidecar, upstream: Upstream
):
    told = await talked(sidecar, "hi")
    mine = await talked(sidecar, *told, "a?")
    other = await talked(sidecar, *told, "b?")
    session = upstream.last.headers[SESSION]
    await sidecar.ask(*mine, "c?", id="k")
    await sidecar.ask(*other, "d?")

    assert upstream.last.headers[SESSION] == session
    assert await keys(sidecar) == [None, "k"]


async def got(upstream: Upstream, many: int) -> None:
    async with asyncio.timeout(5):
        while len(upstream.requests) < many:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_of_two_names_at_once_one_gets_it_and_no_word_of_the_other(
    start: Start, sidecar: Sidecar, upstream: Upstream, replicas: int
):
    other = sidecar if replicas == 1 else await start(session={"headers": [SESSION]})
    told = await talked(sidecar, "hi")
    gate = asyncio.Event()
    upstream.will(waits(gate, says("mine")), waits(gate, says("yours")))
    first = asyncio.create_task(sidecar.ask(*told, "a?", id="k"))
    await got(upstream, 2)
    second = asyncio.create_task(other.ask(*told, "b?", id="fork"))
    await got(upstream, 3)
    gate.set()
    await first
    await second
    for each, id in ((sidecar, "k"), (other, "fork")):
        await each.ask("and?", id=id, headers={"X-Sidecar-History": "append"})

    mine, yours = (each.said for each in upstream.requests[-2:])
    assert not {"a?", "mine"} & set(yours)
    assert not {"b?", "yours"} & set(mine)
    if replicas == 1:
        assert (mine, yours) == ([*told, "a?", "mine", "and?"], [*told, "b?", "yours", "and?"])
