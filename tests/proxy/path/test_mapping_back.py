"""What an answer over Chat Completions is over Responses, row by row of what the one has in place of the
other, in each of the three ways to ask; and what the upstream is told once the client sends that back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.conversation.build import calls, says, user
from tests.dialects.responses import chunk, completion, output, piece, said, streamed
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.engine import Engine, groq
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, sends, streams
from tests.proxy.ways import RESPONSES, Told, asked, in_each_way

LOOK = {"type": "function", "name": "look"}
PATCH = {"type": "custom", "name": "patch"}
SEARCH = {"type": "tool_search", "execution": "client"}
SPACE = {"type": "namespace", "name": "agents", "tools": [{**LOOK, "name": "spawn"}]}
TOKEN = {"token": "Hello.", "logprob": -0.1, "bytes": [72], "top_logprobs": []}
SOURCE = {"url": "http://a.example", "title": "A", "start_index": 0, "end_index": 6}
PARTS = ("content_part.added", "output_text.delta", "output_text.done", "content_part.done")
ITEM = ("output_item.added", "output_item.done")
ENDS = ("output_text.done", "content_part.done", "output_item.done")
SUMMARY = (
    *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
    *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
)
CALL = (
    *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done"),
    "output_item.done",
)
MESSAGE = ("output_item.added", "content_part.added", "output_text.delta", *ENDS)


class Row(NamedTuple):
    """`deltas`: as an upstream streams it; `message`: as it says it whole; `items`: without their ids;
    `events`: between `in_progress` and the end; `again`: what the upstream is told of it in the next request.
    `body`: of the request."""

    deltas: list[dict[str, Any]]
    items: list[dict[str, Any]]
    events: tuple[str, ...]
    again: dict[str, Any]
    message: dict[str, Any]
    body: Mapping[str, Any] = MappingProxyType({})
    finish: str = "stop"
    logprobs: Any = None


def text(text: str, **about: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **about}
    return message(part)


def message(*content: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"type": "message", "status": status, "role": "assistant", "content": list(content)}


def reasoning(text: str, **about: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}], **about}


def called(id: str, name: str = "look", arguments: str = '{"a": 2}', **about: Any) -> dict[str, Any]:
    told = {"call_id": id, "status": "completed", "type": "function_call", "name": name, **about}
    return {**told, "arguments": arguments}


def pieces(*each: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"tool_calls": piece["tool_calls"]} for piece in each]


ROWS = {
    "text is a message": Row(
        [{"role": "assistant", "content": ""}, {"content": "Hello."}],
        [text("Hello.")],
        MESSAGE,
        says("Hello."),
        says("Hello."),
    ),
    "a refusal is a part of its own": Row(
        [{"refusal": "No."}],
        [message({"type": "refusal", "refusal": "No."})],
        (
            *("output_item.added", "content_part.added", "refusal.delta", "refusal.done"),
            *("content_part.done", "output_item.done"),
        ),
        says("No."),
        says(None, refusal="No."),
    ),
    "a nested url_citation is a flat annotation": Row(
        [{"content": "Hello."}, {"annotations": [{"type": "url_citation", "url_citation": SOURCE}]}],
        [text("Hello.", annotations=[{"type": "url_citation", **SOURCE}])],
        (*MESSAGE[:3], "output_text.annotation.added", *ENDS),
        says("Hello."),
        says("Hello.", annotations=[{"type": "url_citation", "url_citation": SOURCE}]),
    ),
    "the chances of tokens stand with their text": Row(
        [{"content": "Hello."}],
        [text("Hello.", logprobs=[TOKEN])],
        MESSAGE,
        says("Hello."),
        says("Hello."),
        {"top_logprobs": 1},
        logprobs={"content": [TOKEN]},
    ),
    "reasoning_content is a reasoning item in front of the message": Row(
        [{"reasoning_content": "Hm."}, {"content": "Hello."}],
        [reasoning("Hm."), text("Hello.")],
        (*SUMMARY, *MESSAGE),
        says("Hello.", reasoning_content="Hm."),
        says("Hello.", reasoning_content="Hm."),
    ),
    "so is reasoning, in a form that is sent back by who asks for that": Row(
        [{"reasoning": "Hm."}, {"content": "Hello."}],
        [reasoning("Hm.", encrypted_content="see-summary"), text("Hello.")],
        (*SUMMARY, *MESSAGE),
        says("Hello.", reasoning_content="Hm."),
        says("Hello.", reasoning="Hm."),
        {"include": ["reasoning.encrypted_content"]},
    ),
    "each tool call is a function_call, beside a message too": Row(
        [
            {"content": "Let me see."},
            *pieces(piece(0, "c1", "look", '{"a": 2}'), piece(1, "c2", "run", '{"a": 3}')),
        ],
        [text("Let me see."), called("c1"), called("c2", "run", '{"a": 3}')],
        (
            *MESSAGE,
            *("output_item.added", "function_call_arguments.delta") * 2,
            *("function_call_arguments.done", "output_item.done") * 2,
        ),
        {
            **says("Let me see."),
            "tool_calls": [
                *calls("c1")["tool_calls"],
                *calls("c2", name="run", arguments='{"a": 3}')["tool_calls"],
            ],
        },
        {
            **says("Let me see."),
            "tool_calls": [
                *calls("c1")["tool_calls"],
                *calls("c2", name="run", arguments='{"a": 3}')["tool_calls"],
            ],
        },
        {"tools": [LOOK, {**LOOK, "name": "run"}]},
        "tool_calls",
    ),
    "blank content in front of a call makes no message": Row(
        [{"content": "\n\n"}, *pieces(piece(0, "c1", "look", '{"a": 2}'))],
        [called("c1")],
        CALL,
        calls("c1"),
        {**calls("c1"), "content": "\n\n"},
        {"tools": [LOOK]},
        "tool_calls",
    ),
    "ns__name comes back as namespace and name": Row(
        pieces(piece(0, "c1", "agents__spawn", '{"a": 2}')),
        [called("c1", "spawn", namespace="agents")],
        CALL,
        calls("c1", name="agents__spawn"),
        calls("c1", name="agents__spawn"),
        {"tools": [SPACE]},
        "tool_calls",
    ),
    "the call of a custom tool comes back unwrapped": Row(
        pieces(piece(0, "c1", "patch", '{"input":'), piece(0, arguments='"+a\\n"}')),
        [
            {
                "call_id": "c1",
                "status": "completed",
                "type": "custom_tool_call",
                "name": "patch",
                "input": "+a\n",
            }
        ],
        (
            *("output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done"),
            "output_item.done",
        ),
        calls("c1", name="patch", arguments='{"input":"+a\\n"}'),
        calls("c1", name="patch", arguments='{"input":"+a\\n"}'),
        {"tools": [PATCH]},
        "tool_calls",
    ),
    "a search for tools comes back as tool_search_call": Row(
        pieces(piece(0, "c1", "tool_search", '{"query":"look"}')),
        [
            {
                "call_id": "c1",
                "status": "completed",
                "type": "tool_search_call",
                "execution": "client",
                "arguments": {"query": "look"},
            }
        ],
        ITEM,
        calls("c1", name="tool_search", arguments='{"query":"look"}'),
        calls("c1", name="tool_search", arguments='{"query":"look"}'),
        {"tools": [SEARCH]},
        "tool_calls",
    ),
}
OUTPUTS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses={"upstream": "translate"})


def answer(row: Row) -> Answer:
    """The reply, whole or streamed as the request wants it."""

    async def told(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            chunks = []
            for delta in row.deltas:
                choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": row.logprobs}
                chunks.append(json.dumps({"choices": [choice]}).encode())
            await streams(streamed(*chunks, chunk(finish=row.finish)))(exchange)
        else:
            about = json.loads(completion(row.message, row.finish))
            about["choices"][0]["logprobs"] = row.logprobs
            await sends(json.dumps(about).encode())(exchange)

    return told


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


def kinds(told: Told) -> list[str]:
    return [each["type"].removeprefix("response.") for each in told.events]


def meaning(message: dict[str, Any]) -> tuple[str, Any]:
    """What a message says, however it writes that it says nothing, and its calls."""
    return (message.get("content") or message.get("refusal") or "").strip(), message.get("tool_calls")


def results_of(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A result for each call among these items."""
    told = [output(each["call_id"], "x", OUTPUTS[each["type"]]) for each in items if each["type"] in OUTPUTS]
    searches = [each["call_id"] for each in items if each["type"] == "tool_search_call"]
    return told + [{"type": "tool_search_output", "call_id": id, "tools": [LOOK]} for id in searches]


@in_each_way
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
class TestWhatIsTold:
    async def test_a_message_is_items(self, sidecar: Sidecar, upstream: Upstream, way: str, row: Row):
        upstream.will(answer(row))
        told = await asked(sidecar, way, input="hi", **row.body)
        assert (told.status, told.response["status"]) == (200, "completed")
        assert without_ids(told.response["output"]) == row.items
        again = await sidecar.send("GET", f"{RESPONSES}/{told.response['id']}")
        assert again.json == told.response
        if way != "JSON":
            assert kinds(told) == ["created", "in_progress", *row.events, "completed"]
            done = [each for each in told.events if each["type"] == "response.output_item.done"]
            assert [each["item"] for each in done] == told.response["output"]

    async def test_items_that_come_back_are_the_message(
        self, sidecar: Sidecar, upstream: Upstream, way: str, row: Row
    ):
        """By a client that sends all of it, and by one that goes on from the response, which gets what is
        stored."""
        upstream.will(answer(row))
        first = (await asked(sidecar, way, input="hi", **row.body)).response
        new = [*results_of(first["output"]), said("user", "Go on.")]
        await asked(sidecar, way, **row.body, input=[said("user", "hi"), *first["output"], *new])
        whole = upstream.last.json["messages"]
        assert (whole[0], whole[1], whole[-1]) == (user("hi"), row.again, user("Go on."))
        results = [each["tool_call_id"] for each in whole[2:-1]]
        assert results == [each["call_id"] for each in first["output"] if "call_id" in each]
        await asked(sidecar, way, **row.body, input=new, previous_response_id=first["id"])
        stored = upstream.last.json["messages"]
        assert meaning(stored[1]) == meaning(row.again)
        assert [stored[0], *stored[2:]] == [whole[0], *whole[2:]]


@in_each_way
class TestItsEnd:
    @pytest.mark.parametrize(
        ("finish", "status", "details"),
        [
            ("stop", "completed", None),
            ("tool_calls", "completed", None),
            ("length", "incomplete", {"reason": "max_output_tokens"}),
            ("content_filter", "incomplete", {"reason": "content_filter"}),
        ],
    )
    async def test_is_that_of_the_response(
        self,
        sidecar: Sidecar,
        upstream: Upstream,
        way: str,
        finish: str,
        status: str,
        details: dict[str, str] | None,
    ):
        row = ROWS["text is a message"]._replace(finish=finish)
        upstream.will(answer(row))
        told = await asked(sidecar, way, input="hi")
        response = told.response
        assert (response["status"], response["incomplete_details"]) == (status, details)
        assert (response["error"], response["completed_at"] is None) == (None, status != "completed")
        assert [each["status"] for each in response["output"]] == [status]
        if way != "JSON":
            assert kinds(told)[-1] == status

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param([], id="without a finish_reason"),
            pytest.param([b'{"error":{"message":"out of memory"}}'], id="with an error"),
        ],
    )
    async def test_that_never_came_or_is_an_error_is_a_failure(
        self, sidecar: Sidecar, upstream: Upstream, way: str, broken: list[bytes]
    ):
        upstream.will(streams(streamed(chunk({"content": "Hel"}), *broken, done=False)))
        told = await asked(sidecar, way, input="hi")
        message = "out of memory" if broken else "the upstream broke off before the answer was complete"
        about = {"code": "server_error", "message": message}
        assert (told.status, told.response["status"], told.response["error"]) == (200, "failed", about)
        assert without_ids(told.response["output"])[0]["content"][0]["text"] == "Hel"
        if way != "JSON":
            assert kinds(told)[-2:] == ["error", "failed"]
            error = told.events[-2]
            assert {name: error[name] for name in about} == about
            assert error["error"].items() >= about.items()

    async def test_that_is_a_refusal_for_length_is_told_in_the_word_that_clients_know(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        upstream.otherwise = Engine(100, groq)
        told = await asked(sidecar, way, input="word " * 500, truncation="disabled")
        assert (told.status, told.response["code"]) == (400, "context_length_exceeded")
        assert told.response["type"] == "invalid_request_error"

    async def test_tokens_have_their_names_here(self, sidecar: Sidecar, upstream: Upstream, way: str):
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        if way == "JSON":
            upstream.will(sends(completion(says("Hello."), usage=usage)))
        else:
            counted = json.dumps({"choices": [], "usage": usage}).encode()
            upstream.will(streams(streamed(chunk({"content": "Hello."}), chunk(finish="stop"), counted)))
        assert (await asked(sidecar, way, input="hi")).response["usage"] == {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        }


@in_each_way
class TestDeltas:
    """Those of a stream, in whatever way it is told on."""

    async def told(self, sidecar: Sidecar, upstream: Upstream, way: str, *deltas: dict[str, Any]) -> Told:
        upstream.will(streams(streamed(*map(chunk, deltas), chunk(finish="stop"))))
        return await asked(sidecar, way, input="hi", tools=[LOOK])

    async def test_of_interleaved_calls_whose_id_comes_first_are_one_item_for_each_index(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        each = pieces(
            piece(0, "c1"),
            piece(1, "c2"),
            piece(0, name="look", arguments='{"a"'),
            piece(1, name="look", arguments='{"b"'),
            piece(0, arguments=": 1}"),
            piece(1, arguments=": 2}"),
        )
        told = await self.told(sidecar, upstream, way, *each)
        items = [called("c1", arguments='{"a": 1}'), called("c2", arguments='{"b": 2}')]
        assert without_ids(told.response["output"]) == items
        added = [event["item"]["id"] for event in told.events if event["type"].endswith("item.added")]
        assert way == "JSON" or added == [item["id"] for item in told.response["output"]]

    async def test_of_content_behind_calls_are_a_new_item(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        each = pieces(piece(0, "c1", "look", '{"a": 2}'))
        told = await self.told(sidecar, upstream, way, {"content": "One."}, *each, {"content": "Two."})
        items = [text("One."), called("c1"), text("Two.")]
        assert without_ids(told.response["output"]) == items
        assert len({item["id"] for item in told.response["output"]}) == 3

    async def test_of_reasoning_behind_content_close_it(self, sidecar: Sidecar, upstream: Upstream, way: str):
        deltas = [{"content": "One."}, {"reasoning": "Hm."}, {"content": "Two."}]
        told = await self.told(sidecar, upstream, way, *deltas)
        assert without_ids(told.response["output"]) == [text("One."), reasoning("Hm."), text("Two.")]

    async def test_of_a_call_that_was_cut_leave_the_last_item_incomplete(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        each = pieces(piece(0, "c1", "look", '{"a": 2}'), piece(1, "c2", "look", '{"a'))
        chunks = [chunk({"content": "One."}), *map(chunk, each), chunk(finish="length")]
        upstream.will(streams(streamed(*chunks)))
        told = await asked(sidecar, way, input="hi", tools=[LOOK])
        statuses = [item["status"] for item in told.response["output"]]
        assert (told.response["status"], statuses) == ("incomplete", ["completed", "completed", "incomplete"])
