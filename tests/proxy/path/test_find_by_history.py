"""A chat that names no conversation is known by its words, also where the client sends them changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.conversation import find_by_history as recognise
from sidecar.store.base import MAX_CANDIDATES
from tests.proxy.client import CHAT, Reply, Sidecar
from tests.proxy.mock_upstream import Upstream, event, says, streams
from tests.proxy.upstream.test_breaks import branches

DOCUMENT = "### Task:\nRespond to the user query using the provided context\n<context>x</context>\n\n"
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


def id_of(reply: Reply) -> str:
    return reply.headers["X-Conversation-ID"]


async def test_a_chat_with_documents_keeps_its_id_over_all_turns(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("A"), says("B"), says("C"))
    first = await sidecar.ask(DOCUMENT + "a?")
    second = await sidecar.ask("a?", "A", DOCUMENT + "b?")
    third = await sidecar.ask("a?", "A", "b?", "B", DOCUMENT + "c?")

    assert [each.outcome for each in (first, second, third)] == ["start", "continue", "continue"]
    assert id_of(first) == id_of(second) == id_of(third)
    assert {each.headers["X-Conversation-ID"] for each in upstream.requests} == {id_of(first)}
    assert (await sidecar.only()).branches == [
        [DOCUMENT + "a?", "A", DOCUMENT + "b?", "B", DOCUMENT + "c?", "C"]
    ]


async def test_nothing_is_put_into_a_request_that_is_known_by_an_echo(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("I look.", tool_calls=[CALL]), says("5"), says("so"))
    first = await sidecar.ask("2+3?")
    await sidecar.ask("2+3?", {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}, RESULT)
    flattened = await sidecar.ask("2+3?", "I look.\n\n5", "and?")

    assert id_of(flattened) == id_of(first)
    assert upstream.last.said == ["2+3?", "I look.\n\n5", "and?"]
    assert "X-Sidecar-Restored" not in flattened.headers


async def test_a_stopped_answer_is_known_by_its_beginning(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(event({"content": "Once upon"}), event({"content": " a time"}), asyncio.Event()))
    async with sidecar.http.post(
        sidecar.url + CHAT,
        json={"messages": [{"role": "user", "content": "a tale"}], "stream": True},
    ) as response:
        id = response.headers["X-Conversation-ID"]
        async for chunk in response.content:
            if b"a time" in chunk:
                break
    await branches(sidecar, ["a tale", "Once upon a time (partial)"])
    reply = await sidecar.ask("a tale", "Once upon", "go on")

    assert (id_of(reply), reply.outcome) == (id, "continue")


async def test_an_answer_that_is_to_go_on_is_known(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("Once upon", finish="length"), says(" a time"))
    first = await sidecar.ask("a tale")
    more = await sidecar.ask("a tale", "Once upon")

    assert (id_of(more), more.outcome) == (id_of(first), "extend")


async def test_a_client_that_cuts_its_own_front_keeps_its_id(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("A"), says("B"), says("C"))
    first = await sidecar.ask("a?")
    await sidecar.ask("a?", "A", "b?")
    third = await sidecar.ask("b?", "B", "c?")
    fourth = await sidecar.ask("b?", "B", "c?", "C", "d?")

    assert id_of(first) == id_of(third) == id_of(fourth)
    assert (third.outcome, fourth.outcome) == ("unanchored", "continue")


@pytest.mark.parametrize("front", ["", DOCUMENT])
async def test_a_regenerate_finds_its_chat_among_others_that_begin_alike(
    sidecar: Sidecar, upstream: Upstream, front: str
):
    upstream.will(says("hello"), says("A"), says("hello"))
    await sidecar.ask("hi")
    second = await sidecar.ask("hi", "hello", front + "a?")
    other = await sidecar.ask("hi")
    again = await sidecar.ask("hi", "hello", front + "a?")
    edited = await sidecar.ask("hi", "hello", front + "a?", "A", "b?")

    assert id_of(second) == id_of(again) == id_of(edited) != id_of(other)
    assert again.outcome == "retry"


async def test_the_answer_to_a_wish_that_the_client_drops_is_known(sidecar: Sidecar, upstream: Upstream):
    """A guided regenerate of Open WebUI, and the turns after it."""
    upstream.will(says("a long answer"), says("short"), says("B"), says("B, again"), says("C"))
    replies = [
        await sidecar.ask("a?"),
        await sidecar.ask("a?", "a long answer", "Shorter, please."),
        await sidecar.ask("a?", "short", "b?"),
        await sidecar.ask("a?", "short", "b?"),
        await sidecar.ask("a?", "short", "b?", "B, again", "c?"),
    ]

    assert len({id_of(each) for each in replies}) == 1
    assert [each.outcome for each in replies] == ["start", "continue", "branch", "retry", "continue"]


async def test_the_first_question_again_is_another_chat(sidecar: Sidecar):
    """Without any id nobody can tell a regenerate of the very first answer from a new chat."""
    assert id_of(await sidecar.ask("hi")) != id_of(await sidecar.ask("hi"))


async def test_examples_that_stand_before_many_questions_make_no_chat_of_them(
    sidecar: Sidecar, upstream: Upstream
):
    examples = ["2+2?", "4", "3+3?", "6"]
    replies = [await sidecar.ask(*examples, question) for question in ("1+1?", "5+5?", "1+1?")]
    upstream.will(says("20"))
    more = await sidecar.ask(*examples, "5+5?", "ok", "10+10?")

    assert len({id_of(each) for each in replies}) == 3
    assert id_of(more) == id_of(replies[1])


async def test_two_chats_that_could_both_be_meant_are_neither(sidecar: Sidecar):
    first = [await sidecar.ask(f"{DOCUMENT}{number}\n\na?") for number in range(2)]
    second = [await sidecar.ask("a?", "ok", text) for text in ("b?", "c?")]
    third = [await sidecar.ask("a?", "ok", text, "ok", "more") for text in ("b?", "c?")]

    assert len({id_of(each) for each in (*first, *second)}) == 4
    assert [id_of(each) for each in third] == [id_of(each) for each in second]


async def test_two_tenants_never_meet(sidecar: Sidecar):
    ask: list[Any] = ["a?", "ok", "b?"]
    alice = await sidecar.ask(DOCUMENT + "a?", headers={"Authorization": "Bearer alice"})
    bob = await sidecar.ask(*ask, headers={"Authorization": "Bearer bob"})
    again = await sidecar.ask(*ask, headers={"Authorization": "Bearer alice"})

    assert id_of(bob) != id_of(alice) == id_of(again)


async def test_an_answer_that_very_many_chats_gave_names_none_of_them(sidecar: Sidecar):
    for number in range(MAX_CANDIDATES + 1):
        await sidecar.ask(f"{DOCUMENT}question {number}?")
    lost = await sidecar.ask("question 3?", "ok", DOCUMENT + "and?")
    found = await sidecar.ask("question 3?", "ok", "and?", "ok", "so?")

    assert lost.outcome == "start"
    assert id_of(found) == id_of(lost)


async def test_chats_that_are_too_long_to_look_through_are_not(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
):
    first = await sidecar.ask(DOCUMENT + "a?")
    with monkeypatch.context() as patched:
        patched.setattr("sidecar.proxy.find_by_history.MAX_MESSAGES", 1)
        unseen = await sidecar.ask("a?", "ok", "b?")
    assert recognise.MAX_MESSAGES > 1
    seen = await sidecar.ask("a?", "ok", "c?")

    assert id_of(first) != id_of(unseen)
    assert id_of(seen) == id_of(first)
