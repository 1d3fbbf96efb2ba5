"""The Responses API in front of an upstream that speaks Chat Completions alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from sidecar.dialects.responses.translation import Events
from sidecar.store import make_store
from tests.dialects.responses import call, chunk, events_in, output, piece, said, streamed
from tests.proxy.client import Reply, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.engine import Engine, groq
from tests.proxy.mock_upstream import CUT, Step, Upstream, event, says, sends, streams
from tests.proxy.store_lock import writing

RESPONSES = "/v1/responses"
TRANSLATED = {"upstream": "translate"}
THREAD = "01a22034-26f0-7d91-8dbe-af6c09da2970"
CODEX = {"thread-id": THREAD, "session-id": THREAD, "originator": "codex_exec"}
SHELL = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


async def ask(sidecar: Sidecar, input: Any, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
    data = json.dumps({"model": "m", "input": input, **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


def texts(response: dict[str, Any]) -> list[str]:
    return [part["text"] for item in response["output"] for part in item.get("content", ())]


def last(reply: Reply) -> dict[str, Any]:
    """The response at the end of a stream, held to the rules of all streams."""
    assert reply.headers["Content-Type"] == "text/event-stream"
    response: dict[str, Any] = events_in(reply.body)[-1]["response"]
    return response


def parts(*deltas: dict[str, Any], finish: str = "stop") -> list[Step]:
    return [streamed(*map(chunk, deltas), chunk(finish=finish))]


class TestWithoutTheSetting:
    async def test_a_request_goes_to_the_upstream_and_comes_back_as_it_is(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start()
        upstream.will(sends(b'{ "id": "resp_1" }'))
        data = b'{ "input": "hi", "previous_response_id": "resp_0" }'
        reply = await sidecar.send("POST", RESPONSES, data=data)
        assert (upstream.last.target, upstream.last.body) == (RESPONSES, data)
        assert reply.body == b'{ "id": "resp_1" }'
        assert await sidecar.stored() == []


class TestOneRequest:
    async def test_it_becomes_a_chat_and_its_answer_a_response(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("Hello."))
        reply = await ask(sidecar, "hi", {"Accept-Encoding": "gzip"}, instructions="Be brief.")
        assert upstream.last.target == "/v1/chat/completions"
        assert upstream.last.said == ["Be brief.", "hi"]
        assert upstream.last.headers["Accept-Encoding"] == "identity"
        assert reply.headers["Content-Type"] == "application/json"
        assert (reply.json["object"], reply.json["status"]) == ("response", "completed")
        assert texts(reply.json) == ["Hello."]
        assert (await sidecar.only()).texts == ["hi", "Hello."]

    async def test_a_stream_is_told_by_events(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("Hello to you"))
        reply = await ask(sidecar, "hi", stream=True)
        assert texts(last(reply)) == ["Hello to you"]
        deltas = [each["delta"] for each in events_in(reply.body) if each["type"].endswith("text.delta")]
        assert deltas == ["Hello", " to", " you"]
        assert (await sidecar.only()).texts == ["hi", "Hello to you"]

    async def test_its_id_is_that_of_its_exchange(self, sidecar: Sidecar):
        reply = await ask(sidecar, "hi")
        store = make_store(sidecar.settings.store_path)
        await store.open()
        try:
            (conversation,) = [each async for each in store.conversations()]
            (exchange,) = await store.exchanges(conversation.tenant, conversation.id)
        finally:
            await store.close()
        assert reply.json["id"].startswith(f"resp_{exchange.id.hex()}")
        assert exchange.detail.api == "responses"

    async def test_who_sees_the_end_finds_it_stored(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(*parts({"content": "Hello."}), 5.0))
        data = json.dumps({"input": "hi", "stream": True}).encode()
        async with sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            seen = b""
            while b"response.completed" not in seen:
                seen += await response.content.readany()
            assert (await sidecar.only()).texts == ["hi", "Hello."]

    async def test_what_was_left_out_is_named(self, sidecar: Sidecar, upstream: Upstream):
        reply = await ask(sidecar, "hi", tools=[{"type": "web_search"}, SHELL])
        assert reply.headers["X-Sidecar-Untranslated"] == "web_search"
        assert [each["function"]["name"] for each in upstream.last.json["tools"]] == ["shell"]


class TestAChat:
    async def test_a_client_that_sends_everything_goes_on_in_its_chat(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        """LangChain, openai-agents: no header, all items with the ids that they came with."""
        asks = [said("user", "Look.")]
        upstream.will(streams(*parts({"reasoning_content": "Hm."}, piece(0, "c1", "shell", '{"a":1}'))))
        first = last(await ask(sidecar, asks, tools=[SHELL], stream=True))
        items = [*asks, *first["output"], output("c1", "a.txt")]
        upstream.will(says("One file."))
        reply = await ask(sidecar, items, tools=[SHELL], stream=True)
        assert reply.outcome == "continue"
        assert [each["role"] for each in upstream.last.json["messages"]] == ["user", "assistant", "tool"]
        assert upstream.last.json["messages"][1]["reasoning_content"] == "Hm."
        stored = await sidecar.only()
        assert [each["message"]["role"] for each in stored.messages] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ]

    async def test_it_goes_on_over_the_other_api_and_back(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"), says("three"))
        id = {"X-Conversation-ID": "a"}
        await sidecar.ask("1", id="a")
        history = [said("user", "1"), said("assistant", "one")]
        over_responses = await ask(sidecar, [*history, said("user", "2")], id)
        over_chat = await sidecar.ask("1", "one", "2", "two", "3", id="a")
        assert [over_responses.outcome, over_chat.outcome] == ["continue", "continue"]
        assert (await sidecar.only()).branches == [["1", "one", "2", "two", "3", "three"]]

    async def test_a_client_may_send_what_is_new_alone(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), says("two"))
        id = {"X-Conversation-ID": "a"}
        await ask(sidecar, "1", id)
        reply = await ask(sidecar, "2", id)
        assert (reply.outcome, reply.headers["X-Sidecar-Restored"]) == ("append", "2")
        assert upstream.last.said == ["1", "one", "2"]

    async def test_instructions_belong_to_the_request_alone(self, sidecar: Sidecar, upstream: Upstream):
        """vllm #37727, sglang #23662"""
        id = {"X-Conversation-ID": "a"}
        await ask(sidecar, "1", id, instructions="Old.")
        reply = await ask(
            sidecar, [said("user", "1"), said("assistant", "ok"), said("user", "2")], id, instructions="New."
        )
        assert reply.outcome == "continue"
        assert [each["content"] for each in upstream.last.json["messages"]] == ["New.", "1", "ok", "2"]

    async def test_it_is_known_by_the_thread_that_codex_names(self, sidecar: Sidecar, upstream: Upstream):
        rules = [said("developer", "You are an agent.", "Sandbox: none."), said("user", "<cwd>/a</cwd>")]
        upstream.will(streams(*parts(piece(0, "c1", "shell", '{"cmd":"ls"}'))), says("Done."))
        about = {
            "stream": True,
            "store": False,
            "tools": [SHELL, {"type": "web_search"}],
            "prompt_cache_key": THREAD,
        }
        first = last(await ask(sidecar, [*rules, said("user", "List.")], CODEX, **about))
        ran = [*first["output"], output("c1", "a.txt", "function_call_output")]
        reply = await ask(sidecar, [*rules, said("user", "List."), *ran], CODEX, **about)
        assert (reply.outcome, reply.headers["X-Conversation-ID"]) == ("continue", THREAD)
        assert last(reply)["status"] == "completed"
        system = {"role": "system", "content": "You are an agent.\n\nSandbox: none."}
        assert upstream.last.json["messages"][0] == system
        assert (await sidecar.only()).key == THREAD

    async def test_a_header_for_chats_counts_more_than_codex_own(self, sidecar: Sidecar):
        reply = await ask(sidecar, "hi", {**CODEX, "X-Conversation-ID": "a"})
        assert reply.headers["X-Conversation-ID"] == "a"

    async def test_over_chat_completions_codex_headers_name_nothing(self, sidecar: Sidecar):
        reply = await sidecar.ask("hi", headers=CODEX)
        assert reply.headers["X-Conversation-ID"] != THREAD

    async def test_an_opaque_session_lets_no_name_of_codex_through(self, start: Start, upstream: Upstream):
        sidecar = await start(responses=TRANSLATED, session={"opaque": True})
        await ask(sidecar, "hi", CODEX)
        assert THREAD not in upstream.last.headers.values()

    async def test_a_compaction_of_codex_is_no_turn_of_it(self, sidecar: Sidecar, upstream: Upstream):
        about = {"x-codex-turn-metadata": '{"request_kind":"compaction"}'}
        upstream.will(says("In short."))
        reply = await ask(sidecar, "Sum it up.", CODEX, client_metadata=about, stream=True)
        assert (reply.outcome, texts(last(reply))) == ("task", ["In short."])
        assert await sidecar.stored() == []

    @pytest.mark.parametrize(
        ("headers", "outcome"),
        [
            ({"X-Task": "title", "X-Conversation-ID": "a"}, "task"),
            ({"X-Sidecar-History": "off"}, "bypass"),
            ({"X-Conversation-ID": "temporary:1"}, "bypass"),
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    async def test_what_is_not_kept_is_translated_all_the_same(
        self, sidecar: Sidecar, upstream: Upstream, headers: dict[str, str], outcome: str, stream: bool
    ):
        upstream.will(says("Hello."))
        reply = await ask(sidecar, "hi", headers, stream=stream)
        assert (reply.outcome, upstream.last.target) == (outcome, "/v1/chat/completions")
        assert texts(last(reply) if stream else reply.json) == ["Hello."]
        assert await sidecar.stored() == []

    async def test_nothing_is_kept_of_what_is_not_to_be_stored_and_has_no_name(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("Hello."))
        reply = await ask(sidecar, "hi", store=False)
        assert (reply.outcome, texts(reply.json)) == ("bypass", ["Hello."])
        assert await sidecar.stored() == []
        await ask(sidecar, "hi", {"X-Conversation-ID": "a"}, store=False)
        assert (await sidecar.only()).key == "a"

    async def test_another_key_finds_nothing_of_it(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #15757"""
        for key in ("ada", "bob"):
            await ask(sidecar, "hi", {"Authorization": f"Bearer {key}", "X-Conversation-ID": "a"})
        assert upstream.last.said == ["hi"]
        assert len(await sidecar.stored()) == 2

    async def test_it_is_trimmed_as_any_other(self, start: Start, upstream: Upstream):
        sidecar = await start(responses=TRANSLATED, trim={"max_turns": 1, "keep_first_turn": False})
        items = [said("user", "1"), said("assistant", "one"), said("user", "2")]
        reply = await ask(sidecar, items, {"X-Conversation-ID": "a"})
        assert (reply.headers["X-Sidecar-Trimmed"], upstream.last.said) == ("2", ["2"])

    async def test_nothing_is_cut_of_one_that_forbids_it(self, start: Start, upstream: Upstream):
        trim = {"max_turns": 1, "keep_first_turn": False}
        sidecar = await start(responses=TRANSLATED, trim=trim)
        items = [said("user", "1"), said("assistant", "one"), said("user", "2")]
        reply = await ask(sidecar, items, {"X-Conversation-ID": "a"}, truncation="disabled")
        assert (reply.json["truncation"], upstream.last.said) == ("disabled", ["1", "one", "2"])

    @pytest.mark.parametrize("stream", [True, False])
    async def test_one_that_forbids_it_is_told_that_it_is_too_long(
        self, sidecar: Sidecar, upstream: Upstream, stream: bool
    ):
        upstream.otherwise = Engine(1500, groq)
        items = [said("assistant" if at % 2 else "user", f"{at} " + "word " * 80) for at in range(41)]
        about = {"truncation": "disabled", "stream": stream, "max_output_tokens": 100}
        reply = await ask(sidecar, items, {"X-Conversation-ID": "a"}, **about)
        assert_error(reply, 400, "context_length_exceeded", type="invalid_request_error")
        assert len(upstream.requests) == 1

    async def test_an_agent_that_asks_for_it_is_cut(self, sidecar: Sidecar, upstream: Upstream):
        """Codex, which compacts by itself, does not."""
        upstream.otherwise = Engine(1500, groq)
        items = [said("assistant" if at % 2 else "user", f"{at} " + "word " * 80) for at in range(41)]
        reply = await ask(sidecar, items, CODEX, max_output_tokens=100, truncation="auto")
        assert (reply.status, reply.json["truncation"]) == (200, "auto")
        assert int(reply.headers["X-Sidecar-Healed"]) >= 1

    async def test_a_refusal_for_length_heals_as_any_other(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = Engine(1500, groq)
        items = [said("assistant" if at % 2 else "user", f"{at} " + "word " * 80) for at in range(41)]
        reply = await ask(sidecar, items, {"X-Conversation-ID": "a"}, max_output_tokens=100, stream=True)
        assert int(reply.headers["X-Sidecar-Healed"]) >= 1
        assert last(reply)["status"] == "completed"


class TestResultsAlone:
    """As over chat completions: a header names the chat that holds their calls."""

    CALLS = parts(piece(0, "c1", "shell", '{"a": 1}'), finish="tool_calls")
    NAMED: Mapping[str, str] = {"X-Conversation-ID": "a"}

    @pytest.mark.parametrize("headers", [{}, {"X-Sidecar-History": "append"}])
    @pytest.mark.parametrize("over", ["responses", "chat"])
    async def test_they_stand_behind_their_calls(
        self, sidecar: Sidecar, upstream: Upstream, headers: dict[str, str], over: str
    ):
        upstream.will(streams(*self.CALLS), sends(b"{}", status=500), says("One file."))
        if over == "responses":
            await ask(sidecar, "Look.", self.NAMED, tools=[SHELL], stream=True)
        else:
            await sidecar.ask("Look.", id="a", stream=True)
        for status in (500, 200):
            reply = await ask(sidecar, [output("c1", "a.txt")], {**self.NAMED, **headers}, tools=[SHELL])
            assert reply.status == status
            question, made, result = upstream.last.json["messages"]
            assert (question["content"], made["tool_calls"][0]["id"]) == ("Look.", "c1")
            assert (result["tool_call_id"], result["content"]) == ("c1", "a.txt")
        assert texts(reply.json) == ["One file."]
        await ask(sidecar, "And?", self.NAMED, tools=[SHELL])
        assert [each["role"] for each in upstream.last.json["messages"]] == [
            *("user", "assistant", "tool", "assistant", "user")
        ]
        assert len((await sidecar.only()).branches) == 1

    async def test_they_come_with_more_and_with_references(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(*self.CALLS), says("One file."))
        await ask(sidecar, "Look.", self.NAMED, tools=[SHELL], stream=True)
        (item,) = (await ask(sidecar, "1")).json["output"]
        reference = {"type": "item_reference", "id": item["id"]}
        items = [said("system", "Be brief."), output("c1", "a.txt"), reference, said("user", "And?")]
        headers = {**self.NAMED, "X-Sidecar-History": "append"}
        assert (await ask(sidecar, items, headers, tools=[SHELL])).status == 200
        assert [each["role"] for each in upstream.last.json["messages"]] == [
            *("system", "user", "assistant", "tool", "assistant", "user")
        ]

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"X-Conversation-ID": "never"},
            {"X-Conversation-ID": "a", "X-Sidecar-History": "off"},
            {"X-Conversation-ID": "a", "X-Sidecar-History": "full"},
            {"X-Conversation-ID": "local:1"},
            {"X-Conversation-ID": "a", "X-Sidecar-Task": "title"},
            {"X-Conversation-ID": "a", "Authorization": "Bearer bob"},
            CODEX,
        ],
    )
    async def test_where_nothing_stored_holds_their_calls_they_are_refused(
        self, start: Start, upstream: Upstream, headers: dict[str, str]
    ):
        sidecar = await start(responses=TRANSLATED, tasks={"header": "X-Sidecar-Task"})
        upstream.will(streams(*self.CALLS))
        await ask(sidecar, "Look.", self.NAMED, tools=[SHELL], stream=True)
        assert_error(await ask(sidecar, [output("c1")], headers), 400, "invalid_request")
        assert_error(await ask(sidecar, [output("c9")], self.NAMED), 400, "invalid_request")
        assert len(upstream.requests) == 1


class TestGoingOnFromAResponse:
    async def test_what_was_said_stands_before_what_is_new(self, sidecar: Sidecar, upstream: Upstream):
        """LM Studio #1188, litellm #28587, #37956: also after a stream, and at once"""
        upstream.will(says("one"), says("two"), says("three"))
        first = last(await ask(sidecar, "1", stream=True))
        second = (await ask(sidecar, "2", previous_response_id=first["id"], store=True)).json
        reply = await ask(sidecar, "3", previous_response_id=second["id"], instructions="Be brief.")
        assert upstream.last.said == ["Be brief.", "1", "one", "2", "two", "3"]
        assert (reply.outcome, reply.headers["X-Sidecar-Restored"]) == ("append", "4")
        assert (reply.json["previous_response_id"], reply.json["store"]) == (second["id"], True)
        assert (await sidecar.only()).branches == [["1", "one", "2", "two", "3", "three"]]

    async def test_a_client_that_sends_all_of_it_all_the_same_does_not_get_it_twice(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        """hermes-agent #68257, #95137: the history doubled with each turn"""
        items, about = [said("developer", "Be kind."), said("user", "1")], dict[str, Any]()
        for at in range(2, 5):
            response = (await ask(sidecar, items, instructions="Be brief.", **about)).json
            items += [*response["output"], said("user", str(at))]
            about = {"previous_response_id": response["id"]}
        assert upstream.last.said == ["Be brief.\n\nBe kind.", "1", "ok", "2", "ok", "3"]
        assert (await sidecar.only()).branches == [["1", "ok", "2", "ok", "3", "ok"]]

    async def test_an_id_of_another_kind_leads_nowhere(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #26167, LibreChat #13300: looked up as what it is not"""
        first = (await ask(sidecar, "1", {"X-Conversation-ID": "a"})).json
        for id in ("chatcmpl-1", "a", first["output"][0]["id"], first["id"].removeprefix("resp_")):
            reply = await ask(sidecar, "2", previous_response_id=id)
            assert_error(reply, 400, "previous_response_not_found")
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_response_is_gone_on_from_by_the_id_that_it_began_with(
        self, sidecar: Sidecar, upstream: Upstream, stream: bool
    ):
        """openai-ruby #214"""
        reply = await ask(sidecar, "1", stream=stream)
        told = events_in(reply.body) if stream else [{"response": reply.json}]
        (id,) = {each["response"]["id"] for each in told if "response" in each}
        await ask(sidecar, "2", previous_response_id=id)
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_instructions_are_not_carried(self, sidecar: Sidecar, upstream: Upstream):
        """vllm #37727"""
        first = (await ask(sidecar, "1", instructions="Old.")).json
        await ask(sidecar, "2", previous_response_id=first["id"])
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_system_items_are_carried_through_the_chain(self, sidecar: Sidecar, upstream: Upstream):
        """vllm #37727: its mend drops them with the instructions"""
        first = await ask(
            sidecar, [said("developer", "You are Ada."), said("user", "1")], instructions="Old."
        )
        second = await ask(sidecar, "2", previous_response_id=first.json["id"])
        assert upstream.last.said == ["You are Ada.", "1", "ok", "2"]
        more = [said("system", "Be kind."), said("user", "3")]
        third = await ask(sidecar, more, previous_response_id=second.json["id"], instructions="New.")
        assert upstream.last.said[1:] == ["1", "ok", "2", "ok", "3"]
        assert sorted(upstream.last.said[0].split("\n\n")) == ["Be kind.", "New.", "You are Ada."]
        await ask(sidecar, "4", previous_response_id=third.json["id"])
        assert upstream.last.said[0] == "You are Ada.\n\nBe kind."
        assert [each["role"] for each in upstream.last.json["messages"]][:2] == ["system", "user"]

    async def test_any_response_may_be_gone_on_from_and_more_than_once(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("one"), says("two"), says("three"))
        first = (await ask(sidecar, "1")).json
        await ask(sidecar, "2", previous_response_id=first["id"])
        await ask(sidecar, "3", previous_response_id=first["id"])
        assert upstream.last.said == ["1", "one", "3"]
        assert (await sidecar.only()).branches == [["1", "one", "2", "two"], ["1", "one", "3", "three"]]

    async def test_two_that_go_on_from_it_at_once_wait_for_nothing(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        first = (await ask(sidecar, "1")).json
        gate = asyncio.Event()
        upstream.will(streams(gate, *parts({"content": "two"})), says("three"))
        slow = asyncio.create_task(ask(sidecar, "2", previous_response_id=first["id"], stream=True))
        async with asyncio.timeout(5):
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.01)
        reply = await asyncio.wait_for(ask(sidecar, "3", previous_response_id=first["id"]), 5)
        assert (texts(reply.json), slow.done()) == (["three"], False)
        gate.set()
        assert texts(last(await slow)) == ["two"]
        branches = (await sidecar.only()).branches
        assert sorted(branches) == [["1", "ok", "2", "two"], ["1", "ok", "3", "three"]]

    async def test_it_waits_until_the_response_is_stored(self, start: Start, upstream: Upstream):
        sidecar = await start(responses=TRANSLATED, history={"commit": "after_end"})
        with writing(sidecar):
            first = (await ask(sidecar, "1")).json
            asked = asyncio.create_task(ask(sidecar, "2", previous_response_id=first["id"]))
            await asyncio.wait((asked,), timeout=0.1)
        assert (await asked).status == 200
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_that_of_another_chat_than_a_header_names_is_refused(self, sidecar: Sidecar):
        first = (await ask(sidecar, "1", {"X-Conversation-ID": "a"})).json
        reply = await ask(sidecar, "2", {"X-Conversation-ID": "b"}, previous_response_id=first["id"])
        assert assert_error(reply, 400, "unsupported_value")["param"] == "previous_response_id"
        assert (await sidecar.only()).texts == ["1", "ok"]

    @pytest.mark.parametrize("repeated", [False, True])
    async def test_results_find_their_calls(self, sidecar: Sidecar, upstream: Upstream, repeated: bool):
        """vllm #43244; open-webui #27096, #29630: the call may be told once more"""
        upstream.will(streams(*parts(piece(0, "c1", "shell", '{"a": 1}'))), says("Done."), says("ok"))
        first = last(await ask(sidecar, "Look.", tools=[SHELL], stream=True))
        told = [call("c1", "shell", '{"a": 1}')] if repeated else []
        items = [*told, output("c1", "a.txt")]
        second = await ask(sidecar, items, tools=[SHELL], previous_response_id=first["id"])
        roles = [each["role"] for each in upstream.last.json["messages"]]
        assert (roles, texts(second.json)) == (["user", "assistant", "tool"], ["Done."])
        await ask(sidecar, "Go on.", tools=[SHELL], previous_response_id=second.json["id"])
        roles = [each["role"] for each in upstream.last.json["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]
        (branch,) = (await sidecar.only()).branches
        assert len(branch) == 6

    async def test_a_call_that_nobody_carried_out_is_not_lost(self, sidecar: Sidecar, upstream: Upstream):
        """Neither where a client goes on by the id, nor where it then sends all of it."""
        two = piece(0, "c1", "shell", '{"a": 1}'), piece(1, "c2", "shell", '{"a": 2}')
        upstream.will(streams(*parts({"content": "Let me see."}, *two)), says("Well."), says("ok"))
        first = last(await ask(sidecar, "Look.", tools=[SHELL], stream=True))
        items = [output("c2", "b.txt"), said("user", "Never mind.")]
        second = await ask(sidecar, items, tools=[SHELL], previous_response_id=first["id"])
        sent = upstream.last.json["messages"]
        assert [each["role"] for each in sent] == ["user", "assistant", "tool", "tool", "user"]
        assert [each["id"] for each in sent[1]["tool_calls"]] == ["c1", "c2"]
        assert [(each["tool_call_id"], each["content"]) for each in sent[2:4]] == [
            ("c1", "aborted"),
            ("c2", "b.txt"),
        ]
        whole = [
            said("user", "Look."),
            *first["output"],
            *items,
            *second.json["output"],
            said("user", "Go on."),
        ]
        reply = await ask(sidecar, whole, tools=[SHELL])
        assert reply.outcome == "continue"
        (branch,) = (await sidecar.only()).branches
        assert len(branch) == 8

    async def test_words_behind_a_call_leave_it_in_the_history(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(*parts(piece(0, "c1", "shell", '{"a": 1}'))), says("Well."), says("ok"))
        first = last(await ask(sidecar, "Look.", tools=[SHELL], stream=True))
        second = await ask(sidecar, "Never mind.", tools=[SHELL], previous_response_id=first["id"])
        assert upstream.last.said == ["Look.", 'shell({"a": 1}): aborted', "Never mind."]
        before = upstream.last.json["messages"]
        await ask(sidecar, "Go on.", tools=[SHELL], previous_response_id=second.json["id"])
        assert upstream.last.json["messages"][:3] == before

    @pytest.mark.parametrize("way", ["whole", "response", "conversation", "header"])
    @pytest.mark.parametrize(
        "calls",
        [
            pytest.param(
                [piece(0, "c1", "shell", '{"a": 1}'), piece(1, "c1", "shell", '{"a": 2}')], id="of one id"
            ),
            pytest.param(
                [piece(0, "", "shell", '{"a": 1}'), piece(1, "", "shell", '{"a": 2}')], id="without ids"
            ),
        ],
    )
    async def test_calls_that_share_an_id_or_have_none_are_as_many_and_find_their_results(
        self, sidecar: Sidecar, upstream: Upstream, calls: list[dict[str, Any]], way: str
    ):
        upstream.will(streams(*parts(*calls)), says("Both."), says("ok"))
        made = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json
        goes_on = {"conversation": made["id"]} if way == "conversation" else {}
        named = {"X-Conversation-ID": "a"} if way == "header" else None
        first = last(await ask(sidecar, "Look.", named, tools=[SHELL], stream=True, **goes_on))
        ids = [each["call_id"] for each in first["output"]]
        assert len(set(ids)) == 2
        results = [output(ids[0], "one"), output(ids[1], "two")]
        if way == "whole":
            results = [said("user", "Look."), *first["output"], *results]
        elif way == "response":
            goes_on = {"previous_response_id": first["id"]}
        reply = await ask(sidecar, results, named, tools=[SHELL], **goes_on)
        assert reply.outcome == ("continue" if way == "whole" else "append")
        _, made, *told = upstream.last.json["messages"]
        pairs = {each["tool_call_id"]: each["content"] for each in told}
        assert [
            (json.loads(each["function"]["arguments"])["a"], pairs[each["id"]]) for each in made["tool_calls"]
        ] == [(1, "one"), (2, "two")]

    async def test_calls_without_ids_have_some_as_items_whatever_api_they_were_told_over(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(streams(*parts(piece(0, "", "shell", '{"a": 1}'))))
        await sidecar.ask("Look.", id="a", stream=True)
        listed = (await sidecar.send("GET", "/v1/conversations/a/items")).json["data"]
        reply = await ask(sidecar, [output(listed[0]["call_id"], "one")], tools=[SHELL], conversation="a")
        assert reply.outcome == "append"
        assert upstream.last.json["messages"][-1]["content"] == "one"

    async def test_a_result_of_a_call_that_nobody_made_is_refused(self, sidecar: Sidecar):
        first = (await ask(sidecar, "1")).json
        reply = await ask(sidecar, [output("c9")], previous_response_id=first["id"])
        error = assert_error(reply, 400, "invalid_request")
        assert error["message"] == "No tool call found for function call output with call_id c9."

    async def test_that_of_another_tenant_is_as_unknown_as_any(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #15757, #39548"""
        ada, bob = ({"Authorization": f"Bearer {key}"} for key in ("ada", "bob"))
        first = (await ask(sidecar, "1", ada)).json
        never = "resp_" + "0" * 20 + first["id"][25:]
        for headers, id in ((bob, first["id"]), (ada, never), (ada, first["id"][:-1] + "x")):
            reply = await ask(sidecar, "2", headers, previous_response_id=id)
            assert assert_error(reply, 400, "previous_response_not_found")["param"] == "previous_response_id"
        assert len(upstream.requests) == 1

    async def test_it_is_found_by_a_sidecar_that_starts_anew(self, start: Start, upstream: Upstream):
        first = (await ask(await start(responses=TRANSLATED), "1")).json
        reply = await ask(await start(responses=TRANSLATED), "2", previous_response_id=first["id"])
        assert (reply.status, upstream.last.said) == (200, ["1", "ok", "2"])

    async def test_one_in_a_chat_with_a_name_goes_on_in_it(self, sidecar: Sidecar, upstream: Upstream):
        """hermes-agent #39258"""
        id = {"X-Conversation-ID": "a"}
        await sidecar.ask("1", id="a")
        first = (await ask(sidecar, [said("user", "1"), said("assistant", "ok"), said("user", "2")], id)).json
        await ask(sidecar, "3", id, previous_response_id=first["id"])
        assert upstream.last.said == ["1", "ok", "2", "ok", "3"]
        reply = await sidecar.ask("1", "ok", "2", "ok", "3", "ok", "4", id="a")
        assert reply.outcome == "continue"
        assert (await sidecar.only()).branches == [["1", "ok", "2", "ok", "3", "ok", "4", "ok"]]

    async def test_a_temporary_chat_goes_on_from_nothing_that_is_kept(self, sidecar: Sidecar):
        first = (await ask(sidecar, "1")).json
        reply = await ask(sidecar, "2", {"X-Conversation-ID": "local:1"}, previous_response_id=first["id"])
        assert_error(reply, 400, "unsupported_value")

    async def test_it_is_healed_as_any_other(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = Engine(1500, groq)
        response = (await ask(sidecar, "word " * 300, max_output_tokens=50)).json
        healed = 0
        for at in range(5):
            question = f"{at} " + "word " * 200
            reply = await ask(sidecar, question, previous_response_id=response["id"], max_output_tokens=50)
            response = reply.json
            assert reply.status == 200, reply.body
            healed += any(name in reply.headers for name in ("X-Sidecar-Healed", "X-Sidecar-Trimmed"))
        assert healed

    async def test_one_that_failed_is_gone_on_from_by_nobody(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(CUT))
        failed = last(await ask(sidecar, "1", stream=True))
        reply = await ask(sidecar, "2", previous_response_id=failed["id"])
        assert_error(reply, 400, "previous_response_not_found")


class TestWhatGoesWrong:
    async def test_an_upstream_that_breaks_off_is_a_response_that_failed(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(streams(event({"content": "Hel"}), CUT))
        reply = await ask(sidecar, "hi", stream=True)
        response = last(reply)
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        assert texts(response) == ["Hel"]
        assert (await sidecar.only()).texts == ["hi", "Hel (failed)"]

    @pytest.mark.parametrize("headers", [{}, {"X-Sidecar-History": "off"}])
    async def test_so_it_is_for_a_client_of_no_stream(
        self, sidecar: Sidecar, upstream: Upstream, headers: dict[str, str]
    ):
        upstream.will(streams(event({"content": "Hel"}), CUT))
        reply = await ask(sidecar, "hi", headers)
        assert (reply.status, reply.json["status"]) == (200, "failed")

    async def test_an_error_before_the_first_byte_is_one_of_http(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(sends(b"<h1>no</h1>", status=418, headers={"Content-Type": "text/html"}))
        reply = await ask(sidecar, "hi", stream=True)
        assert reply.headers["Content-Type"] == "application/json"
        assert (reply.status, reply.json["error"]["message"]) == (418, "<h1>no</h1>")
        assert await sidecar.stored() == []

    async def test_codex_is_told_of_a_prompt_that_is_too_long_in_its_words(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.otherwise = Engine(100, groq)
        reply = await ask(sidecar, "word " * 500, CODEX, stream=True)
        assert (reply.status, reply.json["error"]["code"]) == (400, "context_length_exceeded")
        assert len(upstream.requests) == 1

    async def test_while_the_upstream_reads_a_client_gets_signs_of_life(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(Events, "patience", 0.05)
        gate, told = asyncio.Event(), b""
        upstream.will(streams(gate, *parts({"content": "Hello."})))
        data = json.dumps({"model": "m", "input": "hi", "stream": True}).encode()
        async with asyncio.timeout(20), sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            async for piece in response.content.iter_any():
                told += piece
                if told.count(b"event: response.in_progress\n") >= 3:
                    gate.set()
        kinds = [each["type"] for each in events_in(told)]
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        assert (await sidecar.only()).texts == ["hi", "Hello."]

    async def test_an_upstream_that_is_silent_for_too_long_has_failed(self, start: Start, upstream: Upstream):
        sidecar = await start(responses=TRANSLATED, timeouts={"idle": 0.2, "shutdown": 0.2})
        upstream.will(streams(event({"content": "Hel"}), 5.0))
        assert last(await ask(sidecar, "hi", stream=True))["status"] == "failed"

    @pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
    async def test_a_client_that_leaves_is_no_loss(
        self, start: Start, upstream: Upstream, on_disconnect: str
    ):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": on_disconnect})
        gate = asyncio.Event()
        upstream.will(streams(event({"content": "Hel"}), gate, *parts({"content": "lo"})))
        data = json.dumps({"input": "hi", "stream": True}).encode()
        async with sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            await response.content.readany()
        if on_disconnect == "cancel":
            await asyncio.wait_for(upstream.last.gone.wait(), 5)
        gate.set()
        kept = "Hel (partial)" if on_disconnect == "cancel" else "Hello"
        async with asyncio.timeout(5):
            while not (stored := await sidecar.stored()) or stored[0].texts != ["hi", kept]:
                await asyncio.sleep(0.02)

    @pytest.mark.parametrize("data", [b"", b"{x", b"[]", b"[" * 100_000])
    async def test_what_is_no_json_is_the_clients_mistake(
        self, sidecar: Sidecar, upstream: Upstream, data: bytes
    ):
        assert_error(await sidecar.send("POST", RESPONSES, data=data), 400, "invalid_json")
        assert not upstream.requests

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ],
    )
    async def test_what_needs_state_is_refused_and_reaches_no_upstream(
        self, sidecar: Sidecar, upstream: Upstream, body: dict[str, Any], param: str
    ):
        reply = await ask(sidecar, **{"input": "hi", **body})
        assert reply.json["error"]["param"] == param
        assert_error(reply, 400, reply.json["error"]["code"], type="invalid_request_error")
        assert upstream.requests == []

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/v1/responses/resp_1/cancel"),
            ("GET", "/v1/responses"),
        ],
    )
    async def test_so_are_all_other_calls_of_the_api(
        self, sidecar: Sidecar, upstream: Upstream, method: str, path: str
    ):
        assert_error(await sidecar.send(method, path), 400, "unsupported_endpoint")
        assert upstream.requests == []

    async def test_other_paths_pass_through(self, sidecar: Sidecar, upstream: Upstream):
        await sidecar.send("GET", "/v1/models")
        assert upstream.last.target == "/v1/models"

    async def test_a_call_without_its_result_has_one(self, sidecar: Sidecar, upstream: Upstream):
        await ask(sidecar, [said("user", "a"), call("1"), said("user", "b")])
        assert [each["role"] for each in upstream.last.json["messages"]] == [
            "user",
            "assistant",
            "tool",
            "user",
        ]
