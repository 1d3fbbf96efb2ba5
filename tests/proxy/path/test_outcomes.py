"""Every outcome, for clients that send their whole history and for those that send only what is new."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.proxy.client import Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Answer, Upstream, event, says, sends, streams, waits

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2,  "b": 3}'}}
RESPELLED = {**CALL, "function": {"name": "add", "arguments": '{"a":2,"b":3}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


def template(
    message: str, user: str = "", parent: str = "", *, chat: str = "a", task: str = ""
) -> dict[str, str]:
    """What Open WebUI sends with the headers of the connection set (unresolved ones are empty)."""
    return {
        "X-Conversation-ID": chat,
        "X-Message-ID": message,
        "X-User-Message-ID": user,
        "X-User-Message-Parent-ID": parent,
        "X-Task": task,
        "X-User-ID": "u1",
    }


#: What Open WebUI sends with only the forwarding of user information switched on.
SIMPLE = {"X-OpenWebUI-Chat-Id": "a", "X-OpenWebUI-User-Id": "u1", "X-OpenWebUI-User-Email": "a@b.c"}


async def test_start(sidecar: Sidecar, upstream: Upstream):
    reply = await sidecar.ask("hi", id="a")
    assert (reply.outcome, reply.headers["X-Conversation-ID"]) == ("start", "a")
    assert "X-Sidecar-Restored" not in reply.headers
    assert "X-Sidecar-Trimmed" not in reply.headers


@pytest.mark.parametrize("headers", [SIMPLE, {"X-Conversation-ID": "a"}])
async def test_continue(sidecar: Sidecar, upstream: Upstream, headers: dict[str, str]):
    upstream.will(says("hello"), says("fine"))
    await sidecar.ask("hi", headers=headers)
    reply = await sidecar.ask("hi", "hello", "how are you?", headers=headers)
    assert reply.outcome == "continue"
    assert (await sidecar.only()).branches == [["hi", "hello", "how are you?", "fine"]]


async def test_branch_by_an_edit_and_back_again(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("A"), says("B"), says("C"))
    await sidecar.ask("hi", headers=SIMPLE)
    await sidecar.ask("hi", "hello", "a?", headers=SIMPLE)
    assert (await sidecar.ask("hi", "hello", "b?", headers=SIMPLE)).outcome == "branch"
    back = await sidecar.ask("hi", "hello", "a?", "A", "c?", headers=SIMPLE)
    assert back.outcome == "continue"
    assert (await sidecar.only()).branches == [
        ["hi", "hello", "b?", "B"],
        ["hi", "hello", "a?", "A", "c?", "C"],
    ]


async def test_branch_by_an_edited_answer(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("fine"))
    await sidecar.ask("hi", headers=SIMPLE)
    await sidecar.ask("hi", "HOWDY, edited", "how are you?", headers=SIMPLE)
    assert upstream.last.said == ["hi", "HOWDY, edited", "how are you?"]
    assert (await sidecar.only()).branches == [
        ["hi", "hello"],
        ["hi", "HOWDY, edited", "how are you?", "fine"],
    ]


@pytest.mark.parametrize("headers", [SIMPLE, {"X-Conversation-ID": "a"}])
async def test_retry_of_a_whole_history(sidecar: Sidecar, upstream: Upstream, headers: dict[str, str]):
    upstream.will(says("one"), says("two"), says("three"), says("four"))
    await sidecar.ask("hi", headers=headers)
    assert (await sidecar.ask("hi", headers=headers)).outcome == "retry"
    assert upstream.last.said == ["hi"]
    await sidecar.ask("hi", "two", "more", headers=headers)
    assert (await sidecar.ask("hi", "two", "more", headers=headers)).outcome == "retry"
    assert (await sidecar.only()).branches == [
        ["hi", "one"],
        ["hi", "two", "more", "three"],
        ["hi", "two", "more", "four"],
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_extend(sidecar: Sidecar, upstream: Upstream, stream: bool):
    upstream.will(says("Once upon"), says(" a time"), says("The end"))
    await sidecar.ask("tell", headers=SIMPLE)
    reply = await sidecar.ask("tell", "Once upon", headers=SIMPLE, stream=stream)
    assert reply.outcome == "extend"
    assert upstream.last.said == ["tell", "Once upon"]
    await sidecar.ask("tell", "Once upon a time", "and?", headers=SIMPLE)
    assert (await sidecar.only()).branches == [
        ["tell", "Once upon"],
        ["tell", "Once upon a time", "and?", "The end"],
    ]


async def test_append(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("one"), says("two"), says("three"))
    await sidecar.ask({"role": "system", "content": "Be brief."}, {"role": "user", "content": "1"}, id="a")
    reply = await sidecar.ask("2", id="a", stream=True)
    assert (reply.outcome, reply.headers["X-Sidecar-Restored"]) == ("append", "3")
    said = {"X-Conversation-ID": "a", "X-Sidecar-History": "append"}
    await sidecar.ask(
        {"role": "system", "content": "Be long."}, {"role": "user", "content": "3"}, headers=said
    )
    assert upstream.last.said == ["Be long.", "1", "one", "2", "two", "3"]
    await sidecar.ask("4", id="a")
    assert upstream.last.said == ["Be long.", "1", "one", "2", "two", "3", "three", "4"]


async def test_append_by_the_id_that_a_conversation_without_one_was_given(
    sidecar: Sidecar, upstream: Upstream
):
    given = (await sidecar.ask("hi")).headers["X-Conversation-ID"]
    assert (await sidecar.ask("and?", id=given)).outcome == "append"
    assert upstream.last.said == ["hi", "ok", "and?"]
    assert len(await sidecar.stored()) == 1


async def test_append_to_a_memory_that_writes_nothing(start: Start, upstream: Upstream, tmp_path):
    sidecar = await start(store="memory:")
    for text in ("1", "2", "3"):
        await sidecar.ask(text, id="a")
    assert upstream.last.said == ["1", "ok", "2", "ok", "3"]
    assert list(tmp_path.iterdir()) == []


async def test_unanchored_joins_where_all_of_it_is_stored(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("A"), says("B"), says("C"))
    await sidecar.ask("a?", headers=SIMPLE)
    await sidecar.ask("a?", "A", "b?", headers=SIMPLE)
    reply = await sidecar.ask("b?", "B", "c?", headers=SIMPLE)
    assert reply.outcome == "unanchored"
    assert upstream.last.said == ["b?", "B", "c?"]
    assert (await sidecar.only()).branches == [["a?", "A", "b?", "B", "c?", "C"]]


async def test_unanchored_is_a_new_root_where_it_is_not(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("A"), says("C"))
    await sidecar.ask("a?", headers=SIMPLE)
    assert (await sidecar.ask("x?", "X", "c?", headers=SIMPLE)).outcome == "unanchored"
    assert (await sidecar.only()).branches == [["a?", "A"], ["x?", "X", "c?", "C"]]


async def test_a_whole_tree_by_the_message_ids_of_open_webui(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("same"), says("same"), says("one"), says("two"))
    await sidecar.ask("hi", headers=template("m1", "u1"))
    await sidecar.ask("hi", headers=template("m2", "u1"))
    await sidecar.ask("hi", "same", "next", headers=template("m3", "u2", "m1"))
    await sidecar.ask("hi", "same", "next", headers=template("m4", "u3", "m2"))
    stored = await sidecar.only()
    by_id = {each["id"]: each for each in stored.messages}
    told = {
        each["message_id"]: by_id[each["parent"]]["message_id"] for each in stored.messages if each["parent"]
    }
    assert told == {"m1": "u1", "m2": "u1", "u2": "m1", "m3": "u2", "u3": "m2", "m4": "u3"}


async def test_tool_steps_that_open_webui_respells_are_restored(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"), says("Sure"))
    await sidecar.ask("add", headers=template("m1", "u1"))
    echo = {"role": "assistant", "content": "", "tool_calls": [RESPELLED]}
    reply = await sidecar.ask("add", echo, RESULT, headers=template("m1", "u1"))
    original = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert upstream.last.said == ["add", original, RESULT]
    assert reply.headers["X-Sidecar-Restored"] == "1"
    answer = {"role": "assistant", "content": "It is 5"}
    again = {"role": "user", "content": "sure?"}
    await sidecar.ask("add", echo, RESULT, answer, again, headers=template("m2", "u2", "m1"))
    assert upstream.last.said == ["add", original, RESULT, "It is 5", "sure?"]
    assert len((await sidecar.only()).branches) == 1


ADD = [{"type": "function", "function": {"name": "add"}}]
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


async def test_tool_steps_that_a_client_flattened_are_restored(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"), says("Sure"), says("Bye"))
    await sidecar.ask("add", id="a", tools=ADD)
    await sidecar.ask(RESULT, id="a", tools=ADD)
    reply = await sidecar.ask("add", "It is 5", "sure?", id="a", tools=ADD)
    assert reply.outcome == "continue"
    assert reply.headers["X-Sidecar-Restored"] == "2"
    assert upstream.last.said == ["add", CALLED, RESULT, "It is 5", "sure?"]
    await sidecar.ask("add", "It is 5", "sure?", "Sure", "bye", id="a", tools=ADD)
    assert upstream.last.said == ["add", CALLED, RESULT, "It is 5", "sure?", "Sure", "bye"]
    # No calls go into a request that has no such tools, nor to another model.
    others: list[dict[str, Any]] = [{}, {"tools": ADD, "model": "other"}]
    for other in others:
        await sidecar.ask("add", "It is 5", "sure?", "Sure", "and?", id="a", **other)
        assert upstream.last.said == ["add", "It is 5", "sure?", "Sure", "and?"]


@pytest.mark.parametrize("thin", [True, False])
async def test_what_a_client_says_beside_role_and_content_stays(
    sidecar: Sidecar, upstream: Upstream, thin: bool
):
    """Whether something was put before it, into it, or left out."""
    asked = {"role": "user", "content": "add", "name": "ada", "x-mark": {"a": [1]}}
    answer = {"role": "assistant", "content": "It is 5", "name": "adder", "weight": 0}
    again = {"role": "user", "content": "sure?", "name": "bob", "metadata": {"at": 1}}
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"), says("Sure"))
    await sidecar.ask(asked, id="a", tools=ADD)
    await sidecar.ask(RESULT, id="a", tools=ADD)
    await sidecar.ask(*([again] if thin else [asked, answer, again]), id="a", tools=ADD)
    told = "It is 5" if thin else answer
    assert upstream.last.said == [asked, CALLED, RESULT, told, again]


async def test_tool_steps_that_a_client_drops_after_it_has_carried_them_stay_away(
    sidecar: Sidecar, upstream: Upstream
):
    """It meant to: context editing, a hand-off to another agent."""
    replies = [says(None, tool_calls=[CALL]) if at % 2 == 0 else says(f"It is {at}") for at in range(6)]
    upstream.will(*replies, says("once more"), says("flat"))
    carried: list[Any] = []
    for at in range(3):
        carried += [{"role": "user", "content": f"add {at}"}]
        await sidecar.ask(*carried, id="a", tools=ADD)
        carried += [CALLED, RESULT]
        await sidecar.ask(*carried, id="a", tools=ADD)
        carried += [{"role": "assistant", "content": f"It is {2 * at + 1}"}]
    # Of the newest answer nobody can tell yet.
    dropped = [each for each in carried if not isinstance(each, dict) or each["role"] != "tool"]
    dropped = [each for each in dropped if each != CALLED]
    for asked in ("and?", "or?"):
        dropped += [{"role": "user", "content": asked}]
        await sidecar.ask(*dropped, id="a", tools=ADD)
        sent = upstream.last.json["messages"]
        assert [each for each in sent if each not in (CALLED, RESULT)] == dropped
        assert sent[:5] == dropped[:5]
        assert sent[5:7] == [CALLED, RESULT]
        dropped += [{"role": "assistant", "content": {"and?": "once more", "or?": "flat"}[asked]}]


async def test_parallel_models_share_a_chat_and_go_on_from_the_chosen_answer(
    sidecar: Sidecar, upstream: Upstream
):
    gate = asyncio.Event()
    upstream.will(waits(gate, says("red")), waits(gate, says("blue")))
    both = [
        asyncio.create_task(sidecar.ask("colour?", headers=template(id, "u1"), model=model))
        for id, model in (("m1", "one"), ("m2", "two"))
    ]
    while len(upstream.requests) < 2:
        await asyncio.sleep(0.005)
    gate.set()
    await asyncio.gather(*both)
    for id, model in (("m3", "one"), ("m4", "two")):
        await sidecar.ask("colour?", "blue", "why?", headers=template(id, "u2", "m2"), model=model)
        assert upstream.last.said == ["colour?", "blue", "why?"]
    stored = await sidecar.only()
    assert sorted(stored.branches) == [
        ["colour?", "blue", "why?", "ok"],
        ["colour?", "blue", "why?", "ok"],
        ["colour?", "red"],
    ]


async def test_an_append_that_waits_too_long_is_told_so(start: Start, upstream: Upstream):
    sidecar = await start(history={"append_wait": 0.1, "mode": "append"})
    gate = asyncio.Event()
    upstream.will(streams(event({"content": "one"}), gate, event({}, finish="stop")))
    first = asyncio.create_task(sidecar.ask("1", id="a", stream=True))
    while not upstream.requests:
        await asyncio.sleep(0.005)
    refused = await sidecar.ask("2", id="a")
    error = assert_error(refused, 409, "conversation_busy", type="conflict_error")
    assert refused.headers["Retry-After"] == "1"
    assert "history.append_wait" in error["message"]
    assert (await sidecar.ask("2", id="b")).status == 200
    whole = {"X-Conversation-ID": "a", "X-Sidecar-History": "full"}
    assert (await sidecar.ask("1", headers=whole)).status == 200
    gate.set()
    await first
    assert (await sidecar.ask("3", id="a")).status == 200


async def test_a_repeated_append_is_a_retry_where_no_answer_is_there_yet(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("1", id="a")
    upstream.will(streams(event({"content": "half"}), b'data: {"error":{"message":"oops"}}\n\n'))
    await sidecar.ask("2", id="a", stream=True)
    reply = await sidecar.ask("2", id="a")
    assert reply.outcome == "retry"
    assert upstream.last.said == ["1", "ok", "2"]
    assert (await sidecar.only()).branches == [["1", "ok", "2", "half (failed)"], ["1", "ok", "2", "ok"]]


@pytest.mark.parametrize(("count", "outcome"), [(None, "append"), ("0", "append"), ("1", "retry")])
async def test_what_an_sdk_says_it_sends_again_is_a_retry(
    sidecar: Sidecar, upstream: Upstream, count: str | None, outcome: str
):
    for question in ("1", "2"):
        await sidecar.ask(question, id="a")
    reply = await sidecar.ask("2", id="a", headers={"x-stainless-retry-count": count} if count else {})
    assert reply.outcome == outcome
    assert upstream.last.said == ["1", "ok", "2", *(["ok", "2"] if outcome == "append" else [])]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_question_that_an_upstream_failed_to_answer_goes_with_the_next_one(
    sidecar: Sidecar, upstream: Upstream, status: int
):
    failure = sends(b'{"error":{"message":"on fire"}}', status=status)
    upstream.will(says(), says(), failure, failure)
    for question in ("1", "2", "3"):
        reply = await sidecar.ask(question, id="a")
    assert reply.status == status
    # Sent again it stands once.
    assert (await sidecar.ask("3", id="a")).outcome == "retry"
    for _ in range(2):
        await sidecar.ask("4", id="a")
    said = ["1", "ok", "2", "ok", "3\n\n4"]
    assert upstream.last.said == [*said, "ok", "4"]
    assert (await sidecar.only()).branches == [["1", "ok", "2", "ok", "3", "4", "ok", "4", "ok"]]


@pytest.mark.parametrize(
    "failure",
    [
        sends(b"{}", status=503),
        streams(event({"content": "The an"}), b'data: {"error":{"message":"oops"}}\n\n'),
    ],
    ids=["before a word", "after some"],
)
async def test_results_that_an_upstream_failed_to_answer_stand_until_others_replace_them(
    sidecar: Sidecar, upstream: Upstream, failure: Answer
):
    tools = [{"type": "function", "function": {"name": "add"}}]
    repeated: list[list[dict[str, Any]]] = [[], [{**RESULT, "content": "5 at last"}]]
    for id, again in zip("ab", repeated, strict=True):
        upstream.will(says(), says(None, tool_calls=[CALL]), failure)
        told: list[str | dict[str, Any]] = ["1", "2", RESULT, *again]
        for each in told:
            reply = await sidecar.ask(each, id=id, tools=tools)
        assert reply.outcome == "append"
        await sidecar.ask("3", id=id, tools=tools)
        step = [None, "5 at last", "ok"] if again else ['add({"a": 2,  "b": 3}): 5']
        said = [each["content"] for each in upstream.last.json["messages"]]
        assert said == ["1", "ok", "2", *step, "3"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The image format is not supported"},
        {"message": "The prompt triggered the content management policy", "code": "content_filter"},
    ],
)
async def test_a_question_that_is_refused_is_left_out(
    sidecar: Sidecar, upstream: Upstream, error: dict[str, str]
):
    await sidecar.ask("1", id="a")
    await sidecar.ask("2", id="a")
    refusal = sends(json.dumps({"error": error}).encode(), status=400)
    upstream.otherwise = refusal
    assert (await sidecar.ask("3", id="a")).status == 400
    upstream.otherwise = says()
    await sidecar.ask("4", id="a")
    assert upstream.last.said == ["1", "ok", "2", "ok", "4"]


async def test_a_question_whose_client_left_before_a_word_goes_with_the_next_one(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("1", id="a")
    upstream.will(waits(asyncio.Event(), says("late")))
    leaving = asyncio.create_task(sidecar.ask("2", id="a"))
    await eventually(lambda: len(upstream.requests) == 2)
    leaving.cancel()
    await asyncio.wait_for(upstream.requests[1].gone.wait(), 5)
    await sidecar.ask("3", id="a")
    assert upstream.last.said == ["1", "ok", "2\n\n3"]


async def test_two_first_messages_with_append_are_answered_one_after_the_other(
    sidecar: Sidecar, upstream: Upstream
):
    gate = asyncio.Event()
    upstream.will(waits(gate, says("one")), says("two"))
    append = {"X-Sidecar-History": "append"}
    first = asyncio.create_task(sidecar.ask("1", id="a", headers=append))
    await eventually(lambda: upstream.requests)
    second = asyncio.create_task(sidecar.ask("2", id="a", headers=append))
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(first, second)
    assert upstream.last.said == ["1", "one", "2"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first answered first", "second answered first"])
async def test_two_first_messages_that_are_sent_at_once_are_both_remembered(
    sidecar: Sidecar, upstream: Upstream, order: tuple[int, int]
):
    gates = [asyncio.Event(), asyncio.Event()]
    upstream.will(waits(gates[0], says("Valletta.")), waits(gates[1], says("At nine.")))
    asked = ["What is the capital of Malta?", "Find me a flight to Rome"]
    running = [asyncio.create_task(sidecar.ask(asked[0], id="a"))]
    await eventually(lambda: len(upstream.requests) == 1)
    running.append(asyncio.create_task(sidecar.ask(asked[1], id="a")))
    await eventually(lambda: len(upstream.requests) == 2)
    for each in order:
        gates[each].set()
        await running[each]
    said = [asked[0], "Valletta.", asked[1], "At nine."]
    upstream.will(sends(b"{}", status=503))
    await sidecar.ask("Thanks!", id="a")
    assert upstream.last.said == [*said, "Thanks!"]
    for question in ("Thanks!", "And back?"):
        assert (await sidecar.ask(question, id="a")).status == 200
    assert upstream.last.said == [*said, "Thanks!", "ok", "And back?"]
    lines = (await sidecar.only()).branches
    assert lines == [[asked[1], "At nine."], [*said, "Thanks!", "ok", "And back?", "ok"]]


async def test_a_copy_in_another_spelling_is_the_same_chat_and_stays_the_clients(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.otherwise = says("Le café\nest là.")
    question, copy = "Où est\nle café ?", "Ou\u0300 est\r\nle\u00a0café ?"
    await sidecar.ask(question, id="a")
    await sidecar.ask(copy, "Le café\r\nest là.", "more", id="a")
    assert upstream.last.said == [copy, "Le café\r\nest là.", "more"]
    (line,) = (await sidecar.only()).branches
    assert line == [question, "Le café\nest là.", "more", "Le café\nest là."]


async def test_message_ids_of_one_conversation_say_nothing_of_another(sidecar: Sidecar, upstream: Upstream):
    ids = {"X-Message-ID": "m1", "X-User-Message-ID": "u1"}
    for name in ("a", "b"):
        await sidecar.ask(f"hi {name}", id=name, headers=ids)
    behind = {"X-Message-ID": "m2", "X-User-Message-ID": "u2", "X-User-Message-Parent-ID": "m1"}
    await sidecar.ask("hi a", "ok", "more", id="a", headers=behind)
    told = {each.key: each.branches for each in await sidecar.stored()}
    assert told == {"a": [["hi a", "ok", "more", "ok"]], "b": [["hi b", "ok"]]}


async def test_a_first_message_sent_again_is_a_retry(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("one"), says("two"))
    await sidecar.ask("hi", id="a")
    assert (await sidecar.ask("hi", id="a")).outcome == "retry"
    assert upstream.last.said == ["hi"]
    assert (await sidecar.only()).branches == [["hi", "one"], ["hi", "two"]]
