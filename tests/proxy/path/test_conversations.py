"""The Conversations API, and requests that name their conversation in their body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.dialects.responses import call, chunk, events_in, output, piece, said, streamed, thought
from tests.proxy.client import Reply, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, sends, streams

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
TRANSLATED = {"upstream": "translate"}
ADA, BOB = ({"Authorization": f"Bearer {key}"} for key in ("ada", "bob"))
SHELL = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


async def ask(sidecar: Sidecar, input: Any, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
    data = json.dumps({"model": "m", "input": input, **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


async def do(
    sidecar: Sidecar, method: str, path: str = "", headers: Mapping[str, str] | None = None, **body: Any
) -> Reply:
    data = json.dumps(body).encode() if body else None
    return await sidecar.send(method, CONVERSATIONS + path, data=data, headers=headers)


async def made(sidecar: Sidecar, *items: dict[str, Any], **body: Any) -> str:
    reply = await do(sidecar, "POST", items=list(items), **body)
    assert reply.status == 200, reply.body
    id: str = reply.json["id"]
    return id


async def listed(sidecar: Sidecar, id: str, query: str = "?order=asc&limit=100") -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await do(sidecar, "GET", f"/{id}/items{query}")).json["data"]
    return data


def text_of(item: dict[str, Any]) -> Any:
    return item["content"][0]["text"] if item["type"] == "message" else item.get("output", item["type"])


async def texts(sidecar: Sidecar, id: str) -> list[Any]:
    return [text_of(each) for each in await listed(sidecar, id)]


class TestAConversation:
    async def test_it_is_made_told_changed_and_deleted(self, sidecar: Sidecar):
        created = (await do(sidecar, "POST", metadata={"a": "b"})).json
        id = created["id"]
        assert id.startswith("conv_")
        about = {"object": "conversation", "created_at": created["created_at"], "metadata": {"a": "b"}}
        assert created == {"id": id, **about}
        assert (await do(sidecar, "GET", f"/{id}")).json == created
        changed = (await do(sidecar, "POST", f"/{id}", metadata={"c": "d"})).json
        assert changed == {**created, "metadata": {"c": "d"}}
        assert (await do(sidecar, "GET", f"/{id}")).json == changed
        reply = await do(sidecar, "DELETE", f"/{id}")
        assert reply.json == {"id": id, "object": "conversation.deleted", "deleted": True}
        assert_error(await do(sidecar, "GET", f"/{id}"), 404, "conversation_not_found")
        assert await sidecar.stored() == []

    async def test_it_may_begin_with_items(self, sidecar: Sidecar):
        id = await made(sidecar, said("user", "1"), said("assistant", "one"))
        assert await texts(sidecar, id) == ["1", "one"]
        (stored,) = await sidecar.stored()
        assert (stored.key, stored.texts) == (id, ["1", "one"])

    async def test_an_empty_one_is_kept_too(self, start: Start):
        id = await made(await start(responses=TRANSLATED))
        sidecar = await start(responses=TRANSLATED)
        assert (await do(sidecar, "GET", f"/{id}")).status == 200
        assert [each.key for each in await sidecar.stored()] == [id]

    async def test_that_of_another_tenant_is_as_unknown_as_any(self, sidecar: Sidecar, upstream: Upstream):
        id = (await do(sidecar, "POST", "", ADA, items=[said("user", "1")])).json["id"]
        item = (await do(sidecar, "GET", f"/{id}/items", ADA)).json["first_id"]
        told = set()
        for headers, name in ((BOB, id), (ADA, "conv_" + "0" * 32), (ADA, "x"), (ADA, "é")):
            for method, more, body in (
                ("GET", "", {}),
                ("POST", "", {"metadata": {}}),
                ("DELETE", "", {}),
                ("GET", "/items", {}),
                ("POST", "/items", {"items": [said("user", "2")]}),
                ("GET", f"/items/{item}", {}),
                ("DELETE", f"/items/{item}", {}),
            ):
                reply = await do(sidecar, method, f"/{name}{more}", headers, **body)
                assert_error(reply, 404, "conversation_not_found", type="invalid_request_error")
                told.add(reply.json["error"]["message"].replace(name, "X"))
            reply = await ask(sidecar, "2", headers, conversation=name)
            assert_error(reply, 404, "conversation_not_found")
        assert told == {"Conversation with id 'X' not found."}
        assert upstream.requests == []
        assert len((await do(sidecar, "GET", f"/{id}/items", ADA)).json["data"]) == 1

    @pytest.mark.parametrize(
        ("path", "body", "param"),
        [
            ("", {"metadata": {"a": 1}}, "metadata.a"),
            ("", {"metadata": {str(at): "x" for at in range(17)}}, "metadata"),
            ("", {"items": [said("user", str(at)) for at in range(21)]}, "items"),
            ("", {"items": "x"}, "items"),
            ("", {"items": [{"type": "what"}]}, "items[0].type"),
            ("", {"items": [output("c9")]}, "input"),
            ("", {"items": [thought("Hm.")]}, "items"),
            ("/{id}", {"x": 1}, "metadata"),
            ("/{id}/items", {"items": []}, "items"),
        ],
    )
    async def test_what_it_cannot_be_is_refused(
        self, sidecar: Sidecar, path: str, body: dict[str, Any], param: str
    ):
        id = await made(sidecar)
        reply = await do(sidecar, "POST", path.format(id=id), **body)
        assert (reply.status, reply.json["error"]["param"]) == (400, param)
        assert len(await sidecar.stored()) == 1

    @pytest.mark.parametrize("data", [b"{x", b"[]"])
    async def test_what_is_no_json_is_the_clients_mistake(self, sidecar: Sidecar, data: bytes):
        assert_error(await sidecar.send("POST", CONVERSATIONS, data=data), 400, "invalid_json")


class TestItsItems:
    async def test_they_are_added_told_and_listed_page_by_page(self, sidecar: Sidecar):
        id = await made(sidecar, said("user", "1"))
        reply = (
            await do(sidecar, "POST", f"/{id}/items", items=[said("assistant", "one"), said("user", "2")])
        ).json
        assert ([text_of(each) for each in reply["data"]], reply["has_more"]) == (["one", "2"], False)
        items = await listed(sidecar, id)
        assert items[1:] == reply["data"]
        assert (await do(sidecar, "GET", f"/{id}/items/{items[1]['id']}")).json == items[1]
        page = (await do(sidecar, "GET", f"/{id}/items?limit=2")).json
        assert ([text_of(each) for each in page["data"]], page["has_more"]) == (["2", "one"], True)
        page = (await do(sidecar, "GET", f"/{id}/items?after={page['last_id']}")).json
        assert ([text_of(each) for each in page["data"]], page["has_more"]) == (["1"], False)
        assert_error(await do(sidecar, "GET", f"/{id}/items/msg_1"), 404, "item_not_found")

    async def test_the_open_calls_of_a_run_are_found_by_its_name(self, sidecar: Sidecar, upstream: Upstream):
        named = {"X-Conversation-ID": "run-1", "X-Sidecar-History": "append"}
        made = [
            {"id": id, "type": "function", "function": {"name": "shell", "arguments": "{}"}}
            for id in ("c1", "c2")
        ]
        upstream.will(says(None, tool_calls=made, finish="tool_calls"), says("Well."))
        tools = [{"type": "function", "function": {"name": "shell"}}]
        await sidecar.ask("Go.", id="run-1", headers=named, tools=tools)
        result = {"role": "tool", "tool_call_id": "c2", "content": "late"}
        kept = await listed(sidecar, "run-1", "?limit=100")  # the newest first
        assert [each["call_id"] for each in kept if each["type"] == "function_call"] == ["c2", "c1"]
        await sidecar.ask(result, id="run-1", headers=named, tools=tools)
        assert [each.get("tool_call_id") for each in upstream.last.json["messages"]] == [None, None, "c2"]
        kept = await listed(sidecar, "run-1", "?limit=100")
        answered = [each["call_id"] for each in kept if each["type"] == "function_call_output"]
        assert answered == ["c2"]

    @pytest.mark.parametrize("name", ["run-9/sub-a", "100%2F7 of ~a/items"])
    async def test_those_of_a_chat_with_any_name_are_told(self, sidecar: Sidecar, name: str):
        await ask(sidecar, "1", {"X-Conversation-ID": name})
        path = "/" + quote(name, safe="")
        assert (await do(sidecar, "GET", path)).json["id"] == name
        first, _ = await listed(sidecar, path[1:])
        assert text_of(first) == "1"
        assert (await do(sidecar, "GET", f"{path}/items/{first['id']}")).json == first
        await do(sidecar, "POST", f"{path}/items", items=[said("user", "2")])
        assert (await do(sidecar, "DELETE", f"{path}/items/{first['id']}")).json["id"] == name
        assert (await texts(sidecar, path[1:]))[-1] == "2"
        assert (await do(sidecar, "DELETE", path)).status == 200
        assert await sidecar.stored() == []

    async def test_what_is_kept_of_them_nowhere_is_named(self, sidecar: Sidecar):
        """As the session class of the Agents SDK writes them."""
        phased = {**said("assistant", "Let me see."), "phase": ["odd"]}
        told = [said("user", "1"), {"type": "web_search_call", "id": "ws_1", "status": "completed"}, phased]
        reply = await do(sidecar, "POST", items=told)
        assert reply.headers["X-Sidecar-Untranslated"] == "web_search_call, phase"
        path = f"/{reply.json['id']}/items"
        more = await do(sidecar, "POST", path, items=[said("user", "2"), {"type": "mcp_list_tools"}])
        assert more.headers["X-Sidecar-Untranslated"] == "mcp_list_tools"
        assert "X-Sidecar-Untranslated" not in (await do(sidecar, "GET", path)).headers

    async def test_a_call_may_come_before_its_result(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "1"), call("c1"))
        await do(sidecar, "POST", f"/{id}/items", items=[output("c1", "found")])
        kinds = [each["type"] for each in await listed(sidecar, id)]
        assert kinds == ["message", "function_call", "function_call_output"]
        await do(sidecar, "POST", f"/{id}/items", items=[said("assistant", "Found.")])
        await ask(sidecar, "2", conversation=id, tools=[{**SHELL, "name": "look"}])
        roles = [each["role"] for each in upstream.last.json["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]

    async def test_one_that_is_taken_out_is_told_no_more_and_not_sent(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("user", "1"), said("assistant", "one"), said("user", "2"))
        items = await listed(sidecar, id)
        reply = await do(sidecar, "DELETE", f"/{id}/items/{items[0]['id']}")
        assert (reply.json["id"], reply.json["object"]) == (id, "conversation")
        assert await listed(sidecar, id) == items[1:]
        for method in ("GET", "DELETE"):
            gone = await do(sidecar, method, f"/{id}/items/{items[0]['id']}")
            assert_error(gone, 404, "item_not_found")
        await ask(sidecar, "3", conversation=id)
        assert "1" not in upstream.last.said
        assert await texts(sidecar, id) == ["one", "2", "3", "ok"]

    async def test_nor_is_it_put_into_a_chat_over_the_other_api(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar)
        await sidecar.ask("1", id=id)
        (first, *_) = await listed(sidecar, id)
        await do(sidecar, "DELETE", f"/{id}/items/{first['id']}")
        reply = await sidecar.ask("2", id=id)
        assert (reply.outcome, "1" in upstream.last.said) == ("append", False)

    async def test_so_it_is_with_system_items(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("developer", "You are Ada."), said("developer", "Be brief."))
        (first, _) = await listed(sidecar, id)
        await do(sidecar, "DELETE", f"/{id}/items/{first['id']}")
        for question in ("1", "2"):
            await ask(sidecar, question, conversation=id)
            assert upstream.last.said[0] == "Be brief."

    async def test_with_a_call_its_result_goes_too(self, sidecar: Sidecar, upstream: Upstream):
        told = streamed(
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Look:"}),
            chunk(piece(0, "c1", "shell", '{"b":2}')),
            chunk(piece(1, "c2", "shell", '{"a":1}')),
            chunk(finish="tool_calls"),
        )
        upstream.will(streams(told), says("Done."), says("ok"))
        id = await made(sidecar)
        await ask(sidecar, "Go.", conversation=id, tools=[SHELL])
        await ask(sidecar, [output("c1", "x"), output("c2", "y")], conversation=id, tools=[SHELL])
        items = await listed(sidecar, id)
        kinds = ["message", "reasoning", "message", "function_call", "function_call"]
        assert [each["type"] for each in items][:5] == kinds
        for gone in (items[1], items[2], items[3]):
            await do(sidecar, "DELETE", f"/{id}/items/{gone['id']}")
        await ask(sidecar, "And?", conversation=id, tools=[SHELL])
        _, answer, result, *_ = upstream.last.json["messages"]
        assert [each["id"] for each in answer["tool_calls"]] == ["c2"]
        assert (answer.get("content"), "reasoning_content" in answer) == (None, False)
        assert (result["tool_call_id"], result["content"]) == ("c2", "y")


class TestGoingOnInOne:
    async def test_what_is_new_stands_behind_what_was_said(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"))
        id = await made(sidecar)
        first = (await ask(sidecar, "1", conversation=id)).json
        assert (first["conversation"], first["status"]) == ({"id": id}, "completed")
        second = await ask(sidecar, "2", conversation={"id": id}, instructions="Be brief.", stream=True)
        assert upstream.last.said == ["Be brief.", "1", "one", "2"]
        assert second.outcome == "append"
        response = events_in(second.body)[-1]["response"]
        items = await listed(sidecar, id)
        assert [text_of(each) for each in items] == ["1", "one", "2", "two"]
        assert [items[1], items[3]] == [first["output"][0], response["output"][0]]
        for told in (first, response):
            again = await sidecar.send("GET", f"{RESPONSES}/{told['id']}")
            assert again.json == told
        assert (await sidecar.only()).branches == [["1", "one", "2", "two"]]

    async def test_a_chat_goes_on_in_it_and_back(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"), says("three"), says("four"))
        await sidecar.ask("1", id="a")
        await ask(sidecar, "2", conversation="a")
        assert upstream.last.said == ["1", "one", "2"]
        await sidecar.ask("1", "one", "2", "two", "3", id="a")
        assert (await ask(sidecar, "4", {"X-Conversation-ID": "a"}, conversation="a")).status == 200
        assert upstream.last.said == ["1", "one", "2", "two", "3", "three", "4"]
        branch = ["1", "one", "2", "two", "3", "three", "4", "four"]
        assert (await sidecar.only()).branches == [branch]
        assert await texts(sidecar, "a") == branch
        assert {each.headers["X-Conversation-ID"] for each in upstream.requests} == {"a"}

    async def test_the_upstream_knows_it_by_one_name_whoever_names_it_where(
        self, start: Start, upstream: Upstream
    ):
        names = {"session": {"headers": ["X-Conversation-ID", "X-Session"]}}
        sidecar = await start(responses=TRANSLATED, **names)
        opaque = await start(responses=TRANSLATED, session={**names["session"], "opaque": True})
        for each in (sidecar, opaque):
            await each.ask("1", id="a")
            await ask(each, "2", conversation="a")
            first, second = upstream.requests[-2:]
            for name in names["session"]["headers"]:
                assert first.headers[name] == second.headers[name]
        assert upstream.last.headers["X-Conversation-ID"] == upstream.last.headers["X-Session"] != "a"

    async def test_one_that_was_made_here_goes_on_over_the_other_api(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("user", "1"), said("assistant", "one"))
        reply = await sidecar.ask("1", "one", "2", id=id)
        assert reply.outcome == "continue"
        assert await texts(sidecar, id) == ["1", "one", "2", "ok"]

    async def test_a_chat_without_a_name_is_one_by_the_id_that_it_was_told(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = (await sidecar.ask("1")).headers["X-Conversation-ID"]
        assert await texts(sidecar, id) == ["1", "ok"]
        await ask(sidecar, "2", conversation=id)
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_a_chat_that_was_named_later_is_one_by_that_name(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        """LibreChat's has no name in its first turn."""
        await sidecar.ask("1")
        await sidecar.ask("1", "ok", "2", id="a")
        reply = await ask(sidecar, "3", conversation="a")
        assert reply.json["conversation"] == {"id": "a"}
        assert await texts(sidecar, "a") == ["1", "ok", "2", "ok", "3", "ok"]
        over_chat = await sidecar.ask("1", "ok", "2", "ok", "3", "ok", "4", id="a")
        assert over_chat.outcome == "continue"
        assert (await sidecar.only()).branches == [["1", "ok", "2", "ok", "3", "ok", "4", "ok"]]
        assert_error(await ask(sidecar, "x", conversation="b"), 404, "conversation_not_found")
        bob = {"Authorization": "Bearer bob"}
        assert_error(await ask(sidecar, "x", bob, conversation="a"), 404, "conversation_not_found")
        assert (await do(sidecar, "DELETE", "/a")).json["deleted"]
        assert await sidecar.stored() == []
        assert_error(await ask(sidecar, "x", conversation="a"), 404, "conversation_not_found")

    async def test_system_items_that_it_begins_with_stand_before_every_request(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("developer", "You are Ada."))
        await ask(sidecar, "1", conversation=id)
        assert upstream.last.said == ["You are Ada.", "1"]
        await ask(sidecar, "2", conversation=id, instructions="Be brief.")
        assert upstream.last.said == ["Be brief.\n\nYou are Ada.", "1", "ok", "2"]
        assert [each["role"] for each in upstream.last.json["messages"]][:2] == ["system", "user"]
        assert await texts(sidecar, id) == ["You are Ada.", "1", "ok", "2", "ok"]
        assert (await listed(sidecar, id))[0]["role"] == "developer"

    async def test_so_do_those_that_a_request_begins_with(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar)
        await ask(sidecar, [said("developer", "You are Ada."), said("user", "1")], conversation=id)
        for question in ("2", "3"):
            await ask(sidecar, question, conversation=id, instructions="Be brief.")
            assert upstream.last.said[0] == "Be brief.\n\nYou are Ada."
        assert upstream.last.said[1:] == ["1", "ok", "2", "ok", "3"]

    async def test_one_that_is_not_to_be_stored_is_in_it_since_it_names_it(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar)
        reply = await ask(sidecar, "1", conversation=id, store=False)
        assert (reply.json["store"], await texts(sidecar, id)) == (False, ["1", "ok"])

    @pytest.mark.parametrize(
        "begins",
        [
            [said("user", "0"), said("assistant", "zero")],
            [said("developer", "Be Ada."), said("user", "0")],
            [said("developer", "Be Ada.")],
            [],
        ],
    )
    async def test_two_at_once_are_answered_one_after_the_other(
        self, sidecar: Sidecar, upstream: Upstream, begins: list[dict[str, Any]]
    ):
        """In place of `conversation_locked`"""
        id = await made(sidecar, *begins)
        stood = await texts(sidecar, id)
        gate = asyncio.Event()
        upstream.will(streams(gate, streamed(chunk({"content": "one"}), chunk(finish="stop"))), says("two"))
        first = asyncio.create_task(ask(sidecar, "1", conversation=id, stream=True))
        async with asyncio.timeout(5):
            while not upstream.requests:
                await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(sidecar, "2", conversation=id))
        adding = asyncio.create_task(do(sidecar, "POST", f"/{id}/items", items=[said("user", "3")]))
        await asyncio.sleep(0.2)
        assert (len(upstream.requests), adding.done()) == (1, False)
        gate.set()
        await asyncio.gather(first, second, adding)
        assert (await texts(sidecar, id))[: len(stood) + 2] == [*stood, "1", "one"]
        (branch,) = (await sidecar.only()).branches
        assert sorted(branch) == sorted([*stood, "1", "2", "3", "one", "two"])

    async def test_one_goes_on_by_its_name_in_the_body_and_another_in_a_header(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("developer", "Be Ada."), said("user", "0"), said("assistant", "zero"))
        gate = asyncio.Event()
        upstream.will(streams(gate, streamed(chunk({"content": "one"}), chunk(finish="stop"))), says("two"))
        first = asyncio.create_task(ask(sidecar, "1", conversation=id, stream=True))
        async with asyncio.timeout(5):
            while not upstream.requests:
                await asyncio.sleep(0.01)
        second = asyncio.create_task(sidecar.ask("2", id=id, headers={"X-Sidecar-History": "append"}))
        await asyncio.sleep(0.2)
        assert len(upstream.requests) == 1
        gate.set()
        await asyncio.gather(first, second)
        assert await texts(sidecar, id) == ["Be Ada.", "0", "zero", "1", "one", "2", "two"]

    async def test_two_that_begin_it_at_once_are_as_well(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar)
        await asyncio.gather(*(ask(sidecar, str(at), conversation=id) for at in range(3)))
        (branch,) = (await sidecar.only()).branches
        assert sorted(branch) == ["0", "1", "2", "ok", "ok", "ok"]

    async def test_what_failed_is_asked_again_and_stands_once(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar)
        upstream.will(sends(b"{}", status=500), says("one"))
        assert (await ask(sidecar, "1", conversation=id)).status == 500
        assert (await ask(sidecar, "1", conversation=id)).status == 200
        assert upstream.last.said == ["1"]
        assert await texts(sidecar, id) == ["1", "one"]

    async def test_what_an_sdk_sends_again_stands_once(self, sidecar: Sidecar, upstream: Upstream):
        id = await made(sidecar, said("user", "0"), said("assistant", "zero"))
        upstream.will(says("one"), says("one again"))
        for count in ("0", "1"):
            await ask(sidecar, "1", {"x-stainless-retry-count": count}, conversation=id)
        assert upstream.last.said == ["0", "zero", "1"]
        assert await texts(sidecar, id) == ["0", "zero", "1", "one again"]

    async def test_what_was_added_is_answered_without_anything_new(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        id = await made(sidecar, said("user", "0"), said("assistant", "zero"), said("user", "1"))
        upstream.will(says("one"))
        data = json.dumps({"model": "m", "conversation": id}).encode()
        assert (await sidecar.send("POST", RESPONSES, data=data)).status == 200
        assert upstream.last.said == ["0", "zero", "1"]
        assert await texts(sidecar, id) == ["0", "zero", "1", "one"]
        assert (await ask(sidecar, [], conversation=await made(sidecar))).status == 200

    async def test_another_sidecar_at_the_same_store_goes_on_at_once(self, start: Start, upstream: Upstream):
        one, other = await start(responses=TRANSLATED), await start(responses=TRANSLATED)
        id = await made(one, said("user", "1"), said("assistant", "one"))
        await ask(other, "2", conversation=id)
        assert upstream.last.said == ["1", "one", "2"]
        assert await texts(one, id) == ["1", "one", "2", "ok"]

    @pytest.mark.parametrize(
        ("body", "headers", "code"),
        [
            ({"previous_response_id": "resp_1"}, {}, "unsupported_value"),
            ({"conversation": {}}, {}, "invalid_type"),
            ({"conversation": 5}, {}, "invalid_type"),
            ({}, {"X-Conversation-ID": "b"}, "unsupported_value"),
            ({}, {"X-Sidecar-History": "off"}, "invalid_history_mode"),
            ({"input": [output("c9")]}, {}, "invalid_request"),
        ],
    )
    async def test_what_says_two_things_is_refused(
        self, sidecar: Sidecar, upstream: Upstream, body: dict[str, Any], headers: dict[str, str], code: str
    ):
        id = await made(sidecar, said("user", "1"), said("assistant", "one"))
        reply = await ask(sidecar, headers=headers, **{"input": "2", "conversation": id, **body})
        assert_error(reply, 400, code)
        assert upstream.requests == []

    async def test_a_temporary_chat_is_none(self, sidecar: Sidecar):
        assert_error(await ask(sidecar, "2", conversation="local:1"), 404, "conversation_not_found")

    async def test_codex_may_go_on_in_one(self, sidecar: Sidecar, upstream: Upstream):
        await sidecar.ask("1", id="a")
        reply = await ask(sidecar, "2", {"thread-id": "t", "session-id": "t"}, conversation="a")
        assert (reply.headers["X-Conversation-ID"], upstream.last.said) == ("a", ["1", "ok", "2"])

    async def test_who_goes_on_from_an_older_response_leaves_it_where_it_is(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("one"), says("two"), says("else"), says("more"))
        id = await made(sidecar)
        first = (await ask(sidecar, "1", conversation=id)).json
        await ask(sidecar, "2", conversation=id)
        branch = (await ask(sidecar, "other", previous_response_id=first["id"])).json
        assert upstream.last.said == ["1", "one", "other"]
        await ask(sidecar, "further", previous_response_id=branch["id"])
        assert upstream.last.said == ["1", "one", "other", "else", "further"]
        newest = (await ask(sidecar, "3", conversation=id)).json
        assert upstream.last.said == ["1", "one", "2", "two", "3"]
        assert await texts(sidecar, id) == ["1", "one", "2", "two", "3", "ok"]
        # From its newest response it is the conversation that goes on.
        await ask(sidecar, "4", previous_response_id=newest["id"])
        assert await texts(sidecar, id) == ["1", "one", "2", "two", "3", "ok", "4", "ok"]


class TestOtherStores:
    @pytest.mark.parametrize("encrypted", [False, True])
    async def test_two_replicas_and_their_database_hold_to_the_same(
        self, start: Start, upstream: Upstream, postgres_url: str, encrypted: bool
    ):
        upstream.will(says("one"), says("two"))
        key = {"encryption": {"key": "A" * 43 + "="}} if encrypted else {}
        one, other = [await start(responses=TRANSLATED, store=postgres_url, **key) for _ in range(2)]
        id = await made(one, said("user", "0"), said("assistant", "zero"), metadata={"a": "b"})
        first = (await ask(other, [said("system", "Be Ada."), said("user", "1")], conversation=id)).json
        assert (await one.send("GET", f"{RESPONSES}/{first['id']}")).json == first
        second = (await ask(one, "2", previous_response_id=first["id"])).json
        assert upstream.last.said == ["Be Ada.", "0", "zero", "1", "one", "2"]
        assert await texts(other, id) == ["0", "zero", "1", "one", "2", "two"]
        await do(other, "POST", f"/{id}", metadata={"c": "d"})
        assert (await do(one, "GET", f"/{id}")).json["metadata"] == {"c": "d"}
        (item, *_) = await listed(one, id)
        await do(one, "DELETE", f"/{id}/items/{item['id']}")
        assert (await texts(other, id))[0] == "zero"
        await other.send("DELETE", f"{RESPONSES}/{second['id']}")
        gone = await one.send("GET", f"{RESPONSES}/{second['id']}")
        assert_error(gone, 404, "response_not_found")
        assert (await do(other, "DELETE", f"/{id}")).status == 200
        assert_error(await do(one, "GET", f"/{id}"), 404, "conversation_not_found")
