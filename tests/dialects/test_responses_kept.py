"""What is kept of a response, and the response again; messages as items."""

from __future__ import annotations

import json

import pytest

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.base import Translation
from sidecar.dialects.responses.as_items import in_phase, items_of, items_with, kinds_of, of_their_kinds
from sidecar.dialects.responses.errors import ErrorBody
from sidecar.dialects.responses.ids import (
    call_id,
    item_id,
    message_of,
    reference_of,
    reference_of_item,
    response_id,
    stem_of,
)
from sidecar.dialects.responses.kept import (
    Said,
    leading_in,
    other_tools_in,
    output_again,
    response_again,
    told_of,
    unfinished,
)
from sidecar.dialects.responses.tools import Tool
from sidecar.dialects.responses.translation import Events, Whole
from tests.dialects.responses import EXCHANGE, about, asked, chunk, said, streamed

HERE = Reference("conv_" + "5" * 32, EXCHANGE)
NODE = bytes(range(24))
TOOLS = [{"type": "custom", "name": "patch"}, {"type": "function", "name": "look"}]
# What functions stand for that are no plain ones.
OTHERS = {
    "patch": Tool("custom", "patch"),
    "agents__spawn": Tool("function", "spawn", "agents"),
    "tool_search": Tool("tool_search", "tool_search"),
}


def kept(message, state="complete", usage=None, **body):
    told = asked(**body)
    said = Said(message, usage)
    response = unfinished(told, said, state, HERE, 100, 105)
    return told_of(response, said, HERE, wants_reasoning=told.wants_reasoning), said, response


class TestWhatIsKept:
    @pytest.mark.parametrize("state", ["complete", "partial", "failed"])
    @pytest.mark.parametrize("message", [None, {"role": "assistant", "content": "Hello."}])
    def test_a_response_is_made_again_of_its_reply(self, state, message):
        told, said, response = kept(message, state, b'{"prompt_tokens": 1}', metadata={"a": "b"})
        assert response_again(told, said, HERE, 100) == response
        assert b"Hello" not in told
        assert "usage" not in json.loads(told)["response"]
        assert output_again(told, said, HERE) == response["output"]

    @pytest.mark.parametrize("conversation", ["a", {"id": "a"}, None])
    def test_all_of_it_is_told_in_the_same_order(self, conversation):
        told, said, response = kept(None, conversation=conversation)
        assert list(response_again(told, said, HERE, 100).items()) == list(response.items())

    def test_nothing_is_kept_that_is_as_usual(self):
        told, _, _ = kept({"role": "assistant", "content": "Hello."}, model="")
        assert json.loads(told) == {"response": {"completed_at": 105}}

    def test_numbers_stay_as_they_were_written(self):
        told, said, _ = kept(None, temperature=1.0, top_p=1)
        again = response_again(told, said, HERE, 100)
        assert [repr(again[name]) for name in ("temperature", "top_p")] == ["1.0", "1"]

    def test_calls_are_those_of_its_tools(self):
        function = {"name": "patch", "arguments": '{"input":"x"}'}
        message = {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        }
        told, said, response = kept(message, tools=TOOLS)
        (item,) = response_again(told, said, HERE, 100)["output"]
        assert (item, item["type"]) == (response["output"][0], "custom_tool_call")
        assert b"custom_tool_call" not in told

    def test_what_its_functions_stand_for_is_known_where_they_are_no_plain_ones(self):
        more = [
            {"type": "tool_search", "execution": "client"},
            {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]},
        ]
        assert other_tools_in(kept(None, tools=[*TOOLS, *more])[0]) == OTHERS
        assert other_tools_in(kept(None)[0]) == other_tools_in(b"{}") == {}

    def test_what_the_reply_does_not_give_is_kept_as_it_was_told(self):
        told = asked()
        said = Said({"role": "assistant", "content": "Hello."})
        response = unfinished(told, said, "complete", HERE, 100, 105)
        response["output"] = [{"id": "msg_1", "type": "message"}]
        assert (
            response_again(told_of(response, said, HERE, wants_reasoning=False), said, HERE, 100) == response
        )

    def test_reasoning_is_told_as_it_was_asked_for(self):
        message = {"role": "assistant", "reasoning_content": "Hm.", "content": "Hello."}
        for include in ([], ["reasoning.encrypted_content"]):
            told, said, response = kept(message, include=include)
            assert response_again(told, said, HERE, 100) == response
            assert ("encrypted_content" in response["output"][0]) is bool(include)
            assert b"Hm." not in told

    def test_system_items_before_all_else_are_kept(self):
        told, said, response = kept(None)
        leading = (("system", "a"), ("developer", "b"))
        told = told_of(response, said, HERE, wants_reasoning=False, leading=leading)
        assert leading_in(told) == leading
        assert response_again(told, said, HERE, 100) == response
        assert leading_in(kept(None)[0]) == ()

    def test_usage_that_nobody_can_read_is_none(self):
        assert kept(None, usage=b"{x")[2]["usage"] is None

    @pytest.mark.parametrize("translation", [Events, Whole])
    def test_a_response_that_was_told_is_kept_as_it_was(self, translation):
        telling = translation(about(input=[said("system", "b"), said("user", "hi")]))
        telling.feed(streamed(chunk({"content": "Hello."}), chunk(finish="length")))
        telling.close()
        message = {"role": "assistant", "content": "Hello."}
        told = telling.told(message, None, "complete", (("system", "a"),))
        response = response_again(told, Said(message), Reference("", EXCHANGE), 100)
        assert response["status"] == "incomplete"
        assert json.dumps(response).replace(" ", "").encode() in telling.held
        assert leading_in(told) == (("system", "a"), ("system", "b"))

    @pytest.mark.parametrize("translation", [Events, Whole])
    def test_of_one_that_is_not_to_be_stored_nothing_is(self, translation):
        assert translation(about(store=False)).told(None, None, "complete") is None

    def test_nothing_is_kept_of_an_error(self):
        error: Translation = ErrorBody(400)
        assert error.told(None, None, "failed") is None


class TestIds:
    @pytest.mark.parametrize("id", ["conv_" + "5" * 32, "api-" + "5" * 32])
    def test_that_of_an_item_leads_to_where_it_is_kept(self, id):
        where = Reference(id, EXCHANGE)
        made = item_id("msg", stem_of(where), 3)
        assert reference_of_item(made) == where
        assert message_of(made) is None
        assert len(made) <= 64

    def test_of_what_is_kept_nowhere_it_leads_nowhere(self):
        made = item_id("msg", stem_of(Reference("", EXCHANGE)), 3)
        assert (made, reference_of_item(made)) == (f"msg_{EXCHANGE.hex()}0003", None)

    def test_that_of_an_item_in_a_message_leads_to_the_message(self):
        made = item_id("fco", NODE, 1)
        assert (message_of(made), reference_of_item(made)) == (NODE, None)
        assert len(made) <= 64

    def test_so_does_that_of_a_response(self):
        assert reference_of(response_id(EXCHANGE, HERE.conversation)) == HERE

    def test_that_of_a_call_is_short(self):
        assert call_id(stem_of(HERE), 1) == f"call_{EXCHANGE.hex()}0001"


class TestMessagesAsItems:
    @pytest.mark.parametrize(
        ("content", "parts"),
        [
            ("hi", [{"type": "input_text", "text": "hi"}]),
            (None, []),
            (
                [{"type": "text", "text": "hi"}, 5],
                [{"type": "input_text", "text": "hi"}, {"type": "input_text", "text": "5"}],
            ),
            (
                [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}],
                [{"type": "input_image", "detail": "low", "image_url": "u"}],
            ),
            (
                [{"type": "image_url", "image_url": {"url": "u"}}],
                [{"type": "input_image", "detail": "auto", "image_url": "u"}],
            ),
            ([{"type": "file", "file": {"file_data": "d"}}], [{"type": "input_file", "file_data": "d"}]),
            ([{"type": "video_url", "x": 1}], [{"type": "video_url", "x": 1}]),
        ],
    )
    def test_a_question_is_a_message(self, content, parts):
        (item,) = items_of({"role": "user", "content": content}, NODE, {})
        assert item == {
            "id": item_id("msg", NODE, 0),
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": parts,
        }

    def test_an_answer_is_what_it_says_and_its_calls(self):
        function = {"name": "look", "arguments": "{}"}
        message = {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "So:",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        }
        items = items_of(message, NODE, {})
        assert [each["id"] for each in items] == [
            item_id("rs", NODE, 0),
            item_id("msg", NODE, 1),
            item_id("fc", NODE, 2),
        ]
        assert [each.get("status") for each in items] == [None, "completed", "completed"]
        assert kinds_of(items) == {"c1": "function_call"}

    @pytest.mark.parametrize(
        ("kind", "content", "more"),
        [
            ("function_call", "x", {"type": "function_call_output", "output": "x"}),
            (
                "function_call",
                [{"type": "text", "text": "x"}],
                {"output": [{"type": "input_text", "text": "x"}]},
            ),
            ("custom_tool_call", "x", {"type": "custom_tool_call_output", "output": "x"}),
            (
                "tool_search_call",
                '[{"a":1}]',
                {"type": "tool_search_output", "execution": "client", "tools": [{"a": 1}]},
            ),
            ("tool_search_call", "{x", {"tools": []}),
            ("tool_search_call", "{}", {"tools": []}),
            ("tool_search_call", ["x"], {"tools": []}),
        ],
    )
    def test_a_result_is_of_the_kind_of_its_call(self, kind, content, more):
        message = {"role": "tool", "tool_call_id": "c1", "content": content}
        (item,) = items_of(message, NODE, {"c1": kind})
        assert item.items() >= {"call_id": "c1", "status": "completed", **more}.items()

    @pytest.mark.parametrize(
        ("prefix", "kind"),
        [("fco", "function_call"), ("ctco", "custom_tool_call"), ("tsco", "tool_search_call")],
    )
    def test_one_is_found_by_its_id_which_says_of_what_kind_it_is(self, prefix, kind):
        message = {"role": "tool", "tool_call_id": "c1", "content": "x"}
        id = item_id(prefix, NODE, 0)
        found = items_with({id, item_id("msg", NODE, 0)}, message, NODE)
        assert found == items_of(message, NODE, {"c1": kind})
        assert [each["id"] for each in found] == [id]

    def test_those_that_are_not_asked_for_are_left_out(self):
        function = {"name": "look", "arguments": "{}"}
        calls = [{"id": id, "type": "function", "function": function} for id in ("c1", "c2")]
        message = {"role": "assistant", "content": "So:", "tool_calls": calls}
        found = items_with({item_id("msg", NODE, 0), item_id("fc", NODE, 2)}, message, NODE)
        assert found == [each for at, each in enumerate(items_of(message, NODE, {})) if at != 1]
        assert items_with({item_id("msg", NODE, 9)}, message, NODE) == []


class TestCallsOverAnotherApi:
    """What was said over Chat Completions knows only functions; a response's tools tell what they were."""

    def told(self, name, arguments, found):
        """The items of a call and of its result, before and after."""
        function = {"name": name, "arguments": arguments}
        made = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
        plain = [
            *items_of(made, NODE, {}),
            *items_of({"role": "tool", "tool_call_id": "c1", "content": found}, NODE[::-1], {}),
        ]
        return plain, of_their_kinds(plain, OTHERS, {})

    def test_one_of_a_tool_for_free_text_is_a_call_of_that_and_so_is_its_result(self):
        (made, result), (call, output) = self.told("patch", '{"input":"*** Begin"}', "done")
        about = {"id": made["id"], "call_id": "c1", "status": "completed"}
        assert call == {**about, "type": "custom_tool_call", "name": "patch", "input": "*** Begin"}
        assert output == {**result, "type": "custom_tool_call_output"}

    def test_one_that_looked_for_tools_has_found_some(self):
        (made, result), (call, output) = self.told("tool_search", '{"query":"x"}', '[{"type":"function"}]')
        about = {"call_id": "c1", "status": "completed"}
        searched = {"type": "tool_search_call", "execution": "client", "arguments": {"query": "x"}}
        assert call == {"id": made["id"], **about, **searched}
        found = {"type": "tool_search_output", "execution": "client", "tools": [{"type": "function"}]}
        assert output == {"id": result["id"], **about, **found}

    def test_one_of_a_namespace_is_named_within_it_and_its_result_is_the_same(self):
        (made, result), (call, output) = self.told("agents__spawn", '{"input":"x"}', "done")
        assert call == {**made, "name": "spawn", "namespace": "agents"}
        assert output is result

    def test_one_of_a_plain_function_is_the_same_and_so_is_all_that_is_no_call(self):
        items, again = self.told("look", "{}", "found")
        items += items_of({"role": "user", "content": "hi"}, NODE, {})
        again = of_their_kinds(items, OTHERS, {})
        assert all(told is item for told, item in zip(again, items, strict=True))

    def test_a_result_may_stand_in_another_message_than_its_call(self):
        (call, result), _ = self.told("patch", '{"input":"x"}', "done")
        made: dict[str, str] = {}
        assert of_their_kinds([call], OTHERS, made)[0]["type"] == "custom_tool_call"
        (output,) = of_their_kinds([result], OTHERS, made)
        assert output["type"] == "custom_tool_call_output"
        (alone,) = of_their_kinds([result], OTHERS, {})
        assert alone["type"] == "function_call_output"


def test_what_was_said_on_the_way_says_so_again_and_nothing_else_does():
    message = {"role": "assistant", "reasoning_content": "Hm.", "content": "I look."}
    thought, said = items_of(message, NODE, {})
    assert in_phase([thought, said], "commentary") == [thought, {**said, "phase": "commentary"}]
