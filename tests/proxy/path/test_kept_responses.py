"""Responses that are asked for again by their ids, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.conversation.tree import Node
from sidecar.store import Store, make_store
from sidecar.store.sqlite.store import SQLiteStore
from tests.dialects.responses import call, chunk, events_in, output, piece, said, streamed
from tests.proxy.client import Reply, Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import CUT, Step, Upstream, event, says, streams

RESPONSES = "/v1/responses"
TRANSLATED = {"upstream": "translate"}
ADA, BOB = ({"Authorization": f"Bearer {key}"} for key in ("ada", "bob"))
SHELL = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "patch"}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


async def ask(sidecar: Sidecar, input: Any, headers: dict[str, str] | None = None, **body: Any) -> Reply:
    data = json.dumps({"model": "m", "input": input, **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


async def get(sidecar: Sidecar, id: str, headers: dict[str, str] | None = None, more: str = "") -> Reply:
    return await sidecar.send("GET", f"{RESPONSES}/{id}{more}", headers=headers)


async def inputs(sidecar: Sidecar, id: str, query: str = "?order=asc") -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await get(sidecar, id, more="/input_items" + query)).json["data"]
    return data


@asynccontextmanager
async def opened(sidecar: Sidecar) -> AsyncIterator[Store]:
    store = make_store(sidecar.settings.store_path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def last(reply: Reply) -> dict[str, Any]:
    response: dict[str, Any] = events_in(reply.body)[-1]["response"]
    return response


def parts(*deltas: dict[str, Any], finish: str = "stop", **more: Any) -> list[Step]:
    return [streamed(*map(chunk, deltas), chunk(finish=finish, **more))]


def text_of(item: dict[str, Any]) -> Any:
    return item["content"][0]["text"] if item["type"] == "message" else item.get("output")


class TestAResponse:
    async def test_it_is_what_was_told_byte_for_byte(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #17204, #37956"""
        upstream.will(says("Hello."))
        about: dict[str, Any] = {
            "instructions": "Be brief.",
            "metadata": {"a": "b"},
            "temperature": 1.0,
            "tools": [SHELL],
            "tool_choice": "auto",
            "user": "ada",
        }
        made = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        for goes_on in ({}, {"conversation": made}, {"conversation": {"id": made}}):
            told = await ask(sidecar, "hi", **about, **goes_on)
            reply = await get(sidecar, told.json["id"])
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.body == told.body

    @pytest.mark.parametrize(
        "deltas",
        [
            [{"content": "Hel"}, {"content": "lo."}],
            [{"reasoning_content": "Hm."}, {"content": "Hello."}],
            [{"content": "Hello."}, {"reasoning_content": "Hm."}, {"content": "So."}],
            [{"reasoning": "Hm."}, {"content": "Look:"}, piece(0, "c1", "shell", "{}")],
            [piece(0, "c1", "patch", '{"input":"*** a"}'), piece(1, "c2", "shell", '{"a": 1}')],
            [{"refusal": "No."}],
        ],
    )
    async def test_so_is_one_that_was_streamed_whatever_it_says(
        self, sidecar: Sidecar, upstream: Upstream, deltas: list[dict[str, Any]]
    ):
        upstream.will(streams(*parts(*deltas)))
        include = ["reasoning.encrypted_content"]
        told = last(await ask(sidecar, "hi", tools=[SHELL, PATCH], stream=True, include=include))
        assert (await get(sidecar, told["id"])).json == told

    @pytest.mark.parametrize("stream", [True, False])
    async def test_so_is_one_that_was_cut_at_its_length(
        self, sidecar: Sidecar, upstream: Upstream, stream: bool
    ):
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        upstream.will(streams(*parts({"content": "Hel"}, finish="length", usage=usage)))
        reply = await ask(sidecar, "hi", stream=stream)
        told = last(reply) if stream else reply.json
        kept = (await get(sidecar, told["id"])).json
        assert (kept["status"], kept["usage"]["total_tokens"], kept) == ("incomplete", 7, told)

    async def test_one_that_failed_is_there_with_what_it_said(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(event({"content": "Hel"}), CUT), streams(CUT))
        for _ in range(2):
            told = last(await ask(sidecar, "hi", stream=True))
            assert told["status"] == "failed"
            assert (await get(sidecar, told["id"])).json == told

    async def test_one_whose_client_left_is_there_and_was_cancelled(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(streams(event({"content": "Hel"}), asyncio.Event()))
        data = json.dumps({"input": "hi", "stream": True}).encode()
        seen = b""
        async with sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            while b"text.delta" not in seen:
                seen += await response.content.readany()
        id = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
        async with asyncio.timeout(5):
            while (reply := await get(sidecar, id)).status != 200:
                await asyncio.sleep(0.02)
        assert (reply.json["status"], text_of(reply.json["output"][0])) == ("cancelled", "Hel")

    async def test_one_that_was_read_to_its_end_without_its_client_is_complete(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": "finish"})
        gate = asyncio.Event()
        upstream.will(streams(event({"content": "Hel"}), gate, *parts({"content": "lo"})))
        data = json.dumps({"input": "hi", "stream": True}).encode()
        seen = b""
        async with sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            while b"text.delta" not in seen:
                seen += await response.content.readany()
        id = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
        gate.set()
        async with asyncio.timeout(5):
            while (reply := await get(sidecar, id)).status != 200:
                await asyncio.sleep(0.02)
        assert (reply.json["status"], text_of(reply.json["output"][0])) == ("completed", "Hello")

    async def test_a_sidecar_that_starts_anew_has_it(self, start: Start):
        told = (await ask(await start(responses=TRANSLATED), "1")).json
        assert (await get(await start(responses=TRANSLATED), told["id"])).json == told

    async def test_another_sidecar_at_the_same_store_has_it_at_once(self, start: Start):
        """litellm #28587"""
        one, other = await start(responses=TRANSLATED), await start(responses=TRANSLATED)
        told = (await ask(one, "1")).json
        assert (await get(other, told["id"])).json == told

    async def test_it_is_there_in_an_encrypted_store_and_no_word_of_it_can_be_read(self, start: Start):
        key = "A" * 43 + "="
        sidecar = await start(responses=TRANSLATED, encryption={"key": key})
        told = (await ask(sidecar, "1", instructions="Xylophone.", metadata={"a": "Zeppelin"})).json
        assert (await get(sidecar, told["id"])).json == told
        assert sidecar.settings.store_path is not None
        for end in ("", "-wal"):
            data = Path(sidecar.settings.store_path + end).read_bytes()
            assert b"Xylophone" not in data
            assert b"Zeppelin" not in data

    async def test_that_of_another_tenant_is_as_unknown_as_any(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #39548, #39559"""
        id = (await ask(sidecar, "1", ADA)).json["id"]
        never = "resp_" + "0" * 20 + id[25:]
        replies = []
        for headers, asked in ((BOB, id), (ADA, never), (ADA, id + "x"), (ADA, "resp_"), (BOB, "x")):
            for method, more in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
                path = f"{RESPONSES}/{asked}{more}"
                reply = await sidecar.send(method, path, headers=headers)
                assert_error(reply, 404, "response_not_found", type="invalid_request_error")
                replies.append(reply.json["error"]["message"].replace(asked, "X"))
        assert set(replies) == {"Response with id 'X' not found."}
        assert (await get(sidecar, id, ADA)).status == 200
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize("headers", [{}, {"X-Conversation-ID": "a"}])
    async def test_one_that_was_not_to_be_stored_is_not_there(
        self, sidecar: Sidecar, headers: dict[str, str]
    ):
        told = (await ask(sidecar, "1", headers, store=False)).json
        assert_error(await get(sidecar, told["id"]), 404, "response_not_found")

    async def test_it_is_told_as_one_object_alone(self, sidecar: Sidecar):
        told = (await ask(sidecar, "1")).json
        reply = await get(sidecar, told["id"], more="?stream=true")
        assert assert_error(reply, 400, "unsupported_value")["param"] == "stream"

    async def test_a_chat_completion_is_none(self, sidecar: Sidecar):
        told = (await ask(sidecar, "1", {"X-Conversation-ID": "a"})).json
        await sidecar.ask("1", "ok", "2", id="a")
        async with opened(sidecar) as store:
            (about,) = [each async for each in store.conversations()]
            exchanges = await store.exchanges(about.tenant, about.id)
        (over_chat,) = [each for each in exchanges if each.detail.api == "chat"]
        id = "resp_" + over_chat.id.hex() + told["id"][25:]
        assert_error(await get(sidecar, id), 404, "response_not_found")

    async def test_native_ones_are_the_upstreams(self, start: Start, upstream: Upstream):
        sidecar = await start()
        await get(sidecar, "resp_1")
        assert upstream.last.target == "/v1/responses/resp_1"


class TestADeletedOne:
    async def test_it_is_gone_and_what_was_said_stays(self, sidecar: Sidecar, upstream: Upstream):
        first = (await ask(sidecar, "1")).json
        second = (await ask(sidecar, "2", previous_response_id=first["id"])).json
        reply = await sidecar.send("DELETE", f"{RESPONSES}/{first['id']}")
        assert reply.json == {"id": first["id"], "object": "response", "deleted": True}
        for method in ("GET", "DELETE"):
            gone = await sidecar.send(method, f"{RESPONSES}/{first['id']}")
            assert_error(gone, 404, "response_not_found")
        reply = await ask(sidecar, "3", previous_response_id=first["id"])
        assert_error(reply, 400, "previous_response_not_found")
        await ask(sidecar, "3", previous_response_id=second["id"])
        assert upstream.last.said == ["1", "ok", "2", "ok", "3"]

    async def test_with_its_chat_it_is_gone_too(self, sidecar: Sidecar):
        told = (await ask(sidecar, "1")).json
        async with opened(sidecar) as store:
            for about in [each async for each in store.conversations()]:
                await store.delete(about.id)
        assert_error(await get(sidecar, told["id"]), 404, "response_not_found")


class TestItsInput:
    async def test_it_is_all_that_stood_before_it(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"))
        first = (await ask(sidecar, "1")).json
        second = (await ask(sidecar, "2", previous_response_id=first["id"])).json
        assert [text_of(each) for each in await inputs(sidecar, first["id"])] == ["1"]
        items = await inputs(sidecar, second["id"])
        assert [text_of(each) for each in items] == ["1", "one", "2"]
        assert items[1] == first["output"][0]
        assert items[0] == {
            "id": items[0]["id"],
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "1"}],
        }
        assert (await inputs(sidecar, first["id"]))[0]["id"] == items[0]["id"]

    async def test_system_items_that_it_begins_with_are_there(self, sidecar: Sidecar):
        items = [said("developer", "You are Ada."), said("user", "1")]
        first = (await ask(sidecar, items, instructions="Be brief.")).json
        second = (await ask(sidecar, "2", previous_response_id=first["id"])).json
        told = await inputs(sidecar, second["id"])
        assert [(each["role"], text_of(each)) for each in told] == [
            ("developer", "You are Ada."),
            ("user", "1"),
            ("assistant", "ok"),
            ("user", "2"),
        ]
        assert len({each["id"] for each in told}) == 4

    async def test_calls_and_their_results_keep_their_kinds(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(
            streams(
                *parts(piece(0, "c1", "patch", '{"input":"a"}'), piece(1, "c2", "shell", '{"b":1}')),
            ),
            says("Done."),
        )
        tools = [SHELL, PATCH]
        first = last(await ask(sidecar, "Go.", tools=tools, stream=True))
        results = [output("c1", "x", "custom_tool_call_output"), output("c2", "y")]
        second = (await ask(sidecar, results, tools=tools, previous_response_id=first["id"])).json
        items = await inputs(sidecar, second["id"])
        kinds = [each["type"] for each in items]
        assert kinds == [
            "message",
            "custom_tool_call",
            "function_call",
            "custom_tool_call_output",
            "function_call_output",
        ]
        assert items[1:3] == first["output"]
        assert [each["output"] for each in items[3:]] == ["x", "y"]

    async def test_so_do_those_that_the_client_brought(self, sidecar: Sidecar, upstream: Upstream):
        brought = [
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "+a"},
            output("c1", "done", "custom_tool_call_output"),
            call("c2", "spawn", "{}", namespace="agents"),
            output("c2"),
            {"type": "tool_search_call", "call_id": "c3", "execution": "client", "arguments": {"q": "a"}},
            {"type": "tool_search_output", "call_id": "c3", "execution": "client", "tools": [SHELL]},
            call("c4", "shell", "{}"),
            output("c4"),
        ]
        space = {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]}
        search = {"type": "tool_search", "execution": "client"}
        tools = [SHELL, PATCH, space, search]
        first = await ask(sidecar, [said("user", "a"), *brought, said("user", "b")], tools=tools)
        before = await inputs(sidecar, first.json["id"])
        told = [{name: value for name, value in each.items() if name != "id"} for each in before[1:-1]]
        assert told == [{**each, "status": "completed"} for each in brought]
        # Without their response they are what a chat says, under the same ids.
        second = await ask(sidecar, "c", previous_response_id=first.json["id"])
        await sidecar.send("DELETE", f"/v1/responses/{first.json['id']}")
        after = await inputs(sidecar, second.json["id"])
        assert [each["id"] for each in after[:-2]] == [each["id"] for each in before]
        assert {each["type"] for each in after[1:9]} == {"function_call", "function_call_output"}

    async def test_a_call_of_an_answer_stays_as_it_was_told_whatever_is_offered_later(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(streams(*parts(piece(0, "c1", "patch", '{"input":"a"}'))))
        function = {"type": "function", "name": "patch"}
        first = last(await ask(sidecar, "Go.", tools=[function], stream=True))
        about = {"tools": [PATCH], "previous_response_id": first["id"]}
        second = (await ask(sidecar, [output("c1", "x"), said("user", "b")], **about)).json
        told = await inputs(sidecar, second["id"])
        assert told[1:2] == first["output"]
        assert [each["type"] for each in told[1:3]] == ["function_call", "function_call_output"]

    async def test_it_comes_page_by_page_and_the_newest_first(self, sidecar: Sidecar):
        history = [said("user" if at % 2 == 0 else "assistant", str(at)) for at in range(25)]
        id = (await ask(sidecar, history)).json["id"]
        first = (await get(sidecar, id, more="/input_items")).json
        assert [text_of(each) for each in first["data"]] == [str(at) for at in range(24, 4, -1)]
        assert (first["object"], first["has_more"]) == ("list", True)
        assert (first["first_id"], first["last_id"]) == (first["data"][0]["id"], first["data"][-1]["id"])
        more = (await get(sidecar, id, more=f"/input_items?after={first['last_id']}&limit=100")).json
        assert [text_of(each) for each in more["data"]] == ["4", "3", "2", "1", "0"]
        assert more["has_more"] is False
        assert [text_of(each) for each in await inputs(sidecar, id, "?order=asc&limit=2")] == ["0", "1"]

    @pytest.mark.parametrize(
        "query",
        [
            *("limit=0", "limit=101", "limit=x", "order=up", "after=msg_1"),
            *("limit=0000000010000", f"limit=000000001{'0' * 5000}"),
        ],
    )
    async def test_a_page_that_cannot_be_is_refused(self, sidecar: Sidecar, query: str):
        id = (await ask(sidecar, "1")).json["id"]
        error = assert_error(await get(sidecar, id, more=f"/input_items?{query}"), 400, "invalid_value")
        assert error["param"] == query.split("=")[0]

    async def test_a_call_told_by_the_client_is_one(self, sidecar: Sidecar):
        items = [said("user", "a"), call("c1"), output("c1"), said("user", "b")]
        id = (await ask(sidecar, items)).json["id"]
        kinds = [each["type"] for each in await inputs(sidecar, id)]
        assert kinds == ["message", "function_call", "function_call_output", "message"]


def refer(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "item_reference", "id": each["id"]} for each in items]


class TestReferences:
    async def test_an_item_stands_where_it_is_referred_to(self, sidecar: Sidecar, upstream: Upstream):
        """supermemory #1096; so does the AI SDK send what was answered"""
        upstream.will(
            streams(*parts({"reasoning_content": "Hm."}, piece(0, "c1", "shell", '{"a":1}'))), says("Done.")
        )
        first = last(await ask(sidecar, "Look.", tools=[SHELL], stream=True))
        history = [said("user", "Look."), *refer(*first["output"]), output("c1", "a.txt")]
        reply = await ask(sidecar, history, tools=[SHELL])
        assert reply.outcome == "continue"
        _, answer, result = upstream.last.json["messages"]
        assert (answer["reasoning_content"], answer["tool_calls"][0]["id"]) == ("Hm.", "c1")
        assert result["content"] == "a.txt"
        assert (await sidecar.only()).branches == [["Look.", "null", "a.txt", "Done."]]

    async def test_the_type_may_be_left_out(self, sidecar: Sidecar, upstream: Upstream):
        (item,) = (await ask(sidecar, "1")).json["output"]
        await ask(sidecar, [said("user", "1"), {"id": item["id"]}, said("user", "2")])
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_what_a_client_brought_is_referred_to_where_it_goes_on(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        first = (await ask(sidecar, "1", {"X-Conversation-ID": "a"})).json
        (question,) = await inputs(sidecar, first["id"])
        for body in ({"previous_response_id": first["id"]}, {"conversation": "a"}):
            assert (await ask(sidecar, refer(question), **body)).status == 200
            assert upstream.last.said[-1] == "1"
        reply = await ask(
            sidecar, [*refer(question, *first["output"]), said("user", "2")], {"X-Conversation-ID": "a"}
        )
        assert (reply.outcome, upstream.last.said) == ("branch", ["1", "ok", "2"])
        assert_error(await ask(sidecar, refer(question)), 404, "item_not_found")

    async def test_one_that_is_none_of_the_tenants_is_as_unknown_as_any(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        (item,) = (await ask(sidecar, "1", ADA)).json["output"]
        (private,) = (await ask(sidecar, "1", ADA, store=False)).json["output"]
        ids = ["msg_1", item["id"][:-1] + "9", private["id"], "msg_" + "0" * 52]
        for headers, id in ((BOB, item["id"]), *((ADA, id) for id in ids)):
            reply = await ask(sidecar, [{"type": "item_reference", "id": id}], headers)
            assert assert_error(reply, 404, "item_not_found")["param"] == "input"
        assert len(upstream.requests) == 2

    async def test_one_of_a_deleted_response_is_gone(self, sidecar: Sidecar):
        first = (await ask(sidecar, "1")).json
        await sidecar.send("DELETE", f"{RESPONSES}/{first['id']}")
        assert_error(await ask(sidecar, refer(*first["output"])), 404, "item_not_found")

    async def test_so_is_the_result_of_a_tool_that_takes_free_text(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(streams(*parts(piece(0, "c1", "patch", '{"input":"+a"}'))), says("Done."))
        first = last(await ask(sidecar, "Go.", {"X-Conversation-ID": "a"}, tools=[PATCH], stream=True))
        result = output("c1", "ok", "custom_tool_call_output")
        await ask(sidecar, [result], tools=[PATCH], previous_response_id=first["id"])
        listed = (await sidecar.send("GET", "/v1/conversations/a/items?order=asc")).json["data"]
        assert listed[2]["type"] == "custom_tool_call_output"
        whole = [*refer(*listed), said("user", "And?")]
        reply = await ask(sidecar, whole, {"X-Conversation-ID": "a"}, tools=[PATCH])
        assert reply.outcome == "continue"
        assert upstream.last.json["messages"][2]["content"] == "ok"

    @pytest.mark.parametrize("path", [RESPONSES, f"{RESPONSES}/input_tokens"])
    async def test_a_body_with_its_items_is_no_longer_than_any_other(
        self, start: Start, upstream: Upstream, path: str
    ):
        sidecar = await start(responses=TRANSLATED, limits={"max_body": 100_000})
        items = [said("user", "x" * 20_000), said("assistant", "y" * 20_000)]
        data = json.dumps({"items": items}).encode()
        id = (await sidecar.send("POST", "/v1/conversations", data=data)).json["id"]
        (answer,) = (await ask(sidecar, "1", {"X-Conversation-ID": "a"})).json["output"]
        listed = (await sidecar.send("GET", f"/v1/conversations/{id}/items")).json["data"]
        for size, status in ((55_000, 200), (65_000, 413)):
            own = said("user", "z" * size)
            body = {"model": "m", "conversation": id, "input": [own, *refer(*listed, answer)]}
            reply = await sidecar.send("POST", path, data=json.dumps(body).encode())
            assert reply.status == status
        assert_error(reply, 413, "body_too_large")
        assert len(upstream.requests) == (2 if path == RESPONSES else 1)

    async def test_with_its_items_it_takes_more_of_the_room_for_bodies(
        self, start: Start, upstream: Upstream
    ):
        limits = {"max_body": 4 << 20, "bodies_in_flight": 4 << 20, "body_wait": 0.05}
        sidecar = await start(responses=TRANSLATED, limits=limits)
        gate = asyncio.Event()
        upstream.will(says("y" * (3 << 20)), streams(gate, *parts({"content": "ok"})), says("ok"))
        (item,) = (await ask(sidecar, "1")).json["output"]
        first = asyncio.create_task(ask(sidecar, refer(item), stream=True))
        await eventually(lambda: len(upstream.requests) == 2)
        assert_error(await ask(sidecar, "z" * (2 << 20)), 503, "too_many_bodies")
        gate.set()
        assert (await first).status == 200
        assert (await ask(sidecar, "z" * (2 << 20))).status == 200

    async def test_no_message_is_read_twice_however_many_there_are(
        self, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
    ):
        data = json.dumps({"items": [said("user", f"{at}") for at in range(20)]}).encode()
        id = (await sidecar.send("POST", "/v1/conversations", data=data)).json["id"]
        listed = (await sidecar.send("GET", f"/v1/conversations/{id}/items?limit=100")).json["data"]
        read: list[bytes] = []
        for name in ("messages", "path"):
            looks_up = getattr(SQLiteStore, name)

            async def seen(store: Store, *about: Any, looks_up: Any = looks_up) -> list[Node]:
                nodes: list[Node] = await looks_up(store, *about)
                read.extend(node.id for node in nodes)
                return nodes

            monkeypatch.setattr(SQLiteStore, name, seen)
        data = json.dumps({"model": "m", "input": refer(*listed)}).encode()
        counted = await sidecar.send(
            "POST", f"{RESPONSES}/input_tokens", data=data, headers={"X-Conversation-ID": id}
        )
        assert counted.status == 200
        assert len(read) == len(set(read)) == 20

    async def test_one_item_twice_is_refused(self, sidecar: Sidecar, upstream: Upstream):
        (item,) = (await ask(sidecar, "1")).json["output"]
        error = assert_error(await ask(sidecar, refer(item, item)), 400, "invalid_value")
        assert error["message"] == f"Duplicate item found with id '{item['id']}'."
        assert len(upstream.requests) == 1

    async def test_one_to_nothing_is_refused(self, sidecar: Sidecar):
        for item, param in (({"type": "item_reference"}, "input[0].id"), ({"id": ""}, "input[0].id")):
            assert (await ask(sidecar, [item])).json["error"]["param"] == param

    async def test_in_a_long_history_they_are_found_as_well(self, sidecar: Sidecar, upstream: Upstream):
        (item,) = (await ask(sidecar, "1 " + "x" * 300_000)).json["output"]
        await ask(sidecar, [said("user", "1 " + "x" * 300_000), *refer(item), said("user", "2")])
        assert upstream.last.said[1:] == ["ok", "2"]


class TestCounting:
    async def count(self, sidecar: Sidecar, headers: dict[str, str] | None = None, **body: Any) -> Reply:
        data = json.dumps({"model": "m", **body}).encode()
        return await sidecar.send("POST", f"{RESPONSES}/input_tokens", data=data, headers=headers)

    async def test_all_that_would_be_sent_counts_and_nothing_is(self, sidecar: Sidecar, upstream: Upstream):
        first = (await ask(sidecar, "word " * 100, {"X-Conversation-ID": "a"})).json
        counted = [
            (await self.count(sidecar, **body)).json
            for body in (
                {"input": "hi"},
                {"input": "hi", "instructions": "word " * 100},
                {"input": "hi", "tools": [{**SHELL, "description": "word " * 100}]},
                {"input": "hi", "previous_response_id": first["id"]},
                {"input": "hi", "conversation": "a"},
                {"conversation": "a"},
                {"input": [*refer(*first["output"]), said("user", "hi")]},
            )
        ]
        assert {each["object"] for each in counted} == {"response.input_tokens"}
        few, *most, one = (each["input_tokens"] for each in counted)
        assert 0 < few < one < 20
        assert all(60 < each < 300 for each in most)
        assert len(upstream.requests) == 1

    async def test_system_items_of_what_it_goes_on_from_count_too(self, sidecar: Sidecar):
        items = [said("developer", "word " * 100), said("user", "1")]
        first = (await ask(sidecar, items, {"X-Conversation-ID": "a"})).json
        for body in ({"previous_response_id": first["id"]}, {"conversation": "a"}):
            assert (await self.count(sidecar, input="hi", **body)).json["input_tokens"] > 60

    async def test_it_learns_as_the_cut_does(self, sidecar: Sidecar, upstream: Upstream):
        before = (await self.count(sidecar, input="word " * 100)).json["input_tokens"]
        usage = {"prompt_tokens": int(before * 1.5), "completion_tokens": 1}
        for at in range(6):
            upstream.will(streams(*parts({"content": "ok"}, usage=usage)))
            await ask(sidecar, f"{at}" + "word " * 100)
        async with asyncio.timeout(5):
            while (await self.count(sidecar, input="word " * 100)).json["input_tokens"] < before * 1.1:
                await asyncio.sleep(0.05)

    async def test_what_is_not_there_does_not_count(self, sidecar: Sidecar):
        first = (await ask(sidecar, "1", ADA)).json
        reply = await self.count(sidecar, BOB, input="2", previous_response_id=first["id"])
        assert_error(reply, 400, "previous_response_not_found")
        reply = await self.count(sidecar, BOB, input="2", conversation="a")
        assert_error(reply, 404, "conversation_not_found")
        assert_error(await self.count(sidecar, BOB, input=refer(*first["output"])), 404, "item_not_found")

    async def test_it_is_asked_by_post(self, sidecar: Sidecar):
        assert_error(await sidecar.send("GET", f"{RESPONSES}/input_tokens"), 404, "response_not_found")
