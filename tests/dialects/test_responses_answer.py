"""A chat completion as a response: the items, the events that tell them, and the object at the end."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.dialects.responses.answer import Answer
from sidecar.dialects.responses.errors import ErrorBody
from sidecar.dialects.responses.translation import PATIENCE, Events, Whole
from tests.dialects.responses import (
    EXCHANGE,
    about,
    answered,
    asked,
    chunk,
    completion,
    events_in,
    piece,
    streamed,
    told,
)

STOP = chunk(finish="stop")
LONG = "x" * 60
KEYS = [
    *("id", "object", "created_at", "completed_at", "status"),
    *("incomplete_details", "model", "previous_response_id", "instructions", "output"),
    *("error", "tools", "tool_choice", "truncation", "parallel_tool_calls"),
    *("text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs"),
    *("temperature", "reasoning", "usage", "max_output_tokens", "max_tool_calls"),
    *("store", "background", "service_tier", "metadata", "safety_identifier"),
    *("prompt_cache_key",),
]


def response_in(held):
    """The response in the last event."""
    return json.loads(held.split(b"data: ")[1])["response"]


def kinds(events):
    return [each["type"].removeprefix("response.") for each in events]


def output_of(events):
    """The items of a stream, after all places that tell of them are found to say the same."""
    items = events[-1]["response"]["output"]
    done = [each for each in events if each["type"] == "response.output_item.done"]
    added = [each for each in events if each["type"] == "response.output_item.added"]
    by_place = sorted(done, key=lambda each: each["output_index"])
    assert [each["item"] for each in by_place] == items
    assert [each["output_index"] for each in added] == list(range(len(items)))
    assert [each["item"]["id"] for each in added] == [each["id"] for each in items]
    for at, item in enumerate(items):
        deltas = "".join(
            each["delta"]
            for each in events
            if each["type"].endswith(".delta")
            and each["output_index"] == at
            and each["item_id"] == item["id"]
        )
        if item["type"] != "tool_search_call":
            assert deltas == text_of(item)
    return items


def text_of(item):
    if item["type"] == "message":
        return "".join(each.get("text", each.get("refusal")) for each in item["content"])
    if item["type"] == "reasoning":
        return item["summary"][0]["text"]
    return item["input" if item["type"] == "custom_tool_call" else "arguments"]


class TestText:
    def test_each_piece_is_told_in_its_place(self):
        events = told(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            STOP,
        )
        assert kinds(events) == [
            *("created", "in_progress", "output_item.added", "content_part.added"),
            *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done"),
            *("output_item.done", "completed"),
        ]
        part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
        id = "msg_000102030405060708090000"
        message = {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        assert output_of(events) == [message]
        assert events[2]["item"] == {**message, "status": "in_progress", "content": []}
        assert events[3]["part"] == {**part, "text": ""}
        where = {"item_id": id, "output_index": 0, "content_index": 0}
        assert set(events[4]) == {"type", "sequence_number", *where, "delta", "logprobs"}
        assert events[4].items() >= {**where, "delta": "Hel", "logprobs": []}.items()
        assert events[6].items() >= {**where, "text": "Hello"}.items()
        assert events[7].items() >= {**where, "part": part}.items()

    def test_an_answer_that_came_whole_is_told_by_events_too(self):
        events = Events(about(stream=True))
        body = completion({"content": "Hello"})
        assert events.feed(body[:30]) + events.feed(body[30:]) == b""
        ready = events.close()
        assert [each["type"] for each in output_of(events_in(ready + events.held))] == ["message"]

    def test_one_that_came_whole_may_have_blank_lines_in_it(self):
        body = (
            json.dumps(json.loads(completion({"content": "Hello"})), indent=1).replace("\n", "\n\n").encode()
        )
        assert answered(body[:30], body[30:])["output"][0]["content"][0]["text"] == "Hello"
        assert answered(*(body[at : at + 1] for at in range(len(body))))["status"] == "completed"

    def test_a_stream_is_put_together_for_whoever_asked_for_none(self):
        data = streamed(chunk({"content": "Hel"}), chunk({"content": "lo"}), STOP)
        assert answered(data[:40], data[40:])["output"][0]["content"][0]["text"] == "Hello"

    def test_a_long_body_is_not_looked_at_again_and_again(self):
        body = completion({"content": "x" * 9000})
        assert len(answered(body[:5000], body[5000:])["output"][0]["content"][0]["text"]) == 9000

    def test_sources_are_flat(self):
        within = {"url": "http://a", "title": "A", "start_index": 0, "end_index": 1}
        flat = {"type": "url_citation", **within}
        nested = {"type": "url_citation", "url_citation": within}
        other = {"type": "file_citation", "file_id": "f"}
        events = told(chunk({"content": "a"}), chunk({"annotations": [nested, other]}), STOP)
        assert kinds(events)[5:7] == ["output_text.annotation.added"] * 2
        assert [each["annotation_index"] for each in events[5:7]] == [0, 1]
        assert output_of(events)[0]["content"][0]["annotations"] == [flat, other]

    def test_probabilities_are_told_with_their_text(self):
        token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}}
        events = told(json.dumps({"choices": [choice]}).encode(), STOP)
        assert [events[at]["logprobs"] for at in (4, 5)] == [[token], [token]]
        assert output_of(events)[0]["content"][0]["logprobs"] == [token]

    def test_a_refusal_is_a_part_of_its_own(self):
        events = told(chunk({"content": "Well."}), chunk({"refusal": "No"}), chunk({"refusal": "!"}), STOP)
        assert [each["type"] for each in output_of(events)[0]["content"]] == ["output_text", "refusal"]
        at = kinds(events).index("refusal.done")
        assert events[at].items() >= {"refusal": "No!", "content_index": 1}.items()
        assert kinds(events)[at - 3 : at] == ["content_part.added", "refusal.delta", "refusal.delta"]
        assert events[at + 1]["part"] == {"type": "refusal", "refusal": "No!"}

    def test_halves_of_a_character_are_told_as_one(self):
        first, second = (
            b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}',
            b'{"choices":[{"delta":{"content":"\\ude00"}}]}',
        )
        (item,) = output_of(told(first, second, STOP))
        assert item["content"][0]["text"] == "a\U0001f600"

    @given(st.characters(min_codepoint=0x10000))
    @example("\U00010000")
    @example("\U0010ffff")
    def test_whichever_character_it_is(self, character):
        halves = json.dumps(character)[1:-1].encode()
        pieces = [b'{"choices":[{"delta":{"content":"%b"}}]}' % each for each in (halves[:6], halves[6:])]
        events = told(*pieces, STOP)
        assert text_of(output_of(events)[0]) == character
        assert [each["delta"] for each in events if "delta" in each] == [character]

    @pytest.mark.parametrize("half", [b"\\ud83d", b"\\ude00"])
    def test_half_a_character_alone_is_told_as_broken(self, half):
        (item,) = output_of(told(b'{"choices":[{"delta":{"content":"%b"}}]}' % half, STOP))
        assert item["content"][0]["text"] == "\ufffd"

    def test_blank_text_is_a_message_only_if_nothing_follows(self):
        blank = chunk({"content": "\n\n"})
        assert text_of(output_of(told(blank, STOP))[0]) == "\n\n"
        assert text_of(output_of(told(blank, chunk({"content": "a"}), STOP))[0]) == "\n\na"
        called = told(blank, chunk(piece(0, "1", "look", "{}")), STOP)
        assert [each["type"] for each in output_of(called)] == ["function_call"]
        thought = told(blank, chunk({"reasoning": "Hm."}), chunk({"content": "a"}), STOP)
        assert [text_of(each) for each in output_of(thought)] == ["Hm.", "a"]

    @pytest.mark.parametrize("refusal", ["", None, 5])
    def test_a_refusal_of_no_words_is_none(self, refusal):
        (item,) = output_of(told(chunk(piece(0, "1", "look", "{}")), chunk({"refusal": refusal}), STOP))
        assert item["type"] == "function_call"

    def test_what_is_said_in_another_phase_is_a_message_of_its_own(self):
        pieces = [
            {"phase": "commentary", "content": "I lo"},
            {"content": "ok."},
            {"phase": "in words, which are no phase", "content": ".."},
            {"phase": "final_answer", "content": "Found."},
            {"phase": None, "content": "!"},
        ]
        items = output_of(told(*map(chunk, pieces), STOP))
        assert [(each["phase"], text_of(each)) for each in items] == [
            ("commentary", "I look..."),
            ("final_answer", "Found.!"),
        ]
        assert "phase" not in output_of(told(chunk({"content": "a"}), STOP))[0]

    def test_an_answer_of_nothing_has_no_items(self):
        events = told(STOP)
        assert kinds(events) == ["created", "in_progress", "completed"]
        assert output_of(events) == []


class TestReasoning:
    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_text"])
    def test_it_is_told_as_a_summary_before_the_text(self, name):
        """litellm #32777, #37852, #41185: its id, its end, and the beginning of the text"""
        events = told(chunk({name: "Hm"}), chunk({name: "."}), chunk({"content": "a"}), STOP)
        assert kinds(events)[2:9] == [
            *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
            *("reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"),
            "output_item.done",
        ]
        assert events[4].items() >= {"summary_index": 0, "output_index": 0, "delta": "Hm"}.items()
        summary = [{"type": "summary_text", "text": "Hm."}]
        assert [events[at]["part"] for at in (3, 7)] == [{**summary[0], "text": ""}, summary[0]]
        assert events[6]["text"] == "Hm."
        first, second = output_of(events)
        assert first == {"id": "rs_000102030405060708090000", "type": "reasoning", "summary": summary}
        assert second["id"] == "msg_000102030405060708090001"

    def test_a_client_that_keeps_the_history_gets_it_in_a_form_that_it_sends_back(self):
        events = told(chunk({"reasoning": "Hm."}), STOP, include=["reasoning.encrypted_content"])
        assert output_of(events)[0]["encrypted_content"] == events[2]["item"]["encrypted_content"] != ""

    def test_thoughts_among_the_parts_of_a_text_are_reasoning(self):
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "a"},
        ]
        events = told(chunk({"content": [*parts, {"type": "image"}]}), STOP)
        assert [text_of(each) for each in output_of(events)] == ["Hm.", "a"]

    def test_what_is_thought_after_a_text_is_an_item_of_its_own(self):
        events = told(chunk({"content": "a"}), chunk({"reasoning": "Hm."}), chunk({"content": "b"}), STOP)
        assert [text_of(each) for each in output_of(events)] == ["a", "Hm.", "b"]

    def test_a_budget_that_is_gone_in_reasoning_is_an_incomplete_answer(self):
        """litellm #37710"""
        events = told(chunk({"reasoning": "Hm"}), chunk(finish="length"))
        assert kinds(events)[-1] == "incomplete"
        assert [each["type"] for each in output_of(events)] == ["reasoning"]


LOOK = {"type": "function", "name": "look"}
PATCH = {"type": "custom", "name": "patch"}


class TestCalls:
    def test_each_piece_is_told_in_its_place(self):
        """litellm #22102, vllm #47916, #56285, term-llm #345"""
        pieces = [piece(0, "c1", "look", ""), piece(0, arguments='{"a"'), piece(0, arguments=":1}")]
        events = told(*map(chunk, pieces), chunk(finish="tool_calls"), tools=[LOOK])
        assert kinds(events) == [
            *("created", "in_progress", "output_item.added", "function_call_arguments.delta"),
            *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
            "completed",
        ]
        id = "fc_000102030405060708090000"
        item = {"id": id, "call_id": "c1", "status": "completed", "type": "function_call", "name": "look"}
        assert output_of(events) == [{**item, "arguments": '{"a":1}'}]
        assert events[2]["item"] == {**item, "status": "in_progress", "arguments": ""}
        assert events[5].items() >= {"item_id": id, "name": "look", "arguments": '{"a":1}'}.items()

    @pytest.mark.parametrize(
        ("pieces", "calls"),
        [
            pytest.param(
                [
                    piece(0, "1", "f", '{"a"'),
                    piece(1, "2", "g", "{"),
                    piece(0, arguments=":1}"),
                    piece(1, arguments="}"),
                ],
                [("1", "f", '{"a":1}'), ("2", "g", "{}")],
                id="in turns (vllm #52418)",
            ),
            pytest.param(
                [piece(0, "1", "f", "{}"), piece(0, "2", "g", "{}")],
                [("1", "f", "{}"), ("2", "g", "{}")],
                id="all with index 0 (Ollama)",
            ),
            pytest.param(
                [piece(None, "1", "f", "{}"), piece(None, "2", "g", "{}")],
                [("1", "f", "{}"), ("2", "g", "{}")],
                id="without an index",
            ),
            pytest.param(
                [piece(None, "1", "f", '{"a"'), piece(None, arguments=":1}")],
                [("1", "f", '{"a":1}')],
                id="pieces of the last one without an index",
            ),
            pytest.param(
                [piece(0, "1", "f", "{}"), piece(1, "1", "f", "{}"), piece(1, "1", arguments='{"a":1}')],
                [("call_000102030405060708090001", "f", '{"a":1}'), ("1", "f", "{}")],
                id="two of one id",
            ),
            pytest.param(
                [piece(0, "1", "f", "{}"), piece(1, "1", "g", "{}"), piece(0, "1", arguments='{"a":1}')],
                [("1", "f", '{"a":1}'), ("call_000102030405060708090001", "g", "{}")],
                id="two of one id, of which the first goes on",
            ),
            pytest.param(
                [piece(0, "1", "f", "{}"), piece(0, "1", "g", "{}"), piece(0, "1", "g", '{"a":1}')],
                [("call_000102030405060708090001", "g", '{"a":1}'), ("1", "f", "{}")],
                id="two of one id and one index",
            ),
            pytest.param(
                [{"tool_calls": 2 * piece(None, "1", "f", '{"a":1}')["tool_calls"]}],
                [("1", "f", '{"a":1}'), ("call_000102030405060708090001", "f", '{"a":1}')],
                id="two of one id in one list",
            ),
            pytest.param(
                2 * [piece(None, "1", "f", '{"a":1}')], [("1", "f", '{"a":1}')], id="the same once more"
            ),
            pytest.param(
                [piece(0, "1", "f", '{"a"'), piece(0, "9", arguments=":1}")],
                [("1", "f", '{"a":1}')],
                id="another id with each piece",
            ),
            pytest.param(
                [piece(0, "1", "f", '{"a"'), piece(3, "1", arguments=":1}")],
                [("1", "f", '{"a":1}')],
                id="another index with each piece (LocalAI)",
            ),
            pytest.param(
                [piece(0, "1"), piece(0, name="f"), piece(0, arguments="{}")],
                [("1", "f", "{}")],
                id="the id first, the name later",
            ),
            pytest.param(
                [piece(0, "1", arguments='{"a":1}'), piece(0, name="f")],
                [("1", "f", '{"a":1}')],
                id="the name behind the arguments",
            ),
            pytest.param(
                [piece(0, "1", "lo"), piece(0, name="ok", arguments="{}")],
                [("1", "look", "{}")],
                id="the name in pieces",
            ),
            pytest.param(
                [piece(0, "1", "f", '{"a"'), piece(0, name="f", arguments=":1}")],
                [("1", "f", '{"a":1}')],
                id="the name with each piece",
            ),
            pytest.param(
                [piece(0, "1", "f", "{}"), piece(0, arguments='{"a":1}')],
                [("1", "f", '{"a":1}')],
                id="nothing first",
            ),
            pytest.param([piece(0, "1", "f")], [("1", "f", "{}")], id="no arguments at all"),
            pytest.param([piece(0, "1", "f", "null")], [("1", "f", "{}")], id="null for none"),
            pytest.param([piece(0, "1", "f", {"a": 1})], [("1", "f", '{"a":1}')], id="an object"),
            pytest.param(
                [piece(0, "", "f", "{}")], [("call_000102030405060708090000", "f", "{}")], id="no id"
            ),
            pytest.param(
                2 * [piece(None, "", "f", '{"a":1}')],
                [(f"call_00010203040506070809000{at}", "f", '{"a":1}') for at in range(2)],
                id="two of no id and no index",
            ),
            pytest.param([piece(0, "1")], [], id="no name"),
            pytest.param([piece(None, arguments="{}")], [], id="nothing at all"),
            pytest.param([{"tool_calls": [{"index": 0, "id": "1"}, 5]}], [], id="no function"),
            pytest.param(
                [{"function_call": {"name": "f", "arguments": "{}"}}],
                [("call_000102030405060708090000", "f", "{}")],
                id="the form before tools",
            ),
        ],
    )
    def test_every_way_to_tell_calls_gives_one_item_each(self, pieces, calls):
        items = output_of(told(*map(chunk, pieces), chunk(finish="tool_calls")))
        assert [(each["call_id"], each["name"], each["arguments"]) for each in items] == calls

    def test_many_pieces_that_name_their_call_take_no_longer_than_others(self):
        """Some send id and name with each piece (GLM): each was looked through from its beginning."""
        pieces = [piece(0, "1", "f", '{"a":["')] + 20_000 * [piece(0, "1", "f", "}]")]
        pieces.append(piece(0, "1", "f", '"]}'))
        many = [piece(at, str(at), "f", "{}") for at in range(5_000)]
        for told_so, calls in ((pieces, 1), (many, 5_000)):
            answer = Answer(asked(), EXCHANGE)
            started = time.process_time()
            for each in told_so:
                answer.take(each)
            answer.end("completed")
            assert time.process_time() - started < 2
            assert len(answer.output) == calls

    def test_text_before_and_after_calls_are_two_messages(self):
        events = told(
            chunk({"content": "a"}),
            chunk(piece(0, "1", "f", "{}x")),
            chunk({"content": "b"}),
            chunk(finish="stop"),
        )
        assert [each["type"] for each in output_of(events)] == ["message", "function_call", "message"]

    def test_one_of_a_namespace_comes_back_as_that(self):
        tools = [{"type": "namespace", "name": "agents", "tools": [LOOK]}]
        (item,) = output_of(told(chunk(piece(0, "1", "agents__look", "{}")), STOP, tools=tools))
        assert (item["namespace"], item["name"]) == ("agents", "look")

    @pytest.mark.parametrize(
        ("arguments", "input"),
        [
            ('{"input":"+a\\n"}', "+a\n"),
            ("+a", "+a"),
            ('{"patch":1}', '{"patch":1}'),
            ("[", "["),
            ("[]", "[]"),
        ],
    )
    def test_one_that_takes_free_text_is_unwrapped(self, arguments, input):
        events = told(chunk(piece(0, "1", "patch", arguments)), chunk(finish="tool_calls"), tools=[PATCH])
        (item,) = output_of(events)
        assert (item["type"], item["id"][:4], item["input"]) == ("custom_tool_call", "ctc_", input)
        assert kinds(events)[3:5] == ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
        assert events[4]["input"] == input

    def test_a_search_for_tools_comes_back_as_that(self):
        tools = [{"type": "tool_search", "execution": "client"}]
        events = told(chunk(piece(0, "1", "tool_search", '{"q":"a"}')), STOP, tools=tools)
        assert output_of(events) == [
            {
                "id": "tsc_000102030405060708090000",
                "call_id": "1",
                "status": "completed",
                "type": "tool_search_call",
                "execution": "client",
                "arguments": {"q": "a"},
            }
        ]


class TestTheEnd:
    @pytest.mark.parametrize("reason", ["stop", "tool_calls", "eos"])
    def test_an_answer_that_ended_is_completed(self, reason):
        response = answered(completion({"content": "a"}, reason))
        assert (response["status"], response["completed_at"], response["error"]) == ("completed", 105, None)

    @pytest.mark.parametrize(
        ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
    )
    def test_one_that_was_cut_is_incomplete_and_says_why(self, finish, reason):
        """litellm #40833, vllm #24184, omlx #2817"""
        events = told(chunk({"content": "a"}), chunk(finish=finish))
        response = events[-1]["response"]
        assert (kinds(events)[-1], response["status"]) == ("incomplete", "incomplete")
        assert (response["incomplete_details"], response["completed_at"]) == ({"reason": reason}, None)
        assert [each["status"] for each in output_of(events)] == ["incomplete"]

    @pytest.mark.parametrize("word", ["", "null", "None", "undefined"])
    def test_a_reason_that_says_none_changes_nothing(self, word):
        events = told(chunk({"content": "a"}), chunk(finish="length"), chunk(finish=word))
        assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}

    def test_only_the_last_item_is_incomplete(self):
        pieces = [chunk({"content": "a"}), chunk(piece(0, "1", "f", "{}1")), chunk(piece(1, "2", "g", '{"a'))]
        events = told(*pieces, chunk(finish="length"))
        assert [each["status"] for each in output_of(events)] == ["completed", "completed", "incomplete"]

    @pytest.mark.parametrize(
        "payloads", [[], [chunk({"content": "a"})], [chunk({"content": "a"}, "error")], [b"{"]]
    )
    def test_one_that_never_ended_has_failed(self, payloads):
        """ollama #14600"""
        events = told(*payloads, done=False)
        assert kinds(events)[-2:] == ["error", "failed"]
        error = events[-1]["response"]["error"]
        assert (error["code"], "broke off" in error["message"]) == ("server_error", True)
        assert output_of(events) is not None

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            ({"message": "out of memory"}, "server_error", "out of memory"),
            ("out of memory", "server_error", "out of memory"),
            ({"code": 5}, "server_error", "the upstream failed"),
            (
                {"message": "maximum context length is 4096 tokens", "code": "context_length_exceeded"},
                "context_length_exceeded",
                "maximum context length is 4096 tokens",
            ),
        ],
    )
    def test_an_error_on_the_way_is_told_in_every_form_that_clients_know(self, error, code, message):
        events = told(chunk({"content": "a"}), json.dumps({"error": error}).encode(), STOP)
        about = {"code": code, "message": message}
        told_error = events[-2]
        assert set(told_error) == {"type", "sequence_number", "code", "message", "param", "error"}
        assert told_error.items() >= {"type": "error", **about, "param": None}.items()
        assert told_error["error"] == {"type": code, **about, "param": None}
        assert (kinds(events)[-1], events[-1]["response"]["error"]) == ("failed", about)

    def test_the_first_error_counts(self):
        errors = [json.dumps({"error": {"message": each}}).encode() for each in ("a", "b")]
        assert told(*errors)[-1]["response"]["error"]["message"] == "a"

    def test_nothing_follows_the_end(self):
        events = Events(about(stream=True))
        events.feed(streamed(chunk({"content": "a"}), STOP) + streamed(chunk({"content": "b"})))
        held = events.held
        assert response_in(held)["output"][0]["content"][0]["text"] == "a"
        more = streamed(chunk({"content": "b"}), STOP)
        assert events.feed(more) + events.alive() + events.close() == b""
        assert events.held == held

    def test_what_nobody_can_read_is_passed_over(self):
        odd = [b"no json", b"5", b'{"choices":5}', b'{"choices":[5,{"delta":5}]}', b'[{"choices":[]},5]']
        assert text_of(output_of(told(*odd, chunk({"content": "a"}), STOP))[0]) == "a"

    def test_what_stands_beside_something_odd_is_told_all_the_same(self):
        choice = {"delta": {"content": "a"}, "finish_reason": "stop"}
        both = json.dumps([5, {"choices": [5, choice]}]).encode()
        assert text_of(output_of(told(both))[0]) == "a"

    def test_tokens_that_were_counted_stay_where_a_later_piece_counts_none(self):
        counted = chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": 4})
        for nothing in ("null", "{}"):
            end = chunk(finish="stop", usage=json.loads(nothing))
            events = told(counted, end)
            assert events[-1]["response"]["usage"]["total_tokens"] == 7

    def test_a_message_beside_each_delta_is_not_told_again(self):
        choice = {"delta": {"content": "a"}, "message": {"content": "a"}, "finish_reason": "null"}
        end = {"delta": {}, "message": {"content": "a"}, "finish_reason": "stop"}
        payloads = [json.dumps({"choices": [each]}).encode() for each in (choice, end)]
        assert text_of(output_of(told(*payloads))[0]) == "a"


class TestTheObject:
    def test_it_has_all_members_whatever_was_asked(self):
        response = answered(completion({"content": "a"}))
        assert sorted(response) == sorted(KEYS)
        never_null = ("top_p", "temperature", "presence_penalty", "frequency_penalty", "top_logprobs")
        assert [response[name] for name in never_null] == [1, 1, 0, 0, 0]
        assert (response["id"], response["created_at"]) == ("resp_00010203040506070809", 100)
        assert (response["text"], response["store"]) == ({"format": {"type": "text"}}, True)

    def test_it_repeats_what_was_asked(self):
        """litellm #28899"""
        form = {"type": "json_schema", "name": "W", "schema": {}}
        body = {
            "temperature": 0.5,
            "metadata": {"a": "b"},
            "instructions": "Be brief.",
            "tool_choice": "none",
        }
        body["store"] = False
        told = answered(completion({"content": "a"}), text={"format": form}, tools=[LOOK, PATCH], **body)
        assert told.items() >= body.items()
        assert told["text"] == {"format": form}
        nothing = {"description": None, "parameters": None, "strict": None}
        assert told["tools"] == [{**nothing, **LOOK}, PATCH]

    def test_tokens_are_counted_under_their_names_here(self):
        """litellm #28899"""
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        counted = told(chunk({"content": "a"}), STOP, json.dumps({"choices": [], "usage": usage}).encode())
        assert counted[-1]["response"]["usage"] == {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        }
        assert answered(completion({"content": "a"}, usage={"total_tokens": 7}))["usage"]["total_tokens"] == 7
        assert answered(completion({"content": "a"}))["usage"] is None

    @pytest.mark.parametrize(
        ("types", "header"),
        [
            ([], None),
            (["web_search", "mcp"], "web_search, mcp"),
            (["a\r\nb", "x"], "x"),
            ([f"t{number}" for number in range(30)], ", ".join(f"t{number}" for number in range(20))),
        ],
    )
    def test_what_was_left_out_is_named_in_a_header(self, types, header):
        told = about(tools=[{"type": each} for each in types])
        for translation, kind in ((Events, "text/event-stream"), (Whole, "application/json")):
            headers = translation(told).headers
            assert headers["Content-Type"] == kind
            assert headers.get("X-Sidecar-Untranslated") == header


class TestWhatIsTooLong:
    """Its end would have to tell all of it once more, so all of it would have to be held."""

    @pytest.mark.parametrize(
        "delta",
        [{"content": LONG}, {"reasoning": LONG}, {"refusal": LONG}, piece(0, "1", "f", LONG)],
    )
    def test_it_fails_and_nothing_more_is_read(self, delta):
        events = Events(about(100, stream=True))
        data = events.feed(streamed(chunk(delta), chunk(delta), done=False))
        assert (events.done, events.feed(streamed(STOP)), events.close()) == (True, b"", b"")
        told = events_in(data + events.held)
        assert (
            told[-1]["response"]["error"]["message"] == "the answer is longer than `limits.max_reply` = 100"
        )
        assert len(text_of(output_of(told)[0])) == 120

    def test_one_of_as_many_characters_as_may_be_held_is_told(self):
        for length, status in ((100, "completed"), (101, "failed")):
            events = Events(about(100, stream=True))
            data = b"".join(
                events.feed(streamed(each, done=False)) for each in (chunk({"content": "x" * length}), STOP)
            )
            told = events_in(data + events.close() + events.held)
            assert told[-1]["response"]["status"] == status

    @pytest.mark.parametrize("data", [b"data: {" + b"x" * 120, b"{" + b"x" * 120])
    def test_so_does_what_never_comes_to_an_end(self, data):
        events, whole = Events(about(100, stream=True)), Whole(about(100))
        told = events_in(events.feed(data) + events.held)
        for _ in range(2):
            whole.feed(data)
        whole.close()
        for response in (told[-1]["response"], json.loads(whole.held)):
            assert (response["status"], response["output"]) == ("failed", [])
            assert "limits.max_reply" in response["error"]["message"]

    def test_an_error_of_the_upstreams_counts_more(self):
        told = Whole(about(10))
        told.feed(b'{"error":{"message":"out of memory"}}')
        told.close()
        assert json.loads(told.held)["status"] == "failed"


class TestSigns:
    def test_while_nothing_comes_the_answer_is_said_to_be_under_way(self):
        events = Events(about(stream=True))
        assert 0 < PATIENCE < 60
        data = events.alive() + events.alive() + events.feed(streamed(chunk({"content": "a"}), STOP))
        assert kinds(events_in(data + events.held))[:4] == [
            "created",
            "in_progress",
            "in_progress",
            "output_item.added",
        ]

    def test_a_refusal_behind_them_ends_the_answer(self):
        events = Events(about(stream=True))
        assert isinstance(events.refused(503), ErrorBody)
        data = events.alive()
        refused = events.refused(404).refused(503)
        assert (refused.headers, refused.patience) == (events.headers, PATIENCE)
        body = b'{"error":{"message":"no room","code":"overloaded"}}'
        data += refused.alive() + refused.feed(body[:9]) + refused.feed(body[9:])
        done = [refused.done]
        assert json.loads(refused.told(None, None, "partial") or b"")["response"]["status"] == "cancelled"
        data += refused.close()
        assert [*done, refused.done] == [False, True]
        told = events_in(data + refused.held)
        assert kinds(told) == ["created", "in_progress", "in_progress", "error", "failed"]
        response = told[-1]["response"]
        assert response["error"] == {"code": "overloaded", "message": "no room"}
        assert json.loads(refused.told(None, None, "failed") or b"")["response"]["error"] == response["error"]

    def test_no_more_of_one_is_read_than_an_error_has(self):
        events = Events(about(stream=True))
        events.alive()
        refused = events.refused(500)
        for _ in range(100):
            refused.feed(b"x" * 10_000)
        refused.close()
        assert len(refused.held) < 3000


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (
                b"<h1>Bad Gateway</h1>",
                {"message": "<h1>Bad Gateway</h1>", "type": "upstream_error", "param": None, "code": None},
            ),
            (
                b'{"detail":"no"}',
                {"message": '{"detail":"no"}', "type": "upstream_error", "param": None, "code": None},
            ),
            (b'{"error":"no"}', {"message": "no", "type": "upstream_error", "param": None, "code": None}),
            (b"5", {"message": "5", "type": "upstream_error", "param": None, "code": None}),
            (
                b"",
                {
                    "message": "the upstream answered 400",
                    "type": "upstream_error",
                    "param": None,
                    "code": None,
                },
            ),
            (
                b'{"error":{"code":400,"message":"the request exceeds the available context size",'
                b'"type":"exceed_context_size_error","n_ctx":4096}}',
                {
                    "message": "the request exceeds the available context size",
                    "type": "invalid_request_error",
                    "param": "input",
                    "code": "context_length_exceeded",
                },
            ),
        ],
    )
    def test_an_upstreams_error_gets_the_shape_that_clients_read(self, body, error):
        told = ErrorBody(400)
        assert told.feed(body[:5]) + told.feed(body[5:]) + told.close() + told.alive() == b""
        assert (told.done, json.loads(told.held)) == (True, {"error": error})

    def test_one_that_has_it_stays_as_it_is(self):
        body = b'{ "error": {"message":"no such model","code":"model_not_found"} }'
        told = ErrorBody(404)
        told.feed(body)
        told.close()
        assert told.held == body

    def test_no_more_of_one_is_read_than_an_error_has(self):
        told = ErrorBody(500)
        for _ in range(100):
            told.feed(b"x" * 10_000)
        told.close()
        assert len(told.held) < 3000
