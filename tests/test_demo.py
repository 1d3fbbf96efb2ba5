"""The demo upstream: a real server, spoken to as a client would."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import struct

import pytest
from aiohttp import ClientSession

from sidecar.server.demo import answer, called, start_demo

HELLO = [{"role": "user", "content": "Hello"}]
WARM = [{"role": "user", "content": "What is the Temperature in Rome?"}]
TEMPERATURE = {
    "name": "temperature",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["city", "days"],
    },
}
TOOLS = [{"type": "function", "function": {"name": "look"}}, {"type": "function", "function": TEMPERATURE}]


@pytest.fixture
async def base():
    runner, url = await start_demo()
    yield url
    await runner.cleanup()


@pytest.fixture
async def http():
    async with ClientSession() as session:
        yield session


async def ask(http, base, body):
    async with http.post(f"{base}/chat/completions", json=body) as response:
        assert response.status == 200
        return await response.json()


async def events(http, base, **body):
    async with http.post(
        f"{base}/chat/completions", json={"messages": HELLO, "stream": True, **body}
    ) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = await response.text()
    *lines, end = text.split("\n\n")
    assert end == ""
    return [line.removeprefix("data: ") for line in lines]


async def error_of(response):
    assert response.content_type == "application/json"
    error = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


class TestTheSentence:
    def test_quotes_the_first_and_the_last_of_several_messages(self):
        messages = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "And\nnow?"},
        ]
        assert answer(messages) == "I see 3 messages; the first says “Hello”, the last says “And now?”."

    def test_of_one_message_quotes_that_one(self):
        assert answer(HELLO) == "I see 1 message; it says “Hello”."

    def test_names_the_system_message_apart(self):
        system = {"role": "system", "content": "Be brief."}
        assert answer([system, *HELLO]) == (
            "I see a system message that says “Be brief.” and 1 message; it says “Hello”."
        )
        assert answer([system]) == "I see a system message that says “Be brief.” and no messages."
        assert answer([system, {"role": "developer", "content": "x"}, *HELLO]).startswith(
            "I see 2 system messages, the first of which says “Be brief.” and 1 message;"
        )

    def test_cuts_a_long_text_at_sixty_characters(self):
        said = answer([{"role": "user", "content": "word " * 100}])
        assert said == f"I see 1 message; it says “{('word ' * 12).strip()[:59]}…”."

    @pytest.mark.parametrize(
        ("message", "quoted"),
        [
            (
                {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url"}]},
                "See [image_url]",
            ),
            ({"role": "user", "content": [{}, {"a": 1}, "bare", 5]}, "[something] bare 5"),
            (
                {"role": "assistant", "tool_calls": [{"function": {"name": "clock"}}, 3]},
                "[calls clock] [calls something]",
            ),
            ({"role": "assistant", "content": None, "tool_calls": "odd"}, ""),
            ({"role": 5, "content": {"text": "inside"}}, "inside"),
            ("no object", '"no object"'),
            (None, "null"),
        ],
    )
    def test_says_something_about_any_message(self, message, quoted):
        assert answer([message]) == f"I see 1 message; it says “{quoted}”."


class TestATool:
    def test_is_called_where_the_question_says_its_name(self):
        (call,) = called(WARM, TOOLS)
        assert call["function"] == {"name": "temperature", "arguments": '{"city": "Rome"}'}
        assert call["id"].startswith("call_")
        (without,) = called([{"role": "user", "content": "look!"}], TOOLS)
        assert without["function"]["arguments"] == "{}"

    async def test_is_called_with_all_others_that_the_question_names(self, http, base):
        both = [{"role": "user", "content": "First look, then the temperature in Rome"}]
        body = {"messages": both, "tools": TOOLS}
        calls = (await ask(http, base, body))["choices"][0]["message"]["tool_calls"]
        assert [each["function"]["name"] for each in calls] == ["look", "temperature"]
        assert len({each["id"] for each in calls}) == 2
        chunks = [json.loads(each) for each in (await events(http, base, **body))[:-1]]
        streamed = [each for chunk in chunks for each in chunk["choices"][0]["delta"].get("tool_calls", ())]
        told = [(each["index"], each["function"]["name"]) for each in streamed]
        assert told == [(0, "look"), (1, "temperature")]

    async def test_is_called_alone_for_a_client_that_takes_one_call_at_a_time(self, http, base):
        both = [{"role": "user", "content": "First look, then the temperature in Rome"}]
        body = await ask(http, base, {"messages": both, "tools": TOOLS, "parallel_tool_calls": False})
        (call,) = body["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "look"

    def test_is_not_called_again_with_its_result_at_hand(self):
        result = {"role": "tool", "tool_call_id": "call_1", "content": "temperature: 21"}
        assert called([*WARM, result], TOOLS) == []

    @pytest.mark.parametrize("said", ["Hello", "temperatures", "", None, [{"type": "image_url"}]])
    def test_is_not_called_where_it_is_not_asked_for(self, said):
        assert called([{"role": "user", "content": said}], TOOLS) == []

    @pytest.mark.parametrize(
        "tools",
        [None, {}, [1], [{}], [{"function": 1}], [{"function": {}}], [{"function": {"name": 1}}]],
    )
    def test_that_is_none_is_not_called(self, tools):
        assert called(WARM, tools) == []

    @pytest.mark.parametrize(
        "parameters",
        [
            None,
            1,
            {},
            {"required": ["a"]},
            {"required": 1, "properties": {}},
            {"required": [[]], "properties": {}},
        ],
    )
    def test_that_is_described_in_another_way_is_called_without_arguments(self, parameters):
        (call,) = called(WARM, [{"function": {"name": "temperature", "parameters": parameters}}])
        assert call["function"]["arguments"] == "{}"

    async def test_goes_and_comes_back_in_one_piece(self, http, base):
        body = await ask(http, base, {"messages": WARM, "tools": TOOLS})
        (choice,) = body["choices"]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
        (call,) = choice["message"]["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": "21 degrees"}
        body = await ask(http, base, {"messages": [*WARM, choice["message"], result], "tools": TOOLS})
        assert body["choices"][0]["message"]["content"] == (
            "I see 3 messages; the first says “What is the Temperature in Rome?”, the last says “21 degrees”."
        )

    async def test_is_called_in_a_stream(self, http, base):
        *chunks, done = await events(http, base, messages=WARM, tools=TOOLS)
        first, made, last = (json.loads(each)["choices"][0] for each in chunks)
        assert done == "[DONE]"
        assert first["delta"] == {"role": "assistant", "content": None}
        (call,) = made["delta"]["tool_calls"]
        assert (call["index"], call["function"]["name"]) == (0, "temperature")
        assert last["finish_reason"] == "tool_calls"


class TestChatCompletions:
    async def test_answers_in_one_piece(self, http, base):
        reply = await ask(http, base, {"model": "gpt-x", "messages": HELLO})
        assert reply["object"] == "chat.completion"
        assert reply["model"] == "gpt-x"
        (choice,) = reply["choices"]
        assert choice["message"] == {"role": "assistant", "content": "I see 1 message; it says “Hello”."}
        assert choice["finish_reason"] == "stop"
        usage = reply["usage"]
        assert usage["prompt_tokens"] == len(json.dumps(HELLO[0])) // 4
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    async def test_streams_word_by_word(self, http, base):
        *chunks, done = await events(http, base)
        assert done == "[DONE]"
        parsed = [json.loads(chunk) for chunk in chunks]
        assert {chunk["object"] for chunk in parsed} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in parsed}) == 1
        choices = [chunk["choices"][0] for chunk in parsed]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["delta"]["content"] for choice in choices[1:-1]] == [
            "I ", "see ", "1 ", "message; ", "it ", "says ", "“Hello”.",
        ]  # fmt: skip
        assert [choice["finish_reason"] for choice in choices] == [None] * 8 + ["stop"]
        assert all("usage" not in chunk for chunk in parsed)

    async def test_the_words_come_one_after_another(self, http, base):
        moments = []
        async with http.post(
            f"{base}/chat/completions", json={"messages": HELLO, "stream": True}
        ) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    moments.append(asyncio.get_running_loop().time())
        # Eight pauses of 0.02 s; a busy machine may see the first words late and together.
        assert moments[-1] - moments[0] > 0.04

    async def test_the_last_chunk_has_the_usage_where_it_was_asked_for(self, http, base):
        *chunks, last, done = await events(http, base, stream_options={"include_usage": True})
        assert done == "[DONE]"
        assert json.loads(last)["choices"] == []
        assert json.loads(last)["usage"]["prompt_tokens"] > 0
        assert all(json.loads(chunk)["usage"] is None for chunk in chunks)

    async def test_letters_are_sent_as_letters(self, http, base):
        chunks = await events(http, base, messages=[{"role": "user", "content": "Grüße"}])
        assert "“Grüße”." in "".join(chunks)

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000 + b"]" * 100_000])
    async def test_a_body_that_is_no_json_object_is_refused(self, http, base, body):
        async with http.post(f"{base}/chat/completions", data=body) as response:
            assert response.status == 400
            assert (await error_of(response))["code"] == "invalid_request"

    @pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": "Hello"}, {"messages": None}])
    async def test_messages_that_are_none_are_refused(self, http, base, body):
        async with http.post(f"{base}/chat/completions", json=body) as response:
            assert response.status == 400
            assert (await error_of(response))["param"] == "messages"

    async def test_odd_members_are_put_up_with(self, http, base, caplog):
        body = {
            "messages": [1, {"role": [], "content": "\ud800"}],
            "model": 5,
            "stream": "yes",
            "stream_options": 1,
        }
        reply = await ask(http, base, body)
        assert reply["model"] == "demo"
        assert "the first says “1”, the last says “?”" in reply["choices"][0]["message"]["content"]
        assert len(await events(http, base, stream_options=[])) > 2
        assert caplog.records == []

    async def test_a_large_body_is_no_matter(self, http, base):
        body = json.dumps({"messages": [{"role": "user", "content": "x" * 3_000_000}]}).encode()
        async with http.post(f"{base}/chat/completions", data=io.BytesIO(body)) as response:
            assert (await response.json())["usage"]["prompt_tokens"] > 700_000

    async def test_a_client_that_leaves_is_no_error(self, http, base, caplog):
        caplog.set_level(logging.WARNING)
        response = await http.post(f"{base}/chat/completions", json={"messages": HELLO, "stream": True})
        await response.content.readany()
        response.close()
        await asyncio.sleep(0.1)
        assert caplog.records == []


class TestTheRest:
    async def test_there_is_one_model(self, http, base):
        async with http.get(f"{base}/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["demo"]

    async def test_health_says_ok(self, http, base):
        async with http.get(f"{base.removesuffix('/v1')}/health") as response:
            assert await response.json() == {"status": "ok"}

    @pytest.mark.parametrize(("given", "vectors"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2]], 2)])
    async def test_embeddings_are_small_and_the_same_every_time(self, http, base, given, vectors):
        async with http.post(f"{base}/embeddings", json={"input": given, "model": "m"}) as response:
            first = await response.json()
        async with http.post(
            f"{base}/embeddings", json={"input": given, "encoding_format": "base64"}
        ) as response:
            packed = await response.json()
        assert [each["index"] for each in first["data"]] == list(range(vectors))
        unpacked = [
            list(struct.unpack("<8f", base64.b64decode(each["embedding"]))) for each in packed["data"]
        ]
        assert unpacked == [each["embedding"] for each in first["data"]]
        assert len({str(vector) for vector in unpacked}) == vectors

    async def test_embeddings_of_nothing_are_refused(self, http, base):
        async with http.post(f"{base}/embeddings", json={"input": []}) as response:
            assert response.status == 400
            assert (await error_of(response))["param"] == "input"

    async def test_an_unknown_path_and_a_wrong_method_have_openais_error(self, http, base):
        async with http.get(f"{base}/nowhere") as response:
            assert response.status == 404
            assert await error_of(response) | {"type": ""} == {
                "message": "GET /v1/nowhere: Not Found",
                "type": "",
                "param": None,
                "code": "not_found",
            }
        async with http.get(f"{base}/chat/completions") as response:
            assert response.status == 405
            assert (await error_of(response))["code"] == "invalid_request"

    async def test_it_serves_where_it_is_told_to(self, http):
        runner, base = await start_demo("::1")
        try:
            assert base.startswith("http://[::1]:")
            async with http.get(f"{base}/models") as response:
                assert response.status == 200
        finally:
            await runner.cleanup()
