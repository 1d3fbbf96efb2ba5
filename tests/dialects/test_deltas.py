"""How the pieces of one message join."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat.deltas import encode_message, merge_message


def joined(*deltas):
    message: dict = {}
    for delta in json.loads(json.dumps(deltas)):
        merge_message(message, delta)
    return json.loads(encode_message(message))


def calls(*deltas):
    return joined(*({"tool_calls": delta} for delta in deltas))["tool_calls"]


def call(arguments, **more):
    """A tool call as it is stored."""
    function = {"name": more.pop("name"), "arguments": arguments}
    return {"type": "function", **more, "function": function}


def piece(arguments=None, name=None, **more):
    """A piece of a tool call as it comes."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**more, "function": function}


@pytest.mark.parametrize(
    "key", ["content", "reasoning_content", "reasoning", "refusal", "a field that nobody knows"]
)
def test_text_is_put_together(key):
    assert joined({key: "Hel"}, {key: "lo"}, {key: ""}, {key: "!"})[key] == "Hello!"


@settings(deadline=None)
@given(st.lists(st.text()))
def test_a_text_is_the_same_in_however_many_pieces_it_came(pieces):
    assert joined(*({"content": text} for text in pieces))["content"] == "".join(pieces)


def test_keys_stay_in_the_order_in_which_they_first_came():
    message = joined({"reasoning": "Hm"}, {"role": "assistant", "content": "a"}, {"reasoning": "m"})
    assert list(message) == ["reasoning", "role", "content"]


def test_a_missing_role_is_supplied_in_front():
    assert list(joined({"content": "a"}).items()) == [("role", "assistant"), ("content", "a")]


@pytest.mark.parametrize("role", ["", None, 7, "user", "tool", "system", "bot"])
def test_under_whatever_role_a_reply_comes_it_is_the_assistants(role):
    assert joined({"role": role, "content": "a"}, {"role": "user"})["role"] == "assistant"


@pytest.mark.parametrize("key", ["id", "type"])
def test_an_identity_stands_as_it_first_came(key):
    assert joined({key: ""}, {key: "first"}, {key: "second"}, {key: "first"})[key] == "first"


def test_null_never_overwrites():
    message = joined({"content": "a", "x": 1}, {"content": None, "x": None})
    assert (message["content"], message["x"]) == ("a", 1)


def test_null_and_empty_containers_make_no_key():
    delta: dict = {"content": "a", "refusal": None, "tool_calls": [], "function_call": {}, "annotations": []}
    assert joined(delta) == {"role": "assistant", "content": "a"}


def test_content_may_be_null_beside_tool_calls():
    message = joined({"role": "assistant", "content": None}, {"tool_calls": [piece("{}", "f", index=0)]})
    assert message["content"] is None


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"content": None}, {"content": []}])
def test_a_message_that_says_nothing_has_empty_content(delta):
    assert joined(delta) == {"role": "assistant", "content": ""}


def test_the_last_number_and_the_last_boolean_stand():
    message = joined({"n": 1, "b": True}, {"n": 0, "b": False})
    assert (message["n"], message["b"]) == (0, False)


def test_a_value_that_changes_its_kind_is_replaced():
    assert joined({"x": [1]}, {"x": "a"}, {"x": {"y": 1}})["x"] == {"y": 1}


def test_lists_grow():
    assert joined({"annotations": [{"url": "a"}]}, {"annotations": [{"url": "b"}]})["annotations"] == [
        {"url": "a"},
        {"url": "b"},
    ]


def test_objects_merge_key_by_key():
    assert joined({"x": {"a": "1", "y": {"id": "i", "t": "a"}}}, {"x": {"b": 2, "y": {"id": "i", "t": "b"}}})[
        "x"
    ] == {"a": "1", "y": {"id": "i", "t": "ab"}, "b": 2}


def test_audio_grows_and_keeps_its_id_and_its_last_expiry():
    deltas = (
        {"audio": {"id": "audio_1", "transcript": "Hel"}},
        {"audio": {"id": "audio_1", "data": "AAAA"}},
        {"audio": {"data": "BBBB", "transcript": "lo", "expires_at": 1}},
        {"audio": {"expires_at": 2}},
    )
    assert joined(*deltas)["audio"] == {
        "id": "audio_1",
        "transcript": "Hello",
        "data": "AAAABBBB",
        "expires_at": 2,
    }


class TestContentInParts:
    def test_text_after_parts_becomes_a_part(self):
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
        message = joined({"content": [thinking]}, {"content": "Hel"}, {"content": ""}, {"content": "lo"})
        assert message["content"] == [thinking, {"type": "text", "text": "Hello"}]

    def test_parts_after_text_follow_it_as_parts(self):
        message = joined({"content": "a"}, {"content": "b"}, {"content": [{"type": "image"}]})
        assert message["content"] == [{"type": "text", "text": "ab"}, {"type": "image"}]

    def test_one_part_may_come_without_a_list(self):
        part = {"type": "text", "text": "a"}
        assert joined({"content": part}, {"content": part})["content"] == [{"type": "text", "text": "aa"}]

    def test_parts_after_an_empty_text_stand_alone(self):
        assert joined({"content": ""}, {"content": [{"type": "image"}]})["content"] == [{"type": "image"}]

    def test_text_after_an_empty_list_is_text(self):
        assert joined({"content": []}, {"content": "a"})["content"] == "a"

    def test_text_continues_a_last_part_of_text(self):
        parts = [{"type": "text", "text": "a"}]
        assert joined({"content": parts}, {"content": "b"}, {"content": "c"})["content"] == [
            {"type": "text", "text": "abc"}
        ]


class TestToolCalls:
    def test_pieces_join_by_index_and_the_index_goes(self):
        assert calls(
            [piece("", "weather", index=0, id="a", type="function")],
            [piece('{"city":', index=0)],
            [piece('"Bonn"}', index=0)],
        ) == [call('{"city":"Bonn"}', name="weather", id="a", type="function")]

    def test_several_calls_may_come_in_one_delta(self):
        assert calls(
            [piece("", "f", index=0), piece("", "g", index=1)], [piece("1", index=0), piece("2", index=1)]
        ) == [call("1", name="f"), call("2", name="g")]

    def test_two_pieces_of_one_call_may_come_in_one_delta(self):
        assert calls([piece(name="f", index=0), piece("1", index=0)]) == [call("1", name="f")]

    def test_calls_out_of_order_are_stored_in_order(self):
        assert calls([piece("2", "g", index=1)], [piece("1", "f", index=0)]) == [
            call("1", name="f"),
            call("2", name="g"),
        ]

    def test_without_an_index_the_id_tells_which_call_goes_on(self):
        assert calls(
            [piece("1", "f", id="a")], [piece("2", "g", id="b")], [piece("1", id="a"), piece("2", id="b")]
        ) == [call("11", name="f", id="a"), call("22", name="g", id="b")]

    def test_without_index_and_id_the_position_tells_it(self):
        assert calls([piece("1", "f"), piece("2", "g")], [piece("1"), piece("2")], [piece("1")]) == [
            call("111", name="f"),
            call("22", name="g"),
        ]

    @pytest.mark.parametrize("place", [{}, {"index": None}, {"index": "first"}, {"index": True}])
    def test_whole_calls_one_after_another_without_index_stay_apart(self, place):
        assert calls([piece("{}", "f", id="", **place)], [piece("{}", "f", id="", **place)]) == [
            call("{}", name="f", id=""),
            call("{}", name="f", id=""),
        ]

    def test_calls_without_index_keep_the_order_in_which_they_came(self):
        assert [each["id"] for each in calls([{"id": "a"}, {"id": "b"}], [{"id": "c"}], [{"id": "d"}])] == [
            *"abcd"
        ]

    def test_whole_calls_that_all_claim_index_0_stay_apart(self):
        assert calls(
            [piece({"a": 1}, "f", index=0, id="a")],
            [piece("{}", "f", index=0, id="b")],
            [piece("{}", "g", index=0, id="c")],
        ) == [
            call('{"a":1}', name="f", id="a"),
            call("{}", name="f", id="b"),
            call("{}", name="g", id="c"),
        ]

    def test_a_new_id_with_each_piece_makes_no_new_call(self):
        assert calls(
            [piece("", "f", index=0, id="a")],
            [piece("{}", index=0, id="b")],
            [piece("", index=0, id="c")],
        ) == [call("{}", name="f", id="a")]

    def test_id_and_name_repeated_with_each_piece_make_no_new_call(self):
        assert calls([piece('{"a":', "f", index=0, id="a")], [piece("1}", "f", index=0, id="b")]) == [
            call('{"a":1}', name="f", id="a")
        ]

    def test_an_id_that_comes_late_is_taken(self):
        assert calls([piece("", "f", index=0, id="")], [piece("{}", index=0, id="a")]) == [
            call("{}", name="f", id="a")
        ]

    def test_a_name_in_fragments_is_put_together(self):
        assert calls([piece(name="get_", index=0)], [piece("", "weather", index=0)]) == [
            call("", name="get_weather")
        ]

    def test_a_repeated_name_is_no_fragment(self):
        assert calls([piece("", "f", index=0)], [piece("1", "f", index=0)]) == [call("1", name="f")]

    def test_an_empty_name_says_nothing(self):
        assert calls([piece("", "", index=0)], [piece("", "f", index=0)], [piece("", "", index=0)]) == [
            call("", name="f")
        ]

    def test_a_name_is_settled_once_the_arguments_have_begun(self):
        assert calls([piece("{", "f", index=0)], [piece("}", "g", index=0)]) == [call("{}", name="f")]

    def test_a_name_that_is_no_string_replaces_none(self):
        assert calls([piece("", "f", index=0)], [piece("", 7, index=0)]) == [call("", name="f")]

    @pytest.mark.parametrize(
        ("arguments", "text"), [({"city": "Bonn"}, '{"city":"Bonn"}'), ({}, "{}"), ([1], "[1]")]
    )
    def test_arguments_that_are_no_string_are_written_as_one(self, arguments, text):
        assert calls([piece("", "f", index=0)], [piece(arguments, index=0)], [piece("", index=0)]) == [
            call(text, name="f")
        ]

    def test_arguments_sent_twice_as_an_object_are_not_joined(self):
        assert calls([piece({"a": "x"}, "f", index=0)], [piece({"a": "x"}, index=0)]) == [
            call('{"a":"x"}', name="f")
        ]

    def test_unknown_fields_of_a_call_are_kept(self):
        signature = {"google": {"thought_signature": "c2ln"}}
        assert calls([piece("{}", "f", index=0, extra_content=signature)])[0]["extra_content"] == signature

    def test_nulls_in_the_pieces_leave_no_trace(self):
        first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": None}}
        later = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": "{}"}}
        assert calls([first], [later]) == [call("{}", name="f", id="a", type="function")]

    def test_a_call_of_another_type_is_kept(self):
        custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SEL"}}
        assert calls([custom], [{"index": 0, "custom": {"input": "ECT"}}]) == [
            {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}
        ]

    def test_one_call_may_come_without_a_list(self):
        assert joined({"tool_calls": piece("{}", "f")})["tool_calls"] == [call("{}", name="f")]

    @pytest.mark.parametrize("nonsense", ["x", ["x"], [None], 7])
    def test_what_is_no_call_is_left_out(self, nonsense):
        assert joined({"tool_calls": nonsense}) == {"role": "assistant", "content": ""}

    def test_a_function_that_is_no_object_is_left_out(self):
        assert calls([{"index": 0, "id": "a", "function": "f"}], [piece("{}", "f", id="b")]) == [
            {"id": "a"},
            call("{}", name="f", id="b"),
        ]


class TestFunctionCall:
    def test_the_deprecated_function_call_joins_like_a_tool_call(self):
        assert joined(
            {"content": None, "function_call": {"name": "f", "arguments": ""}},
            {"function_call": {"arguments": '{"a":'}},
            {"function_call": {"arguments": "1}"}},
        ) == {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}


class TestReasoningDetails:
    def test_pieces_with_an_index_join_and_keep_it(self):
        kind = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
        assert joined(
            {"reasoning_details": [{**kind, "text": "Let"}]},
            {"reasoning_details": [{**kind, "text": " me"}]},
            {"reasoning_details": [{**kind, "signature": "c2ln"}]},
        )["reasoning_details"] == [{**kind, "text": "Let me", "signature": "c2ln"}]

    def test_a_signature_that_is_repeated_stays_one(self):
        pieces = [{"index": 0, "signature": "c2ln"}, {"index": 0, "text": "a", "signature": "c2ln"}]
        assert joined({"reasoning_details": pieces})["reasoning_details"] == [
            {"index": 0, "signature": "c2ln", "text": "a"}
        ]

    def test_pieces_of_one_delta_join_too(self):
        pieces = [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}, {"index": 1, "text": "c"}]
        assert joined({"reasoning_details": pieces})["reasoning_details"] == [
            {"index": 0, "text": "ab"},
            {"index": 1, "text": "c"},
        ]

    def test_pieces_without_an_index_are_listed(self):
        pieces = [{"text": "a"}, {"text": "b"}]
        assert joined({"reasoning_details": pieces})["reasoning_details"] == pieces

    @pytest.mark.parametrize("key", ["type", "id"])
    def test_another_kind_under_the_same_index_is_an_entry_of_its_own(self, key):
        pieces = [{"index": 0, key: "a", "data": "x"}, {"index": 0, key: "b", "data": "y"}]
        assert joined({"reasoning_details": pieces})["reasoning_details"] == pieces

    @pytest.mark.parametrize("odd", ["text", ["text"]])
    def test_another_form_is_kept(self, odd):
        assert joined({"reasoning_details": odd})["reasoning_details"] == odd


class TestThinkingInBlocks:
    def block(self, text, signature=""):
        return {"type": "thinking", "thinking": text, "signature": signature}

    def test_the_blocks_of_all_deltas_are_one_until_its_signature_comes(self):
        told = [
            [],
            [self.block("a")],
            [self.block("b")],
            [self.block("", "s")],
            [self.block("c"), self.block("d")],
        ]
        assert joined(*({"thinking_blocks": each} for each in told))["thinking_blocks"] == [
            self.block("ab", "s"),
            self.block("cd"),
        ]

    @pytest.mark.parametrize("odd", ["text", {"a": 1}])
    def test_another_form_is_kept(self, odd):
        assert joined({"thinking_blocks": odd})["thinking_blocks"] == odd


class TestUnicode:
    def test_an_emoji_whose_halves_came_apart_is_whole_again(self):
        assert joined({"content": "a\ud83d"}, {"content": "\ude00b"})["content"] == "a\U0001f600b"

    def test_a_half_that_stays_alone_is_replaced(self):
        assert joined({"content": "a\ud83d"})["content"] == "a\ufffd"

    def test_tool_calls_beside_such_a_half_are_written_too(self):
        message = joined(
            {"content": "\ud83d"}, {"tool_calls": [piece("{", "f", index=0)]}, {"x": "a"}, {"x": "b"}
        )
        assert (message["tool_calls"], message["x"]) == ([call("{", name="f")], "ab")


def test_a_message_may_be_written_while_it_grows():
    message: dict = {}
    for delta in ({"content": "a"}, {"content": "b"}, {"tool_calls": [piece("1", "f", index=0)]}):
        merge_message(message, delta)
        encode_message(message)
    merge_message(message, {"content": "c"})
    assert json.loads(encode_message(message))["content"] == "abc"


@pytest.mark.parametrize(
    "kind", ["text", "output_text", "thinking", "reasoning", "reasoning_text", "summary_text"]
)
def test_parts_of_a_kind_that_is_told_in_pieces_go_on_in_one(kind):
    pieces = ({"content": [{"type": kind, "text": each}]} for each in ("rain ", "and sun"))
    assert joined(*pieces)["content"] == [{"type": kind, "text": "rain and sun"}]


def test_parts_of_any_other_kind_stay_apart():
    part = {"type": "image_url", "image_url": {"url": "a"}}
    assert joined({"content": [part]}, {"content": [part]})["content"] == [part, part]
