"""Items that a client has taken out of its conversation are nowhere any more, and it goes on without them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.dialects.responses import call, output, said
from tests.proxy.client import Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, sends
from tests.proxy.path.test_conversations import (
    RESPONSES,
    SHELL,
    TRANSLATED,
    ask,
    do,
    listed,
    made,
    text_of,
    texts,
)
from tests.proxy.path.test_summary import ONE_TURN_AT_A_TIME, Model, after, chats, talk, with_summary


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


CALLED = {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": "{}"}}
OTHER = {**CALLED, "id": "c2"}


class TestGoingOnWithoutIt:
    async def test_one_behind_a_response_is_not_sent(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"), says("three"))
        id = await made(sidecar)
        await ask(sidecar, "1", conversation=id)
        response = (await ask(sidecar, "2", conversation=id)).json
        await take_out(sidecar, id, 0, 1)
        await ask(sidecar, "3", previous_response_id=response["id"])
        assert upstream.last.said == ["2", "two", "3"]

    async def test_a_question_that_is_asked_again_is_a_new_one(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "0"), said("assistant", "zero"), said("user", "1"))
        await take_out(sidecar, id, 2)
        upstream.will(says("one"))
        await ask(sidecar, "1", conversation=id)
        assert upstream.last.said == ["0", "zero", "1"]
        assert await texts(sidecar, id) == ["0", "zero", "1", "one"]

    async def test_so_it_is_where_a_header_names_the_conversation(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "0"), said("assistant", "zero"), said("user", "1"))
        again = {"X-Sidecar-History": "append"}
        await take_out(sidecar, id, 0)
        upstream.will(sends(b"{}", status=500), says("one"), says("two"))
        await sidecar.ask("1", id=id, headers=again)
        assert await texts(sidecar, id) == ["zero", "1"]
        await take_out(sidecar, id, 1)
        reply = await sidecar.ask("1", id=id, headers=again)
        assert (reply.outcome, upstream.last.said) == ("append", ["zero", "1"])
        assert await texts(sidecar, id) == ["zero", "1", "one"]
        await sidecar.ask("2", id=id, headers=again)
        assert upstream.last.said == ["zero", "1", "one", "2"]

    async def test_so_it_is_where_an_sdk_sends_it_again(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("one"))
        id = await made(sidecar)
        await ask(sidecar, "1", conversation=id)
        await take_out(sidecar, id, 1)
        await ask(sidecar, "1", {"x-stainless-retry-count": "1"}, conversation=id)
        assert upstream.last.said == ["1"]
        assert await texts(sidecar, id) == ["1", "one"]
        await take_out(sidecar, id, 0)
        await ask(sidecar, "1", {"x-stainless-retry-count": "1"}, conversation=id)
        assert (await texts(sidecar, id))[-2:] == ["1", "ok"]

    async def test_the_result_of_a_call_is_refused_as_one_of_none(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says(None, tool_calls=[CALLED, OTHER]), says("ok"))
        id = await made(sidecar)
        response = (await ask(sidecar, "Go.", conversation=id, tools=[SHELL])).json
        await take_out(sidecar, id, 1)
        for where in ({"conversation": id}, {"previous_response_id": response["id"]}):
            reply = await ask(sidecar, [output("c1", "x")], tools=[SHELL], **where)
            assert_error(reply, 400, "invalid_request")
        reply = await ask(sidecar, [output("c1", "x")], {"X-Conversation-ID": id}, tools=[SHELL])
        assert_error(reply, 400, "invalid_request")
        assert len(upstream.requests) == 1
        await ask(sidecar, [output("c2", "y")], conversation=id, tools=[SHELL])
        _, answer, result = upstream.last.json["messages"]
        assert ([each["id"] for each in answer["tool_calls"]], result["content"]) == (["c2"], "y")

    async def test_an_id_under_which_another_call_was_made_is_one_again(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says(None, tool_calls=[CALLED]))
        id = await made(sidecar, said("user", "1"), call("c1"), output("c1", "x"))
        await ask(sidecar, [], conversation=id, tools=[SHELL])
        await take_out(sidecar, id, 1)
        reply = await ask(sidecar, [output("c1", "y")], conversation=id, tools=[SHELL])
        assert reply.status == 200
        assert [each["content"] for each in upstream.last.json["messages"][2:]] == ["y"]

    async def test_what_no_call_made_harms_nothing(self, sidecar: Sidecar, upstream: Upstream):
        odd: dict[str, Any] = {"role": "tool", "tool_call_id": {"a": 1}, "content": "x"}
        await sidecar.ask("1", "one", odd, "2", id="a", headers={"X-Sidecar-History": "full"})
        await take_out(sidecar, "a", 0)
        assert (await ask(sidecar, "3", conversation="a")).status == 200
        assert "1" not in upstream.last.said

    async def test_it_is_not_restored_to_a_client_that_sends_its_whole_history(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says(None, tool_calls=[CALLED]), says(None, tool_calls=[OTHER]), says("Done."))
        tools = [{"type": "function", "function": {"name": "shell"}}]
        results = [{"role": "tool", "tool_call_id": id, "content": f"of {id}"} for id in ("c1", "c2")]
        await sidecar.ask("1", id="a", tools=tools)
        await sidecar.ask(results[0], id="a", tools=tools)
        await sidecar.ask(results[1], id="a", tools=tools)
        assert await texts(sidecar, "a") == ["1", "function_call", "of c1", "function_call", "of c2", "Done."]
        await sidecar.ask("1", "Done.", "2", id="a", tools=tools)
        assert [each["role"] for each in upstream.last.json["messages"]].count("tool") == 2
        await take_out(sidecar, "a", 1)
        await sidecar.ask("1", "Done.", "2", "ok", "3", id="a", tools=tools)
        told = [each for each in upstream.last.json["messages"] if each["role"] == "tool"]
        assert [each["content"] for each in told] == ["of c2"]
        await take_out(sidecar, "a", 3)
        reply = await sidecar.ask("1", "Done.", "2", "ok", "3", "ok", "4", id="a", tools=tools)
        assert upstream.last.said == ["1", "Done.", "2", "ok", "3", "ok", "4"]
        assert reply.outcome == "continue"

    async def test_no_summary_that_was_made_of_it_stands_in_for_what_is_left_out(
        self, start: Start, upstream: Upstream
    ):
        sidecar, model = await start(responses=TRANSLATED, **ONE_TURN_AT_A_TIME), Model(upstream)
        await talk(sidecar, 1, 3, thin=True)
        await after(sidecar, made=1)
        await talk(sidecar, 4, 4, thin=True)
        assert chats(upstream)[-1].said[0] == with_summary("Summary 1.")
        await after(sidecar, made=2)
        await take_out(sidecar, "a", 0)
        reply = await talk(sidecar, 5, 5, thin=True)
        assert ("X-Sidecar-Summary" in reply.headers, "q4" in chats(upstream)[-1].said) == (False, True)
        await after(sidecar, made=3)
        assert ("q1" in model.told[2], "Summary" in model.told[2], "q2" in model.told[2]) == (
            False,
            False,
            True,
        )
        await talk(sidecar, 6, 6, thin=True)
        assert chats(upstream)[-1].said[0] == with_summary("Summary 3.")
        await after(sidecar, made=4)


class TestAskingForIt:
    async def test_a_reference_to_it_is_one_to_nothing(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "0"))
        response = (await ask(sidecar, "1", conversation=id)).json
        items = await listed(sidecar, id)
        await take_out(sidecar, id, 0, 2)
        for item in (items[0], items[2], response["output"][0]):
            reply = await ask(sidecar, [{"type": "item_reference", "id": item["id"]}], conversation=id)
            assert_error(reply, 404, "item_not_found")
        assert len(upstream.requests) == 1
        reply = await ask(sidecar, [{"type": "item_reference", "id": items[1]["id"]}], conversation=id)
        assert (reply.status, upstream.last.said) == (200, ["1"])

    async def test_it_is_none_of_what_a_later_response_answered(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says(None, tool_calls=[CALLED]), says("three"))
        id = await made(sidecar)
        await ask(sidecar, "1", conversation=id)
        await ask(sidecar, "2", conversation=id, tools=[SHELL])
        later = (await ask(sidecar, [output("c1", "x")], conversation=id, tools=[SHELL])).json
        await take_out(sidecar, id, 0, 3)
        told = (await sidecar.send("GET", f"{RESPONSES}/{later['id']}/input_items?order=asc")).json["data"]
        assert [text_of(each) for each in told] == ["one", "2"]

    async def test_it_is_none_of_what_a_request_would_take(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "word " * 500), said("user", "1"))
        response = (await ask(sidecar, "2", conversation=id)).json
        told = []
        for gone in (False, True):
            if gone:
                await take_out(sidecar, id, 0)
            for where in ({"conversation": id}, {"previous_response_id": response["id"]}):
                data = json.dumps({"model": "m", "input": "3", **where}).encode()
                reply = await sidecar.send("POST", f"{RESPONSES}/input_tokens", data=data)
                told.append(reply.json["input_tokens"])
        before, after = set(told[:2]), set(told[2:])
        assert (len(before), len(after)) == (1, 1)
        assert before.pop() - after.pop() > 400

    async def test_the_result_of_a_call_is_told_no_more_than_the_call(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("user", "1"), call("c1"), output("c1", "x"))
        result = (await listed(sidecar, id))[2]["id"]
        await take_out(sidecar, id, 1)
        assert await texts(sidecar, id) == ["1"]
        assert_error(await do(sidecar, "GET", f"/{id}/items/{result}"), 404, "item_not_found")
        reply = await do(sidecar, "POST", f"/{id}/items", items=[output("c1", "y")])
        assert_error(reply, 400, "invalid_request")
        assert await texts(sidecar, id) == ["1"]

    async def test_it_does_not_come_back_with_a_response_that_is_deleted(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("So:", reasoning_content="Hm.", tool_calls=[CALLED, OTHER]))
        id = await made(sidecar)
        response = (await ask(sidecar, "Go.", conversation=id, tools=[SHELL])).json
        await take_out(sidecar, id, 1, 3)
        before = await texts(sidecar, id)
        assert before == ["Go.", "So:", "function_call"]
        await sidecar.send("DELETE", f"{RESPONSES}/{response['id']}")
        assert await texts(sidecar, id) == before
        assert (await listed(sidecar, id))[2]["call_id"] == "c2"
        await ask(sidecar, [output("c2", "y")], conversation=id, tools=[SHELL])
        _, answer, _ = upstream.last.json["messages"]
        assert ([each["id"] for each in answer["tool_calls"]], "reasoning_content" in answer) == (
            ["c2"],
            False,
        )


class TestAtOnce:
    async def test_neither_metadata_nor_what_was_taken_out_is_lost(self, sidecar: Sidecar):
        for _ in range(3):
            id = await made(sidecar, *(said("user", str(at)) for at in range(8)))
            items = await listed(sidecar, id)
            replies = await asyncio.gather(
                *(
                    change
                    for each in items[:6]
                    for change in (
                        do(sidecar, "DELETE", f"/{id}/items/{each['id']}"),
                        do(sidecar, "POST", f"/{id}", metadata={"a": "b"}),
                    )
                )
            )
            assert [each.status for each in replies] == [200] * 12
            assert await texts(sidecar, id) == ["6", "7"]
            assert (await do(sidecar, "GET", f"/{id}")).json["metadata"] == {"a": "b"}

    async def test_a_conversation_that_is_deleted_does_not_come_back(self, sidecar: Sidecar):
        for at in range(6):
            name = f"chat-{at}"
            await sidecar.ask("1", id=name)
            item = (await listed(sidecar, name))[0]["id"]
            changes = [
                do(sidecar, "POST", f"/{name}", metadata={"a": "b"}),
                do(sidecar, "DELETE", f"/{name}"),
                do(sidecar, "DELETE", f"/{name}/items/{item}"),
            ]
            await asyncio.gather(*(changes if at % 2 else reversed(changes)))
            assert_error(await do(sidecar, "GET", f"/{name}"), 404, "conversation_not_found")
        assert await sidecar.stored() == []
