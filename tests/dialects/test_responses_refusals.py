"""What a request of the Responses API is refused for: its code, its place and its words; what it repeats."""

from __future__ import annotations

import json
import re

import pytest

from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.body import translated
from sidecar.dialects.responses.compaction import message_of, request_for_summary
from sidecar.dialects.responses.frames import frame_of
from sidecar.dialects.responses.refusal import InBackground, shown
from sidecar.dialects.responses.tools import Tools
from sidecar.errors import BadRequest
from tests.conversation.build import user
from tests.dialects.responses import asked, call, chat, messages, output, said

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


def is_said_plainly(error):
    """Words, and nothing behind them: it ends in a word, a name, or what was sent."""
    return re.search(r"[a-z0-9`')\].]$", error.message) is not None


def refusal(**body):
    with pytest.raises(BadRequest) as caught:
        chat(**body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": {"id": "p"}}, "unsupported_value", "prompt"),
        ({"context_management": [1]}, "unsupported_value", "context_management"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"truncation": "middle"}, "invalid_value", "truncation"),
        ({"store": "no"}, "invalid_type", "store"),
        ({"background": "no"}, "invalid_type", "background"),
        ({"background": True, "store": False}, "unsupported_value", "background"),
        ({"conversation": 5}, "invalid_type", "conversation"),
        ({"conversation": "c", "previous_response_id": "r"}, "unsupported_value", "conversation"),
        ({"previous_response_id": 5}, "previous_response_not_found", "previous_response_id"),
        ({"previous_response_id": "r", "store": False}, "unsupported_value", "store"),
        ({"instructions": 5}, "invalid_type", "instructions"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": [5]}, "invalid_type", "input"),
        ({"input": [said("user", "a"), {"type": 5}]}, "invalid_type", "input[1].type"),
        ({"input": [{"type": "odd"}]}, "unsupported_value", "input[0].type"),
        ({"input": [{"role": "tool", "content": "a"}]}, "unsupported_value", "input[0].role"),
        ({"input": [{"type": "message", "content": "a"}]}, "invalid_type", "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "invalid_type", "input[0].content"),
        ({"input": [{"role": "assistant", "content": 5}]}, "invalid_type", "input[0].content"),
        ({"input": [{"role": "assistant", "content": [IMAGE]}]}, "unsupported_value", "input[0].content"),
        ({"input": [{"role": "developer", "content": 5}]}, "invalid_type", "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "x"}]}]},
            "unsupported_value",
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "text"}]}]},
            "invalid_type",
            "input[0].content[0].text",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "refusal", "text": "a"}]}]},
            "invalid_type",
            "input[0].content[0].refusal",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "unsupported_value",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
            "unsupported_value",
            "input[0].content[0].file_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "filename": "a"}]}]},
            "unsupported_value",
            "input[0].content[0]",
        ),
        ({"input": [{"type": "reasoning", "content": 5}]}, "invalid_type", "input[0].content"),
        ({"input": [{"type": "reasoning", "summary": 5}]}, "invalid_type", "input[0].summary"),
        ({"input": [{**call("1"), "call_id": 5}]}, "invalid_type", "input[0].call_id"),
        ({"input": [{**call("1"), "name": 5}]}, "invalid_type", "input[0].name"),
        ({"input": [{**call("1"), "arguments": 5}]}, "invalid_type", "input[0].arguments"),
        (
            {"input": [{"type": "custom_tool_call", "call_id": "1", "name": "a"}]},
            "invalid_type",
            "input[0].input",
        ),
        ({"input": [call("1"), output("1", 5)]}, "invalid_type", "input[1].output"),
        ({"input": [call("1"), {**output("1"), "call_id": 5}]}, "invalid_type", "input[1].call_id"),
        ({"input": [call("1"), output("2")]}, "invalid_request", "input"),
        (
            {"input": [call("1"), {"type": "tool_search_output", "call_id": "1", "tools": 5}]},
            "invalid_type",
            "input[1].tools",
        ),
        (
            {"input": [call("1"), {"type": "tool_search_output", "call_id": "1", "tools": [{}]}]},
            "invalid_type",
            "input[1].tools[0].type",
        ),
        ({"input": [{"id": 5}]}, "invalid_type", "input[0].id"),
        ({"input": [{"id": ""}]}, "invalid_value", "input[0].id"),
        ({"input": [{"id": "a"}, {"id": "a"}]}, "invalid_value", "input"),
        ({"input": [{"type": "compaction"}]}, "invalid_type", "input[0].encrypted_content"),
        (
            {"input": [{"type": "compaction", "encrypted_content": "a"}]},
            "unsupported_value",
            "input[0].encrypted_content",
        ),
        ({"tools": 5}, "invalid_type", "tools"),
        ({"tools": [{"type": 5}]}, "invalid_type", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "invalid_type", "tools[0].name"),
        ({"tools": [{"type": "custom"}]}, "invalid_type", "tools[0].name"),
        ({"tools": [{"type": "namespace"}]}, "invalid_type", "tools[0].name"),
        (
            {"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "function"}]}]},
            "invalid_type",
            "tools[0].tools[0].name",
        ),
        ({"tool_choice": "required"}, "unsupported_value", "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "unsupported_value", "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "invalid_type", "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "tools": 5}}, "invalid_type", "tool_choice.tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}},
            "unsupported_value",
            "tool_choice.tools",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function"}]}},
            "invalid_type",
            "tool_choice.tools.name",
        ),
        ({"text": 5}, "invalid_type", "text"),
        ({"text": {"format": 5}}, "invalid_type", "format"),
        ({"text": {"format": {"type": "odd"}}}, "unsupported_value", "text.format"),
        ({"reasoning": 5}, "invalid_type", "reasoning"),
        ({"include": 5}, "invalid_type", "include"),
        ({"client_metadata": 5}, "invalid_type", "client_metadata"),
    ],
    ids=lambda each: json.dumps(each)[:60] if isinstance(each, dict) else None,
)
def test_each_has_its_code_and_its_place(body, code, param):
    told = refusal(**body)
    assert (told.code, told.param) == (code, param)
    assert is_said_plainly(told)


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("messages", "input"),
        ("functions", "tools"),
        ("function_call", "tool_choice"),
        ("response_format", "text.format"),
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
        ("logprobs", "top_logprobs"),
    ],
)
def test_of_a_word_of_the_other_api_it_is_said_what_it_is_called_here(word, here):
    told = refusal(**{word: 1})
    assert told.message == f"`{word}` is of Chat Completions: here it is `{here}`"
    assert (told.code, told.param) == ("unsupported_parameter", word)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"a"', b'{"input": NaN}', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("read", [lambda data: translated(data, "max_tokens"), request_for_summary])
def test_what_is_no_json_object_has_one_code(data, read):
    with pytest.raises(BadRequest) as caught:
        read(data)
    assert (caught.value.code, caught.value.param) == ("invalid_json", None)
    assert is_said_plainly(caught.value)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": "a"}, "missing_required_parameter", "model"),
        ({"input": "a", "model": 5}, "missing_required_parameter", "model"),
        ({"model": "m"}, "missing_required_parameter", "input"),
        ({"model": "m", "input": []}, "missing_required_parameter", "input"),
        ({"model": "m", "input": 5}, "invalid_type", "input"),
        (
            {"model": "m", "input": "a", "previous_response_id": "r"},
            "unsupported_value",
            "previous_response_id",
        ),
    ],
)
def test_so_has_what_cannot_be_summed_up(body, code, param):
    with pytest.raises(BadRequest) as caught:
        request_for_summary(json.dumps(body).encode())
    assert (caught.value.code, caught.value.param) == (code, param)
    assert is_said_plainly(caught.value)


@pytest.mark.parametrize("sealed", ["", "c3VtbWFyeS4=", "summary.YQ", "summary.Y Q==", "summary.gA=="])
def test_what_is_not_the_summary_of_this_server_is_refused(sealed):
    with pytest.raises(BadRequest) as caught:
        message_of({"encrypted_content": sealed}, "input[3]")
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "input[3].encrypted_content")
    assert is_said_plainly(caught.value)


def test_what_is_to_be_made_in_the_background_is_handed_on_where_it_may_be():
    body = b'{"input": "hi", "background": true}'
    with pytest.raises(InBackground) as caught:
        translated(body, "max_tokens")
    assert (caught.value.asked, caught.value.code, caught.value.param) == (
        body,
        "unsupported_value",
        "background",
    )
    assert is_said_plainly(caught.value)
    assert translated(body, "max_tokens", apart=True)[1].in_background


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a", "'a'"),
        (5, "int"),
        (None, "NoneType"),
        ("x" * 98, f"'{'x' * 98}'"),
        ("x" * 99, f"'{'x' * 99}…"),
    ],
)
def test_of_what_was_sent_a_hundred_characters_are_repeated(value, told):
    assert shown(value) == told


def test_what_a_request_does_not_say_is_not_asked_for():
    known = asked()
    assert known == Asked(known.echo, known.tools)
    assert (known.streamed, known.in_background, known.is_followed, known.is_private) == (False,) * 4


@pytest.mark.parametrize(
    ("body", "streamed", "followed"),
    [
        ({"stream": True}, True, True),
        ({"stream": False}, False, False),
        ({"background": True}, True, False),
        ({"background": True, "stream": True}, True, True),
    ],
)
def test_a_client_is_told_at_once_where_it_asks_for_a_stream(body, streamed, followed):
    sent, known = chat(**body)
    assert (known.streamed, known.is_followed) == (streamed, followed)
    assert sent.get("stream", False) is streamed
    assert sent.get("stream_options") == ({"include_usage": True} if streamed else None)


def test_an_answer_repeats_what_was_asked_and_says_what_is_done_by_default():
    assert asked().echo == {
        "model": "m",
        "instructions": None,
        "tools": [],
        "tool_choice": "auto",
        "truncation": "auto",
        "parallel_tool_calls": True,
        "text": {"format": {"type": "text"}},
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
        "temperature": 1,
        "reasoning": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "service_tier": "default",
        "metadata": {},
        "safety_identifier": None,
        "prompt_cache_key": None,
        "previous_response_id": None,
        "store": True,
        "background": False,
    }
    nothing = json.loads(b'{"input": "hi", "model": null, "text": null, "top_p": null}')
    assert chat(**nothing)[1].echo == asked(model=None).echo == {**asked().echo, "model": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "x"),
        ("instructions", "Be brief."),
        ("tool_choice", "none"),
        ("truncation", "disabled"),
        ("parallel_tool_calls", False),
        ("top_p", 0.5),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("top_logprobs", 2),
        ("temperature", 0),
        ("reasoning", {"effort": "low"}),
        ("max_output_tokens", 9),
        ("max_tool_calls", 3),
        ("service_tier", "flex"),
        ("metadata", {"a": "b"}),
        ("safety_identifier", "s"),
        ("prompt_cache_key", "k"),
        ("store", False),
        ("background", True),
        ("previous_response_id", f"resp_{'0' * 20}c{'0' * 32}"),
    ],
)
def test_what_was_asked_stands_in_the_answer(name, value):
    assert asked(**{name: value}).echo == {**asked().echo, name: value}


def test_a_function_stands_in_the_answer_with_all_that_may_be_said_of_one():
    tools = [{"type": "function", "name": "look"}, {"type": "web_search"}]
    assert asked(tools=tools).echo["tools"] == [
        {"type": "function", "name": "look", "description": None, "parameters": None, "strict": None},
        {"type": "web_search"},
    ]
    assert asked(text={"verbosity": "low"}).echo["text"] == {"format": {"type": "text"}, "verbosity": "low"}


@pytest.mark.parametrize(
    "kind", ["input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"]
)
def test_texts_of_every_kind_are_texts(kind):
    part = {"type": kind, "refusal" if kind == "refusal" else "text": "a"}
    assert messages({"role": "user", "content": [part]}) == [user("a")]


def test_a_tool_for_free_text_is_a_function_of_one_string_and_no_other_member():
    form = {"type": "grammar", "syntax": "regex", "definition": "a+"}
    (told,) = chat(tools=[{"type": "custom", "name": "run", "format": form}])[0]["tools"]
    assert told == {
        "type": "function",
        "function": {
            "name": "run",
            "description": "`input` has to follow this grammar (regex):\na+",
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        },
    }
    bare = [
        {"type": "custom", "name": "run", **more} for more in ({"description": ""}, {"format": {"type": "x"}})
    ]
    for tool in bare:
        assert chat(tools=[tool])[0]["tools"][0]["function"].keys() == {"name", "parameters"}


def test_of_the_tools_that_are_allowed_the_model_chooses_by_itself_unless_told():
    look = {"type": "function", "name": "look"}
    sent = chat(tools=[look], tool_choice={"type": "allowed_tools", "tools": [look]})[0]
    assert sent["tool_choice"] == "auto"
    sent = chat(tools=[look], tool_choice={"type": "allowed_tools"})[0]
    assert "tools" not in sent


def test_a_name_that_was_cut_is_the_one_under_which_it_stands_in_histories():
    tools = Tools()
    tools.add([{"type": "function", "name": "n" * 65}], "tools")
    tools.add([{"type": "function", "name": "n" * 64}], "tools")
    names = [each["function"]["name"] for each in tools.functions]
    assert names == [f"{'n' * 55}_632177bd", "n" * 64]


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'{"type":', "invalid_json", None),
        (b"{}", "unsupported_value", "type"),
        (b'{"type":"response.cancel"}', "unsupported_value", "type"),
        (b'{"type":"response.create","stream_id":"a"}', "unsupported_parameter", "stream_id"),
    ],
)
def test_a_message_of_a_websocket_that_is_no_request_is_refused(data, code, param):
    with pytest.raises(BadRequest) as caught:
        frame_of(data)
    assert (caught.value.code, caught.value.param) == (code, param)
