"""The body of a chat completion: what is read from it, and what writing it back leaves alone."""

from __future__ import annotations

import json
import tracemalloc
from bisect import bisect

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.measure import total
from sidecar.dialects.chat.request import parse
from sidecar.errors import BadRequest
from tests.conversation.build import CHAIN, calls, raw, request, result, says, user

SYSTEM = {"role": "system", "content": "be kind"}
DEVELOPER = {"role": "developer", "content": "be brief"}


def refused(body):
    with pytest.raises(BadRequest) as caught:
        parse(body, CHAIN)
    return caught.value


def roles(messages):
    return [each.role for each in messages]


class TestReading:
    def test_leading_system_messages_belong_to_the_request(self):
        asked = request(SYSTEM, DEVELOPER, user("hi"), SYSTEM, says("hello"), user("and?"))
        assert roles(asked.system) == ["system", "developer"]
        assert roles(asked.path.messages) == ["user", "system", "assistant", "user"]

    def test_so_do_those_behind_the_newest_question_and_no_others(self):
        asked = request(user("hi"), SYSTEM, DEVELOPER)
        assert (roles(asked.path.messages), roles(asked.tail)) == (["user"], ["system", "developer"])
        assert roles(asked.sent) == ["user", "system", "developer"]
        asked = request(user("hi"), says("hello"), SYSTEM)
        assert (roles(asked.path.messages), asked.tail) == (["user", "assistant", "system"], ())

    def test_a_request_of_system_messages_alone_has_no_path(self):
        asked = request(SYSTEM)
        assert (len(asked.system), len(asked.path), asked.prefill) == (1, 0, None)

    def test_an_assistant_message_at_the_end_is_to_be_extended(self):
        asked = request(user("hi"), says("Once"))
        assert asked.prefill is not None
        assert (asked.prefill.fields, len(asked.path), asked.last_answer) == (says("Once"), 1, 0)

    def test_messages_keep_their_bytes(self):
        body = b'{"messages":[ {"content":"hi" , "role":"user"} ]}'
        assert parse(body, CHAIN).path.messages[0].raw == b'{"content":"hi" , "role":"user"}'

    @pytest.mark.parametrize(
        ("messages", "last"),
        [
            ([], 0),
            ([user("a")], 0),
            ([user("a"), says("b"), user("c")], 2),
            ([user("a"), calls("c"), result("c"), result("d")], 2),
        ],
    )
    def test_the_last_answer_is_the_last_assistant_message(self, messages, last):
        assert request(*messages).last_answer == last

    def test_model_and_tools_are_read(self):
        asked = request(user("hi"), model="m", tools=[{"type": "function"}])
        assert (asked.model, asked.tools) == ("m", b'[{"type": "function"}]')

    @pytest.mark.parametrize("odd", [{}, {"model": 3, "tools": None}, {"tools": []}])
    def test_what_is_missing_or_odd_counts_as_not_said(self, odd):
        asked = request(user("hi"), **odd)
        assert (asked.model, asked.tools) == (None, b"")

    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            (r"\ud83d\ud83d\ude00", "\ufffd😀"),
            (r"\ude00\uD83D\uDE00\ude00", "\ufffd😀\ufffd"),
            (r"\\\ud83d\\\\ude00", "\\\ufffd\\\\ude00"),
            (r"\ud83d\n\u0041\"\\", '\ufffd\nA"\\'),
        ],
    )
    def test_each_half_is_replaced_and_nothing_else(self, sent, read):
        asked = parse(b'{"messages":[{"role":"user","content":"%s"}]}' % sent.encode(), CHAIN)
        assert asked.path.messages[0].fields["content"] == read

    def test_half_an_emoji_beside_bytes_that_are_no_text_is_refused(self):
        assert refused(b'{"messages":[{"role":"user","content":"\\ud83d\xff"}]}').code == "invalid_json"

    def test_half_an_emoji_reads_as_a_replacement_character(self):
        body = rb'{"messages":[{"role":"user","content":"a \ud83d \\ud83d \ud83d\ude00"}],"user":"\udc00"}'
        asked = parse(body, CHAIN)
        assert asked.body == body
        assert asked.path.messages[0].fields["content"] == "a \ufffd \\ud83d 😀"
        assert json.loads(asked.with_fields({"n": b"1"}))["n"] == 1


class TestRefusing:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hi",
            b'{"messages":[]',
            b'{"messages": 5, ',
            b'{"messages":[{"role":"user"}],"model":"\xff"}',
            b'{"messages": 5, "a":' + b"[" * 100_000,
            b'{"messages":[],"a":' + b"[" * 100_000,
        ],
    )
    def test_what_is_no_json_is_refused_as_that(self, body):
        error = refused(body)
        assert (error.status, error.code, error.param) == (400, "invalid_json", None)
        assert error.message.startswith("the body is not valid JSON: ")

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"[]", "the body has to be a JSON object with a list of `messages`"),
            (b'"hi"', "the body has to be a JSON object with a list of `messages`"),
            (b"{}", "`messages` is missing: it has to be a list of message objects"),
            (b'{"messages":null}', "`messages` has to be a list of message objects"),
            (b'{"messages":{}}', "`messages` has to be a list of message objects"),
        ],
    )
    def test_a_body_without_a_list_of_messages_is_refused(self, body, sentence):
        error = refused(body)
        assert (error.status, error.code, error.param) == (400, "invalid_messages", "messages")
        assert error.message == sentence

    @pytest.mark.parametrize("wrong", ['"hi"', "null", "[]", "1", "[" * 5000 + "]" * 5000])
    def test_a_message_that_is_no_object_is_named(self, wrong):
        error = refused(b'{"messages":[{"role":"user"},%s]}' % wrong.encode())
        assert error.status == 400
        assert (error.code, error.param) in (("invalid_messages", "messages[1]"), ("invalid_json", None))

    @pytest.mark.parametrize(
        "odd",
        [
            {},
            {"role": "prophet", "content": {"deep": [1]}},
            {"role": None},
            user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,é"}}]),
            user([{"type": "image_url", "image_url": "x"}, {"type": "text"}, 3]),
            calls("c", arguments="[" * 100_000),
            says(None, tool_calls={"id": 1}),
        ],
    )
    def test_what_the_upstream_might_understand_is_not_refused(self, odd):
        assert len(request(odd, user("hi")).path) == 2


class TestWritingBack:
    BODY = b'{"temperature": 1.00, "messages" : [{"role":"user","content":"hi"}], "x": {"b":1, "a":1e2}}'

    def test_other_keys_keep_their_place_their_spelling_and_their_numbers(self):
        written = parse(self.BODY, CHAIN).with_messages([b'{"role":"user"}', b"{}"])
        assert written == b'{"temperature":1.00,"messages":[{"role":"user"},{}],"x":{"b":1, "a":1e2}}'

    def test_further_keys_come_last(self):
        asked = parse(self.BODY, CHAIN)
        assert asked.with_messages([], extra={"n\u00e9": b'"y"'}) == (
            '{"temperature":1.00,"messages":[],"x":{"b":1, "a":1e2},"n\u00e9":"y"}'.encode()
        )
        assert asked.with_fields({"y": b"2"}) == (
            b'{"temperature":1.00,"messages":[{"role":"user","content":"hi"}],"x":{"b":1, "a":1e2},"y":2}'
        )

    def test_a_key_that_the_client_set_itself_stays_as_it_is(self):
        asked = parse(b'{"a": 1.0, "messages": [], "b": "mine"}', CHAIN)

        assert asked.with_fields({"b": b'"ours"'}) is asked.body
        assert asked.with_messages([b"{}"], extra={"b": b'"ours"', "c": b'"ours"'}) == (
            b'{"a":1.0,"messages":[{}],"b":"mine","c":"ours"}'
        )

    def test_a_value_that_is_put_in_another_ones_place_stands_where_that_stood(self):
        written = parse(self.BODY, CHAIN).with_values({"temperature": b"2", "model": b'"m"'})
        said = b'"messages":[{"role":"user","content":"hi"}],"x":{"b":1, "a":1e2}'
        assert written == b'{"temperature":2,%b,"model":"m"}' % said

    def test_a_request_in_another_body_says_the_same_otherwise(self):
        asked = parse(self.BODY, CHAIN)
        other = asked.with_body(b'{"messages":[],"n":1}')
        assert (other.body, other.sent, other.path) == (b'{"messages":[],"n":1}', asked.sent, asked.path)

    @pytest.mark.parametrize("nothing", [b"null", b'""'])
    def test_a_key_without_a_value_is_set(self, nothing):
        asked = parse(b'{"b": ' + nothing + b', "messages": []}', CHAIN)

        assert asked.with_fields({"b": b'"ours"'}) == b'{"b":"ours","messages":[]}'

    @given(
        st.dictionaries(
            st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        ),
        st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5)), max_size=3),
    )
    def test_nothing_but_the_messages_changes(self, others, messages):
        body = json.dumps({**others, "messages": [user("hi")]}).encode()
        written = parse(body, CHAIN).with_messages([json.dumps(each).encode() for each in messages])
        assert json.loads(written) == {**others, "messages": messages}


MESSAGES = st.lists(
    st.sampled_from([SYSTEM, user("a"), user("b"), says("c"), calls("d"), result("d")]), max_size=8
)


def nested(levels):
    return b'{"messages":[{"role":"user","content":' + b"[" * levels + b"]" * levels + b"}]}"


def is_readable(levels):
    try:
        msgspec.json.decode(b"[" * levels + b"]" * levels)
    except RecursionError:
        return False
    return True


class TestDepth:
    def test_what_could_be_kept_and_not_be_read_again_is_refused(self):
        said = set()
        # How deep Python reads differs: some 1,000 levels in 3.11, 10,000 in 3.13.
        deepest = bisect(range(100_000), False, key=lambda levels: not is_readable(levels))
        for levels in range(deepest - 500, deepest + 100, 10):
            try:
                parse(nested(levels), CHAIN)
            except BadRequest as error:
                said.add(error.message)
        assert "messages[0] is nested too deep" in said

    def test_what_is_nested_as_a_person_would_is_read(self):
        assert len(parse(nested(50), CHAIN).path) == 1


class TestMeasuring:
    @given(MESSAGES, MESSAGES)
    def test_what_is_taken_over_from_a_request_before_is_what_measuring_gives(self, earlier, later):
        before = request(*earlier)
        assert before.measure == total(each.measure for each in before.sent)
        for body in (request(*later).body, request(*earlier, *later).body):
            asked = parse(body, CHAIN, before)
            assert asked.measure == total(each.measure for each in asked.sent)
            assert asked.measure is asked.measure


class TestRecognising:
    @given(MESSAGES, MESSAGES)
    def test_what_is_taken_over_from_a_request_before_is_what_reading_gives(self, earlier, later):
        body = request(*later).body

        assert parse(body, CHAIN, request(*earlier)) == parse(body, CHAIN)

    def test_the_front_that_stays_the_same_is_not_read_again(self):
        before = request(SYSTEM, user("a"), says("b"), user("c"))
        after = parse(request(SYSTEM, user("a"), says("b"), user("other"), user("d")).body, CHAIN, before)

        assert [new is old for new, old in zip(after.sent, before.sent, strict=False)] == [
            True,
            True,
            True,
            False,
        ]

    @pytest.mark.parametrize("size", [1, 1 << 20])
    def test_only_what_was_edited_is_read_again_amid_what_stays_the_same(self, size):
        before = request(SYSTEM, user("a" * size), says("b"), user("c"))
        after = parse(request(SYSTEM, user("a" * size), says("B"), user("c")).body, CHAIN, before)

        same = [new is old for new, old in zip(after.sent, before.sent, strict=True)]
        assert same == [True, True, False, True]

    def test_a_message_that_is_spelled_otherwise_is_read(self):
        before = parse(b'{"messages":[{"role":"user","content":"a"}]}', CHAIN)
        after = parse(b'{"messages":[{"role":"user", "content":"a"}]}', CHAIN, before)

        assert after.sent[0].raw != before.sent[0].raw
        assert after.path.hashes == before.path.hashes


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 0}, 5),
        ({"max_tokens": 0, "max_completion_tokens": -1}, None),
        ({"max_tokens": 1}, 1),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, None),
    ],
)
def test_an_answer_is_as_long_as_the_newer_of_its_two_names_says_and_none_says_no_limit(said, most):
    assert request(user("hi"), **said).max_tokens == most


@pytest.mark.parametrize(("said", "choices"), [({}, 1), ({"n": 3}, 3), ({"n": 0}, 1), ({"n": True}, 1)])
def test_one_answer_is_asked_for_unless_more_are(said, choices):
    assert request(user("hi"), **said).choices == choices


@pytest.mark.parametrize(
    ("more", "user"),
    [
        ({}, None),
        ({"user": 7, "safety_identifier": ""}, None),
        ({"user": "u"}, "u"),
        ({"safety_identifier": "s"}, "s"),
        ({"user": "u", "safety_identifier": "s"}, "s"),
    ],
)
def test_whom_it_names_as_its_user_is_known(more, user):
    body = json.dumps({"messages": [], **more}).encode()
    assert parse(body, CHAIN).user == user


@pytest.mark.parametrize(
    "messages",
    [
        [user("a" * 9), says("b")] * 2000,
        [user("word " * 100_000)],
        [user("q")],
        [user([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}] * 2000)],
        [user("q " * 300), says("a " * 1000)] * 200,
    ],
    ids=["many", "long", "short", "in parts", "usual"],
)
def test_it_weighs_about_what_it_takes_of_memory_and_rather_more(messages):
    sent = raw({"messages": messages})
    parse(sent, CHAIN)
    tracemalloc.start()
    try:
        asked = parse(bytes(bytearray(sent)), CHAIN)
        assert [each.fields for each in asked.sent] == messages
        read = [each.fields for each in asked.sent]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert read
    assert 0.98 * taken <= asked.weight <= 2.5 * taken


def test_a_long_message_of_a_large_body_is_not_held_as_it_was_read():
    """It is read anew for whoever asks; the bytes of the body and its own are all that stays."""
    large, small = ([user("word " * count), user("q")] for count in (300_000, 100_000))
    assert 2 * len(raw(large)) < request(*large).weight < 2.01 * len(raw(large))
    assert 3 * len(raw(small)) < request(*small).weight < 3.01 * len(raw(small))


@pytest.mark.parametrize(
    ("body", "is_large"),
    [
        (b'{"messages":[]%b}' % (b" " * ((1 << 20) - 15)), False),
        (b'{"messages":[]%b}' % (b" " * ((1 << 20) - 14)), True),
        (b'{"messages":[%b]}' % b",".join([b"{}"] * 2000), False),
        (b'{"messages":[%b]}' % b",".join([b"{}"] * 2001), True),
    ],
)
def test_a_mebibyte_or_two_thousand_messages_are_looked_through_at_once(body, is_large):
    assert parse(body, CHAIN).is_large is is_large
