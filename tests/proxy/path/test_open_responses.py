"""What the acceptance suite of Open Responses asks of a server, in our own words: each case by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.responses import events_in, output, said
from tests.proxy.client import Reply, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Answer, Upstream, says, sends
from tests.proxy.path.test_responses_socket import connected

RESPONSES, COMPACT = "/v1/responses", "/v1/responses/compact"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
_NUMBER, _TEXT, _OR_NULL = (int, float), (str,), (type(None),)
#: Every member that a response has to have, and of which types it may be.
SHAPE: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "object", "status", "model", "truncation", "service_tier"), _TEXT),
    **dict.fromkeys(("created_at", "top_logprobs"), (int,)),
    **dict.fromkeys(("top_p", "temperature", "presence_penalty", "frequency_penalty"), _NUMBER),
    **dict.fromkeys(("output", "tools"), (list,)),
    **dict.fromkeys(("parallel_tool_calls", "store", "background"), (bool,)),
    **dict.fromkeys(("previous_response_id", "instructions"), _TEXT + _OR_NULL),
    **dict.fromkeys(("safety_identifier", "prompt_cache_key"), _TEXT + _OR_NULL),
    **dict.fromkeys(("completed_at", "max_output_tokens", "max_tool_calls"), (int, *_OR_NULL)),
    **dict.fromkeys(("incomplete_details", "error", "reasoning", "usage"), (dict, *_OR_NULL)),
    **dict.fromkeys(("text", "metadata"), (dict,)),
    "tool_choice": (str, dict),
}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses={"upstream": "translate"})


async def ask(sidecar: Sidecar, input: Any, **body: Any) -> Reply:
    data = json.dumps({"model": "m", "input": input, **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data)


def completed(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The output of a response that is as it has to be, and completed."""
    assert [name for name in SHAPE if name not in response] == []
    assert {name: response[name] for name, of in SHAPE.items() if not isinstance(response[name], of)} == {}
    assert (response["object"], response["status"], response["error"]) == ("response", "completed", None)
    assert response["truncation"] in ("auto", "disabled")
    usage = response["usage"]
    if usage is not None:
        assert {"input_tokens", "output_tokens", "total_tokens"} <= usage.keys()
        assert usage["input_tokens_details"].keys() == {"cached_tokens"}
        assert usage["output_tokens_details"].keys() == {"reasoning_tokens"}
    items: list[dict[str, Any]] = response["output"]
    assert all(each["id"] and each["status"] == "completed" for each in items)
    return items


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [part["text"] for each in items for part in each.get("content", ())]


def calls_weather() -> Answer:
    function = {"name": "get_weather", "arguments": '{"place":"Rome"}'}
    call = {"index": 0, "id": "c1", "type": "function", "function": function}
    return says(None, tool_calls=[call], finish="tool_calls")


class TestOverHttp:
    async def test_basic_response(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("Hello to you"))
        reply = await ask(sidecar, [said("user", "Greet me in three words.")])
        assert texts(completed(reply.json)) == ["Hello to you"]

    async def test_assistant_phase(self, sidecar: Sidecar, upstream: Upstream):
        """An answer, and what was said on the way to it: both are one message, which has no phase."""
        phases = [("commentary", "I remember."), ("final_answer", "Four.")]
        told = [{**said("assistant", text), "phase": phase} for phase, text in phases]
        reply = await ask(sidecar, [*told, said("user", "Once more.")])
        assert completed(reply.json)
        assert upstream.last.said == ["I remember.\n\nFour.", "Once more."]
        assert reply.headers["X-Sidecar-Untranslated"] == "phase"

    async def test_response_output_phase_schema(self, sidecar: Sidecar):
        """There it is about the suite's own schema: a message may say a phase, and need not."""
        (message,) = completed((await ask(sidecar, "hi")).json)
        assert (message["type"], message["role"], message.get("phase")) == ("message", "assistant", None)

    async def test_streaming_response(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("1 2 3 4 5"))
        reply = await ask(sidecar, "Count.", stream=True)
        events = events_in(reply.body)
        assert [each["type"] for each in events[:2]] == ["response.created", "response.in_progress"]
        assert texts(completed(events[-1]["response"])) == ["1 2 3 4 5"]

    async def test_system_prompt(self, sidecar: Sidecar, upstream: Upstream):
        rules = {"type": "message", "role": "system", "content": "You are a pirate."}
        assert completed((await ask(sidecar, [rules, said("user", "Hello.")])).json)
        assert [each["role"] for each in upstream.last.json["messages"]] == ["system", "user"]

    async def test_tool_calling(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(calls_weather())
        reply = await ask(sidecar, "The weather in Rome?", tools=[WEATHER])
        (call,) = completed(reply.json)
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "get_weather", "c1")
        assert json.loads(call["arguments"]) == {"place": "Rome"}
        assert reply.json["tools"] == [{**WEATHER, "strict": None}]

    async def test_image_input(self, sidecar: Sidecar, upstream: Upstream):
        parts = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": PIXEL},
        ]
        asks = {"type": "message", "role": "user", "content": parts}
        assert completed((await ask(sidecar, [asks])).json)
        (sent,) = upstream.last.json["messages"]
        assert sent["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL}}

    async def test_multi_turn(self, sidecar: Sidecar, upstream: Upstream):
        talk = [said("user", "I am Ada."), said("assistant", "Hello Ada."), said("user", "Who am I?")]
        assert completed((await ask(sidecar, talk)).json)
        assert upstream.last.said == ["I am Ada.", "Hello Ada.", "Who am I?"]

    async def test_compact_response(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("We launch on Tuesday."))
        talk = [said("user", "Launch on Tuesday?"), {"type": "web_search_call"}, said("assistant", "Yes.")]
        data = json.dumps({"model": "m", "input": talk, "prompt_cache_key": "k"}).encode()
        reply = await sidecar.send("POST", COMPACT, data=data, headers={"X-Conversation-ID": "a"})
        assert (reply.status, reply.json["object"]) == (200, "response.compaction")
        assert [each["type"] for each in reply.json["output"]] == ["message", "compaction"]
        assert reply.json["output"][0]["content"] == talk[0]["content"]
        assert reply.headers["X-Sidecar-Untranslated"] == "web_search_call"
        assert upstream.last.said[:2] == ["Launch on Tuesday?", "Yes."]
        assert upstream.last.json["prompt_cache_key"] == "k"
        assert await sidecar.stored() == []

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"input": "hi"}, "model"),
            ({"model": "m"}, "input"),
            ({"model": "m", "input": "hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        ],
    )
    async def test_compact_missing_model(
        self, sidecar: Sidecar, upstream: Upstream, body: dict[str, Any], param: str
    ):
        """Nor without what is to be summed up, nor of what is kept."""
        reply = await sidecar.send("POST", COMPACT, data=json.dumps(body).encode())
        assert (reply.status, reply.json["error"]["param"]) == (400, param)
        assert upstream.requests == []

    async def test_a_compaction_that_comes_to_nothing_is_an_error(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(
            sends(b'{"error":{"message":"busy"}}', status=429, headers={"Retry-After": "7"}), says("")
        )
        data = json.dumps({"model": "m", "input": "hi"}).encode()
        refused = await sidecar.send("POST", COMPACT, data=data)
        assert (refused.status, refused.json) == (429, {"error": {"message": "busy"}})
        assert refused.headers["Retry-After"] == "7"
        assert_error(await sidecar.send("POST", COMPACT, data=data), 502, "no_summary")


class TestOverAWebSocket:
    async def test_websocket_response(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("1 2 3"))
        async with connected(sidecar) as socket:
            assert texts(completed(await socket.ask("Count."))) == ["1 2 3"]

    async def test_websocket_sequential_responses(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("first"), says("second"))
        async with connected(sidecar) as socket:
            told = [texts(completed(await socket.ask(each, store=False))) for each in ("1", "2")]
        assert told == [["first"], ["second"]]
        assert upstream.last.said == ["2"]

    async def test_websocket_continuation(self, sidecar: Sidecar, upstream: Upstream):
        async with connected(sidecar) as socket:
            first = await socket.ask("Remember: cobalt.", store=False)
            second = await socket.ask("Which word?", store=False, previous_response_id=first["id"])
        assert completed(second)
        assert upstream.last.said == ["Remember: cobalt.", "ok", "Which word?"]

    async def test_websocket_reconnect_store_false_recovery(self, sidecar: Sidecar):
        async with connected(sidecar) as socket:
            first = await socket.ask("Remember: copper.", store=False)
        async with connected(sidecar) as socket:
            error = await socket.refused("Which?", store=False, previous_response_id=first["id"])
            assert error["code"] == "previous_response_not_found"
            assert completed(await socket.ask("Begin anew.", store=False))

    async def test_websocket_previous_response_not_found(self, sidecar: Sidecar, upstream: Upstream):
        async with connected(sidecar) as socket:
            error = await socket.refused("Go on.", store=False, previous_response_id="resp_missing")
        assert (error["status"], error["code"]) == (400, "previous_response_not_found")
        assert upstream.requests == []

    async def test_websocket_compact_new_chain(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("The word is slate."), says("slate"))
        talk = [said("user", "Remember: slate."), said("assistant", "OK.")]
        data = json.dumps({"model": "m", "input": talk}).encode()
        output = (await sidecar.send("POST", COMPACT, data=data)).json["output"]
        async with connected(sidecar) as socket:
            assert completed(await socket.ask([*output, said("user", "Which?")], store=False))
        first, summary, last = upstream.last.said
        assert (first, last) == ("Remember: slate.", "Which?")
        assert summary.endswith("The word is slate.")

    async def test_websocket_failed_continuation_evicts_cache(self, sidecar: Sidecar):
        async with connected(sidecar) as socket:
            first = await socket.ask("Remember: ember.", store=False)
            about = {"store": False, "previous_response_id": first["id"]}
            assert (await socket.refused([output("call_missing")], **about))["code"] == "invalid_request"
            assert (await socket.refused("Stale.", **about))["code"] == "previous_response_not_found"
