"""What a request over Responses is for an upstream that speaks Chat Completions, row by row of what the one
has in place of the other, in each of the three ways to ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conversation.build import calls, result, says, user
from tests.dialects.responses import call, output, said, thought
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, sends
from tests.proxy.mock_upstream import says as answers
from tests.proxy.ways import Told, asked, in_each_way

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PICTURE = {"type": "image_url", "image_url": {"url": PIXEL}}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
NESTED = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
NO_PARAMETERS = {"type": "object", "properties": {}}
ONE_STRING = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
LARK = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
# What is added for the upstream's sake where its answer is streamed.
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses={"upstream": "translate"})


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def parts(*content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content)}


def function(name: str, **about: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **about}}


ITEMS = {
    "instructions and leading system and developer items are one system message, joined by blank lines": (
        {
            "instructions": "You are Ada.",
            "input": [
                said("system", "Be brief."),
                said("developer", "Be kind.", "Be bold."),
                said("user", "a"),
            ],
        },
        [system("You are Ada.\n\nBe brief.\n\nBe kind.\n\nBe bold."), user("a")],
    ),
    "a later system or developer item stays in its place": (
        {
            "input": [
                said("user", "a"),
                said("assistant", "b"),
                said("developer", "In French."),
                said("system", "Or Greek."),
                said("user", "c"),
            ]
        },
        [user("a"), says("b"), system("In French."), system("Or Greek."), user("c")],
    ),
    "a single text is a plain string, that of the assistant too": (
        {"input": [said("user", "a"), said("assistant", "b"), said("user", "c")]},
        [user("a"), says("b"), user("c")],
    ),
    "texts, an image with its detail, a file by its data and one by its id are parts": (
        {
            "input": [
                parts(
                    {"type": "input_text", "text": "a"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "low"},
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,AA==",
                    },
                    {"type": "input_file", "file_id": "file-1"},
                )
            ]
        },
        [
            user(
                [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                    {
                        "type": "file",
                        "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
                    },
                    {"type": "file", "file": {"file_id": "file-1"}},
                ]
            )
        ],
    ),
    "an assistant's message and its calls, also those around a message, are one message": (
        {
            "input": [
                said("user", "a"),
                said("assistant", "Let me see."),
                call("c1"),
                call("c2", "run"),
                output("c1", "x"),
                output("c2", "y"),
                call("c3"),
                said("assistant", "One more."),
                output("c3", "z"),
            ]
        },
        [
            user("a"),
            {
                **says("Let me see."),
                "tool_calls": [*calls("c1")["tool_calls"], *calls("c2", name="run")["tool_calls"]],
            },
            result("c1", "x"),
            result("c2", "y"),
            calls("c3", content="One more."),
            result("c3", "z"),
        ],
    ),
    "a call within a namespace has its name in front": (
        {"input": [said("user", "a"), call("c1", "spawn", namespace="agents"), output("c1", "x")]},
        [user("a"), calls("c1", name="agents__spawn"), result("c1", "x")],
    ),
    "the call of a custom tool has one string, and its result is a tool message": (
        {
            "input": [
                said("user", "a"),
                {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": '+"a"\n'},
                output("c1", "done", "custom_tool_call_output"),
            ]
        },
        [user("a"), calls("c1", name="patch", arguments='{"input":"+\\"a\\"\\n"}'), result("c1", "done")],
    ),
    "outputs are strings, and images and files stand behind all of them, told by the user": (
        {
            "input": [
                said("user", "a"),
                call("c1"),
                call("c2"),
                output(
                    "c1",
                    [
                        {"type": "input_text", "text": "x"},
                        {"type": "input_image", "image_url": PIXEL},
                        {"type": "input_text", "text": "y"},
                    ],
                ),
                output("c2", [{"type": "input_file", "file_data": "AA==", "filename": "a.txt"}]),
            ]
        },
        [
            user("a"),
            {**calls("c1"), "tool_calls": [*calls("c1")["tool_calls"], *calls("c2")["tool_calls"]]},
            result("c1", "x\ny"),
            result("c2", ""),
            user([PICTURE, {"type": "file", "file": {"file_data": "AA==", "filename": "a.txt"}}]),
        ],
    ),
    "reasoning by its content, else its summary, goes with the assistant's next message": (
        {
            "input": [
                said("user", "a"),
                thought("Short.", content=[{"type": "reasoning_text", "text": "All of it."}]),
                said("assistant", "b"),
                said("user", "c"),
                thought("One.", "Two.", content=None, encrypted_content="see-summary"),
                call("c1"),
                output("c1", "x"),
            ]
        },
        [
            user("a"),
            says("b", reasoning_content="All of it."),
            user("c"),
            {**calls("c1"), "reasoning_content": "One.\n\nTwo."},
            result("c1", "x"),
        ],
    ),
    "reasoning that led to nothing is no empty message, nor is what another has sealed": (
        {
            "input": [
                said("user", "a"),
                thought("Hm."),
                said("user", "b"),
                thought(encrypted_content="gAAAAA=="),
                said("assistant", "c"),
                said("user", "d"),
            ]
        },
        [user("a"), user("b"), says("c"), user("d")],
    ),
    "a call without an output was aborted": (
        {"input": [said("user", "a"), call("c1"), call("c2"), output("c2", "x"), said("user", "b")]},
        [
            user("a"),
            {**calls("c1"), "tool_calls": [*calls("c1")["tool_calls"], *calls("c2")["tool_calls"]]},
            result("c1", "aborted"),
            result("c2", "x"),
            user("b"),
        ],
    ),
}
FIELDS = {
    "flat tools are nested, strict where that was said, without parameters as an empty object": (
        {
            "tools": [
                {**LOOK, "description": "Looks.", "strict": False},
                {"type": "function", "name": "now", "parameters": None, "strict": None},
            ]
        },
        {
            "tools": [
                function("look", description="Looks.", strict=False, parameters={"type": "object"}),
                function("now", parameters=NO_PARAMETERS),
            ]
        },
    ),
    "tools of a namespace are functions with its name in front": (
        {"tools": [{"type": "namespace", "name": "agents", "tools": [{**LOOK, "name": "spawn"}]}]},
        {"tools": [function("agents__spawn", parameters={"type": "object"})]},
    ),
    "a custom tool is a function of one string, its grammar in the description": (
        {"tools": [{"type": "custom", "name": "patch", "description": "Patches.", "format": LARK}]},
        {
            "tools": [
                function(
                    "patch",
                    description="Patches.\n\n`input` has to follow this grammar (lark):\nstart: /.+/",
                    parameters=ONE_STRING,
                )
            ]
        },
    ),
    "a search for tools by the client is a function": (
        {
            "tools": [
                {
                    "type": "tool_search",
                    "execution": "client",
                    "description": "Finds.",
                    "parameters": {"a": 1},
                }
            ]
        },
        {"tools": [function("tool_search", description="Finds.", parameters={"a": 1})]},
    ),
    "tool_choice as a word is the same": (
        {"tools": [LOOK], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [NESTED], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "tool_choice by a name is nested": (
        {"tools": [LOOK], "tool_choice": {"type": "function", "name": "look"}},
        {"tools": [NESTED], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    ),
    "tool_choice among allowed tools is its mode, and those tools alone": (
        {
            "tools": [LOOK, {**LOOK, "name": "run"}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "look"}],
            },
        },
        {"tools": [NESTED], "tool_choice": "auto"},
    ),
    "text.format, verbosity and reasoning.effort": (
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "W",
                    "description": "The weather.",
                    "schema": {"type": "object"},
                    "strict": True,
                },
                "verbosity": "low",
            },
            "reasoning": {"effort": "high", "summary": "auto"},
        },
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "W",
                    "description": "The weather.",
                    "schema": {"type": "object"},
                    "strict": True,
                },
            },
            "verbosity": "low",
            "reasoning_effort": "high",
        },
    ),
    "max_output_tokens and top_logprobs": (
        {"max_output_tokens": 20, "top_logprobs": 3},
        {"max_completion_tokens": 20, "logprobs": True, "top_logprobs": 3},
    ),
    "logprobs that are to be included": (
        {"include": ["message.output_text.logprobs"]},
        {"logprobs": True, "top_logprobs": 0},
    ),
    "metadata, store, include, truncation, background and client_metadata stay here": (
        {
            "metadata": {"a": "b"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "truncation": "auto",
            "background": False,
            "client_metadata": {"a": "b"},
            "max_tool_calls": 5,
        },
        {},
    ),
    "prompt_cache_key, safety_identifier, service_tier and user pass": (
        {"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "flex", "user": "u"},
        {"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "flex", "user": "u"},
    ),
    "sampling passes": (
        {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1, "top_k": 5},
        {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1, "top_k": 5},
    ),
}
REFUSED = {
    "an image by its id": (
        {"input": [parts({"type": "input_image", "file_id": "file-1"})]},
        "unsupported_value",
        "input[0].content[0]",
    ),
    "a file by its URL": (
        {"input": [parts({"type": "input_file", "file_url": "http://127.0.0.1/a.pdf"})]},
        "unsupported_value",
        "input[0].content[0].file_url",
    ),
    "a file by its URL in an output": (
        {"input": [call("c1"), output("c1", [{"type": "input_file", "file_url": "http://127.0.0.1/a"}])]},
        "unsupported_value",
        "input[1].output[0].file_url",
    ),
    "an item that has no form there": (
        {"input": [{"type": "computer_call", "call_id": "c1"}]},
        "unsupported_value",
        "input[0].type",
    ),
    "an output without its call": (
        {"input": [said("user", "a"), output("c1")]},
        "invalid_request",
        "input",
    ),
    "a reference to an item that is not there": (
        {"input": [said("user", "a"), {"type": "item_reference", "id": "msg_1"}]},
        "item_not_found",
        "input",
    ),
    "a tool of the provider that has to be called": (
        {"input": "a", "tools": [{"type": "web_search"}, LOOK], "tool_choice": {"type": "web_search"}},
        "unsupported_value",
        "tool_choice",
    ),
    "some tool that has to be called, where only the provider has any": (
        {"input": "a", "tools": [{"type": "web_search"}], "tool_choice": "required"},
        "unsupported_value",
        "tool_choice",
    ),
    "a form of text that is not there": (
        {"input": "a", "text": {"format": {"type": "grammar"}}},
        "unsupported_value",
        "text.format",
    ),
}


def each_row(rows: dict[str, Any], names: str) -> Any:
    """A case for each row, under its name."""
    return pytest.mark.parametrize(names, [pytest.param(*row, id=name) for name, row in rows.items()])


def body_at(upstream: Upstream, way: str) -> dict[str, Any]:
    """What came there last, but for what every request has."""
    body: dict[str, Any] = upstream.last.json
    added = {} if way == "JSON" else STREAMED
    assert {name: body.pop(name) for name in added} == added
    assert body.pop("model") == "m"
    return body


@in_each_way
class TestWhatIsSent:
    @each_row(ITEMS, "body, messages")
    async def test_items_are_messages(
        self, sidecar: Sidecar, upstream: Upstream, way: str, body: dict[str, Any], messages: list[Any]
    ):
        told = await asked(sidecar, way, **body)
        assert told.status == 200, told.response
        assert body_at(upstream, way) == {"messages": messages}
        assert told.untranslated is None

    @each_row(FIELDS, "body, fields")
    async def test_other_members_are_theirs(
        self, sidecar: Sidecar, upstream: Upstream, way: str, body: dict[str, Any], fields: dict[str, Any]
    ):
        told = await asked(sidecar, way, input="a", **body)
        assert told.status == 200, told.response
        assert body_at(upstream, way) == {"messages": [user("a")], **fields}

    @each_row(REFUSED, "body, code, param")
    async def test_what_has_no_form_there_is_refused_and_nothing_is_sent(
        self, sidecar: Sidecar, upstream: Upstream, way: str, body: dict[str, Any], code: str, param: str
    ):
        told = await asked(sidecar, way, **body)
        assert told.status == (404 if code == "item_not_found" else 400)
        assert (told.response["code"], told.response["param"]) == (code, param)
        assert told.response["type"] == "invalid_request_error"
        assert upstream.requests == []

    async def test_an_item_that_is_referred_to_is_the_stored_one(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        upstream.will(answers("one"), answers("two"))
        (item,) = (await asked(sidecar, way, input="1")).response["output"]
        for at, reference in enumerate(({"type": "item_reference", "id": item["id"]}, {"id": item["id"]})):
            told = await asked(sidecar, way, input=[said("user", "1"), reference, said("user", f"{at}")])
            assert told.status == 200, told.response
            assert body_at(upstream, way)["messages"] == [user("1"), says("one"), user(f"{at}")]

    async def test_what_a_search_for_tools_found_can_be_called(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        past = {
            "type": "tool_search_call",
            "call_id": "c1",
            "execution": "client",
            "arguments": {"query": "look"},
        }
        found = {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [LOOK]}
        search = {"type": "tool_search", "execution": "client"}
        told = await asked(sidecar, way, input=[said("user", "a"), past, found], tools=[search])
        assert told.status == 200, told.response
        sent = body_at(upstream, way)
        assert sent["tools"] == [function("tool_search", parameters=NO_PARAMETERS), NESTED]
        question, made, result_told = sent["messages"]
        assert (question, made) == (
            user("a"),
            calls("c1", name="tool_search", arguments='{"query":"look"}'),
        )
        assert (result_told["role"], json.loads(result_told["content"])) == ("tool", [LOOK])

    @pytest.mark.parametrize(
        ("body", "untranslated"),
        [
            (
                {"tools": [{"type": "web_search"}, {"type": "file_search"}, {"type": "mcp"}, LOOK]},
                "web_search, file_search, mcp",
            ),
            (
                {
                    "input": [
                        said("user", "a"),
                        {"type": "web_search_call", "id": "ws_1"},
                        {**said("assistant", "b"), "phase": "no word"},
                        said("user", "c"),
                    ]
                },
                "web_search_call, phase",
            ),
        ],
    )
    async def test_what_is_left_out_is_named(
        self, sidecar: Sidecar, upstream: Upstream, way: str, body: dict[str, Any], untranslated: str
    ):
        told = await asked(sidecar, way, **{"input": "a", **body})
        assert (told.status, told.untranslated) == (200, untranslated)
        assert body_at(upstream, way).get("tools") in (None, [NESTED])

    async def test_a_long_name_is_no_longer_than_upstreams_take_it_and_is_told_whole(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        space, name = "n" * 40, "t" * 40
        tools = [{"type": "namespace", "name": space, "tools": [{**LOOK, "name": name}]}]
        upstream.otherwise = _calls_the_first_tool()
        told = await asked(sidecar, way, input="a", tools=tools)
        (sent,) = body_at(upstream, way)["tools"]
        assert len(sent["function"]["name"]) == 64
        (item,) = told.response["output"]
        assert (item["namespace"], item["name"]) == (space, name)


def _calls_the_first_tool() -> Answer:
    async def answer(exchange: Exchange) -> None:
        name = exchange.request.json["tools"][0]["function"]["name"]
        made = {"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": "{}"}}
        await answers(None, tool_calls=[made], finish="tool_calls")(exchange)

    return answer


@in_each_way
async def test_a_system_item_that_is_refused_in_its_place_is_told_by_the_user_and_that_is_remembered(
    sidecar: Sidecar, upstream: Upstream, way: str
):
    refusal = {"error": {"message": "System message must be at the beginning.", "type": "BadRequestError"}}
    refuses = sends(json.dumps(refusal).encode(), status=400)

    async def strict(exchange: Exchange) -> None:
        later = [each["role"] for each in exchange.request.json["messages"][1:]]
        await (refuses if "system" in later else answers("ok"))(exchange)

    upstream.otherwise = strict

    async def ask(at: int) -> Told:
        items = [
            said("user", f"{at}"),
            said("assistant", "b"),
            said("developer", "In French."),
            said("user", "c"),
        ]
        return await asked(sidecar, way, input=items)

    requests = []
    for at in range(3):
        told = await ask(at)
        assert told.status == 200, told.response
        assert body_at(upstream, way)["messages"][2] == user("[A message of the system]\n\nIn French.")
        requests.append(len(upstream.requests))
    assert requests == [2, 4, 5]


@in_each_way
async def test_the_length_of_an_answer_has_the_name_that_is_set(start: Start, upstream: Upstream, way: str):
    sidecar = await start(responses={"upstream": "translate", "max_tokens": "max_tokens"})
    await asked(sidecar, way, input="a", max_output_tokens=20)
    assert body_at(upstream, way) == {"messages": [user("a")], "max_tokens": 20}


@in_each_way
async def test_a_file_that_the_upstream_does_not_know_is_the_clients_mistake(
    sidecar: Sidecar, upstream: Upstream, way: str
):
    """Files are kept by nobody but the upstream: what it says of an id stands, and no answer goes without."""
    error = {"message": "No file with id file-9.", "type": "invalid_request_error", "param": None}
    body = json.dumps({"error": {**error, "code": "file_not_found"}}).encode()
    upstream.otherwise = sends(body, status=400)
    told = await asked(sidecar, way, input=[parts({"type": "input_file", "file_id": "file-9"})])
    assert (told.status, told.response["code"]) == (400, "file_not_found")
    sent = upstream.last.json["messages"][0]["content"]
    assert sent == [{"type": "file", "file": {"file_id": "file-9"}}]
