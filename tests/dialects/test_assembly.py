"""What a response said: its replies, model, usage, errors and end."""

from __future__ import annotations

import json
from bisect import bisect_left

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat.assembly import Assembler, from_body, from_json, from_stream

HELLO = {"role": "assistant", "content": "Hello"}


def stream(*payloads):
    """A stream of chunks (as values) and other payloads (as bytes)."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in payloads)
    return b"".join(b"data: " + part + b"\n\n" for part in parts)


def chunk(finish_reason=None, index=0, **delta):
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def told(*payloads):
    """The messages of a stream."""
    return [json.loads(reply.message) for reply in from_stream(stream(*payloads)).replies]


class TestReplies:
    def test_deltas_make_one_message(self):
        assert told(chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo")) == [HELLO]

    def test_a_role_alone_is_an_empty_message(self):
        assert told(chunk(role="assistant"), chunk("stop")) == [{"role": "assistant", "content": ""}]

    def test_every_choice_is_a_reply_in_the_order_of_the_indices(self):
        replies = from_stream(
            stream(
                chunk(index=2, content="c"), chunk("stop", index=0, content="a"), chunk(index=2, content="c")
            ),
            choices=3,
        ).replies
        assert [(each.index, json.loads(each.message)["content"]) for each in replies] == [
            (0, "a"),
            (2, "cc"),
        ]

    def test_the_last_finish_reason_that_says_something_stands(self):
        replies = from_stream(stream(chunk("length"), chunk("stop"), chunk(""), chunk(None))).replies
        assert replies[0].finish_reason == "stop"

    def test_a_finish_reason_may_come_without_a_delta(self):
        last = {"choices": [{"index": 0, "finish_reason": "stop"}]}
        assert from_stream(stream(chunk(content="a"), last)).replies[0].finish_reason == "stop"

    def test_whole_messages_in_place_of_deltas_are_taken_as_they_are(self):
        first = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "He"}}]}
        whole = b'{"role":"assistant","content":"Hello", "x":1.50}'
        last = b'{"choices":[{"delta":{},"message":%b,"finish_reason":"stop"}]}' % whole
        assert from_stream(stream(first, last)).replies[0].message == whole

    def test_deltas_are_believed_where_messages_come_beside_them(self):
        both = {"delta": {"content": "Hello"}, "message": {"role": "assistant", "content": "Hello so far"}}
        assert told({"choices": [both]}) == [HELLO]

    @pytest.mark.parametrize("message", [None, "Hello", ["Hello"]])
    def test_a_message_that_is_no_object_is_none(self, message):
        assert told({"choices": [{"index": 0, "message": message}]}) == []

    def test_legacy_text_is_no_message(self):
        assert told({"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]}) == []

    @pytest.mark.parametrize("indexes", [("0", "1"), (0, 0), (None, None), ("x", "y"), (0.0, "1")])
    def test_two_that_were_asked_for_are_two_whatever_their_indexes(self, indexes):
        choices = [{"index": at, "message": {"content": f"{n}"}} for n, at in enumerate(indexes)]
        replies = from_json(json.dumps({"choices": choices}).encode(), choices=2).replies
        assert [json.loads(each.message)["content"] for each in replies] == ["0", "1"]

    def test_two_pieces_without_an_index_of_their_own_in_one_chunk_are_of_two_answers(self):
        choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in "ab"]
        replies = from_stream(stream({"choices": choices}, {"choices": choices}), choices=2).replies
        assert [json.loads(each.message)["content"] for each in replies] == ["aa", "bb"]

    @pytest.mark.parametrize("index", [None, "0", True, 0.5])
    def test_an_index_that_is_no_number_is_the_first(self, index):
        assert told(chunk(content="Hel"), chunk(index=index, content="lo")) == [HELLO]


class TestFinishReasons:
    @pytest.mark.parametrize(
        ("chunks", "reasons"),
        [
            ([], []),
            ([chunk(content="a")], [None]),
            ([chunk("stop", content="a")], ["stop"]),
            ([chunk("stop", content="a"), chunk(index=1, content="b")], ["stop", None]),
            ([chunk("stop", content="a"), chunk("length", index=1, content="b")], ["stop", "length"]),
            ([chunk("error", content="a"), {"error": {"message": "no"}}], ["error"]),
        ],
    )
    def test_every_reply_has_its_own_reason_or_none(self, chunks, reasons):
        replies = from_stream(stream(*chunks), choices=2).replies
        assert [each.finish_reason for each in replies] == reasons

    @pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE]"])
    def test_done_is_seen(self, end):
        assert from_stream(stream(chunk(content="a")) + end).done

    def test_a_stream_without_done_is_not_done(self):
        assert not from_stream(stream(chunk("stop", content="[DONE]"))).done


class TestAroundTheReplies:
    def test_the_first_model_that_has_a_name_stands(self):
        assert from_stream(stream({"model": ""}, {"model": "a"}, {"model": "b"})).model == "a"

    def test_the_last_usage_stands_as_it_was_written(self):
        usages = (
            b'{"choices":[],"usage":%b}' % usage for usage in (b'{"n":1}', b'{"n":2.50, "m":[]}', b"null")
        )
        assert from_stream(stream(*usages)).usage == b'{"n":2.50, "m":[]}'

    def test_the_first_error_stands_as_it_was_written(self):
        errors = (b'{"error":%b}' % error for error in (b"null", b'{"code": 1}', b'"no"'))
        assert from_stream(stream(*errors)).error == b'{"code": 1}'

    def test_an_error_may_be_a_sentence(self):
        assert from_stream(stream({"error": "model not found"})).error == b'"model not found"'

    def test_an_error_may_be_the_payload_itself(self):
        error = {"object": "error", "message": "too long", "code": 400}
        assert json.loads(from_stream(stream(error)).error or b"") == error

    def test_an_error_may_stand_in_a_choice(self):
        broken = {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502}}]}
        assembled = from_stream(stream(chunk(content="a"), broken))
        assert (assembled.error, assembled.replies[0].finish_reason) == (b'{"code": 502}', "error")

    def test_an_error_may_stand_in_a_delta(self):
        assembled = from_stream(stream(chunk(content="a"), chunk(error={"code": 502})))
        assert (assembled.error, assembled.replies[0].failed) == (b'{"code":502}', True)
        assert json.loads(assembled.replies[0].message)["content"] == "a"

    @pytest.mark.parametrize(
        "error",
        [
            {"choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": 1008}},
            {"code": 500, "msg": "404 NOT_FOUND", "success": False},
            {"code": "1002", "msg": "no"},
            {"status": "failed", "reason": "no"},
            {"success": False},
            {"error_code": 17, "error_msg": "no"},
            {"Error": {"code": 1}},
            {"detail": "no"},
            {"fault": {"faultstring": "no"}},
            {"errors": [{"message": "no"}]},
            {"type": "error"},
        ],
    )
    def test_an_error_may_go_by_another_name(self, error):
        assert from_stream(stream(chunk(content="a"), error)).error is not None

    @pytest.mark.parametrize(
        "fine",
        [
            {"choices": [], "usage": {"total_tokens": 1}, "base_resp": {"status_code": 0, "status_msg": ""}},
            {"code": 0, "msg": "success"},
            {"msg": "still thinking"},
            {"status": "processing"},
            {"type": "ping"},
            {"success": True},
        ],
    )
    def test_what_goes_well_is_none(self, fine):
        assert from_stream(stream(chunk(content="a"), fine)).error is None

    def test_what_is_no_json_object_is_ignored_and_counted(self):
        assembled = from_stream(
            stream(chunk(content="a"), b"hello", b"[]", b"7", b"", b'{"choices":[{"delta')
        )
        assert (len(assembled.replies), assembled.ignored) == (1, 5)

    @pytest.mark.parametrize(
        "odd",
        [{}, {"choices": None}, {"choices": []}, {"choices": {}}, {"choices": [7, None]}, {"choices": [{}]}],
    )
    def test_an_object_that_says_nothing_is_not_counted(self, odd):
        assembled = from_stream(stream(odd))
        assert (assembled.replies, assembled.ignored) == ((), 0)


class TestWhatAStrictDecoderRefuses:
    def test_members_of_another_type_do_not_cost_the_content(self):
        odd = {"model": 7, "usage": 7, "choices": [{"delta": {"content": "Hello"}, "finish_reason": 7}, "x"]}
        assembled = from_stream(stream(odd))
        assert json.loads(assembled.replies[0].message) == HELLO
        assert (assembled.model, assembled.usage, assembled.replies[0].finish_reason) == (None, b"7", None)

    def test_a_delta_that_is_no_object_is_none(self):
        assert told(chunk(content="Hello"), {"choices": [{"delta": "x"}]}) == [HELLO]

    def test_not_a_number_among_the_logprobs_does_not_cost_the_content(self):
        odd = b'{"choices":[{"logprobs":[NaN,-Infinity],"delta":{"content":"Hello","x":NaN}}]}'
        assert told(odd) == [HELLO]

    def test_an_emoji_whose_halves_came_in_two_chunks_is_whole_again(self):
        assert told(chunk(content="\ud83d"), chunk(content="\ude00"))[0]["content"] == "\U0001f600"

    def test_bytes_that_are_no_character_are_replaced(self):
        odd = b'{"choices":[{"delta":{"content":"a\xf0\x9f"},"message":null}],"usage":{"x":"\xf0\x9f"}}'
        assembled = from_stream(stream(odd))
        assert json.loads(assembled.replies[0].message)["content"] == "a\ufffd"
        assert assembled.usage == '{"x":"\ufffd"}'.encode()

    def test_bytes_that_are_no_character_are_replaced_in_a_whole_message_too(self):
        body = b'{"choices":[{"message":{"role": "assistant", "content": "a\xf0\x9f"}}]}'
        assert from_json(body).replies[0].message == '{"role": "assistant", "content": "a\ufffd"}'.encode()


class TestJson:
    def test_the_message_keeps_its_very_bytes(self):
        message = b'{ "role":"assistant","content":"\\u0048ello",\n "refusal":null, "x":1.50 }'
        body = b'{"model":"m","choices":[{"index":0,"message":%b,"finish_reason":"stop"}],"usage":{"n": 1}}'
        assembled = from_json(body % message)
        assert assembled.replies[0].message == message
        assert (assembled.model, assembled.usage, assembled.replies[0].settled) == ("m", b'{"n": 1}', True)

    @pytest.mark.parametrize("role", ["user", "tool", "system", "bot", "", None, 7, {"a": 1}])
    def test_under_whatever_role_it_comes_it_is_the_assistants(self, role):
        message = {"content": "Hello", "role": role, "x": []}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        assert json.loads(from_json(body).replies[0].message) == {**message, "role": "assistant"}

    def test_a_message_without_a_role_is_the_assistants(self):
        reply = from_json(b'{"choices":[{"message":{"content":"Hello"}}]}').replies[0]
        assert json.loads(reply.message) == HELLO

    def test_every_choice_is_a_reply(self):
        choices = [{"index": index, "message": {"content": str(index)}} for index in (1, 0)]
        assert [
            each.index for each in from_json(json.dumps({"choices": choices}).encode(), choices=2).replies
        ] == [0, 1]

    def test_an_error_is_told(self):
        assembled = from_json(b'{"error": {"message":"no"}}')
        assert (assembled.replies, assembled.error) == ((), b'{"message":"no"}')

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b'"x"', b"null", b'{"choices":[{"mess', b"\xff", b"{}"]
    )
    def test_what_is_no_completion_has_no_replies(self, body):
        assembled = from_json(body)
        assert (assembled.replies, assembled.error) == ((), None)

    @settings(deadline=None)
    @given(st.binary())
    def test_nothing_raises(self, body):
        assert from_json(body).replies == ()


KEYS = [
    "role",
    "id",
    "type",
    "content",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "index",
]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "a", "{}", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, "reasoning_details", "text", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
CHOICES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["index", "delta", "message", "finish_reason", "error"], ANY)
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=3)}, optional={"usage": ANY, "error": ANY}
)


@settings(deadline=None)
@given(st.lists(CHUNKS | ANY, max_size=5))
def test_whatever_comes_nothing_raises_and_every_message_is_an_object(payloads):
    assembled = from_stream(stream(*payloads))
    for reply in assembled.replies:
        assert isinstance(msgspec.json.decode(reply.message), dict)
    for raw in (assembled.usage, assembled.error):
        assert raw is None or msgspec.json.decode(raw) is not None


@pytest.mark.parametrize("where", [b"delta", b"message"])
def test_nesting_without_end_is_ignored(where):
    body = b'{"choices":[{"%b":{"x":%b}}]}' % (where, b"[" * 200_000 + b"]" * 200_000)
    assert (from_json(body).replies, from_json(body).ignored) == ((), 1)


def test_a_message_too_deep_to_be_written_again_is_left_out():
    def reading(depth):
        assembler = Assembler()
        assembler.add(b'{"choices":[{"delta":{"x":%b}}]}' % (b"[" * depth + b"]" * depth))
        return assembler

    class Asking:
        """Asks for the result from as deep in the stack as its own nesting."""

        def __repr__(self):
            results.append(deepest.result())
            return ""

    results: list = []
    deepest = reading(bisect_left(range(200_000), 1, key=lambda depth: reading(depth).result().ignored) - 1)
    nested: object = Asking()
    for _ in range(100):
        nested = [nested]
    repr(nested)
    assert (results[0].replies, results[0].ignored) == ((), 1)


def test_half_an_emoji_in_the_models_name_is_no_trap():
    data = b'data: {"model":"m\\ud83d","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'

    assert from_stream(data).model == "m?"


class TestWholeMessagesThatCouldNotBeSentAgain:
    def message(self, call):
        body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": call}}]}).encode()
        return json.loads(from_json(body).replies[0].message)["tool_calls"]

    @pytest.mark.parametrize(
        "call",
        [
            {"id": "c", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}},
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"id": "c", "type": "function", "function": {"name": "f"}},
        ],
    )
    def test_a_call_gets_what_it_lacks(self, call):
        whole = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert self.message([call]) == self.message(call) == [whole]

    def test_what_is_no_call_is_left_out(self):
        odd = {"id": "c", "type": "function"}
        assert self.message(["c", {**odd, "function": "f"}, {**odd, "id": ["c"]}]) == [
            odd,
            {"type": "function"},
        ]
        assert self.message([{**odd, "function": "f"}]) == [odd]

    @pytest.mark.parametrize("calls", ["[]", "null", '[{"id":"c","type":"custom","custom":{}}]'])
    def test_others_stay_as_they_came(self, calls):
        message = b'{"role":"assistant", "content": "a",  "tool_calls":%b}' % calls.encode()
        assert from_json(b'{"choices":[{"message":%b}]}' % message).replies[0].message == message

    def test_messages_in_several_choices_are_one(self):
        bodies = [{"content": "a"}, {"content": None, "tool_calls": [{"index": 0, "id": "c", "custom": {}}]}]
        choices = [{"index": at, "message": each} for at, each in enumerate(bodies)]
        (reply,) = from_json(json.dumps({"choices": choices}).encode()).replies
        assert json.loads(reply.message) == {
            "role": "assistant",
            "content": "a",
            "tool_calls": [{"id": "c", "custom": {}}],
        }


class TestTheEndOfAReply:
    @pytest.mark.parametrize(
        ("chunks", "settled"),
        [
            ([chunk(content="a")], False),
            ([chunk("stop", content="a")], True),
            ([chunk(content="a"), chunk("stop")], True),
            ([chunk("stop", content="a"), chunk(role="assistant", content="")], True),
            ([chunk("stop", content="a"), chunk("stop", content="b")], False),
            ([chunk("stop", content="a"), chunk(content="b"), chunk("stop")], False),
            ([chunk("null", content="a"), chunk("None", content="b")], False),
            ([chunk("null", content="a"), chunk("stop", content="b")], True),
        ],
    )
    def test_a_finish_reason_settles_it_if_nothing_comes_after(self, chunks, settled):
        assert from_stream(stream(*chunks)).replies[0].settled is settled

    @pytest.mark.parametrize("index", [0, "x", -1, 2**70])
    def test_a_whole_message_again_after_the_reason_unsettles_it(self, index):
        said = [
            {"choices": [{"index": at, "message": {"content": each}, "finish_reason": "stop"}]}
            for at, each in ((0, "a"), (index, "ab"))
        ]
        assert not from_stream(stream(*said)).replies[0].settled

    @pytest.mark.parametrize("run", [20, 2])
    def test_a_long_run_of_chunks_with_a_reason_each_is_not_settled(self, run):
        assert not from_stream(stream(*[chunk("stop", content="a ")] * run)).replies[0].settled

    def test_an_error_in_one_of_two_choices_fails_that_one(self):
        broken = {"choices": [{"index": 1, "delta": {"content": "b"}, "error": {"code": 500}}]}
        replies = from_stream(stream(chunk("stop", content="a"), broken), choices=2).replies
        assert [each.failed for each in replies] == [False, True]

    @pytest.mark.parametrize("nothing", [None, False, "", {}, [], 0])
    def test_an_error_that_says_nothing_is_none(self, nothing):
        assembled = from_stream(stream({**chunk("stop", content="a"), "error": nothing}))
        assert (assembled.error, assembled.replies[0].failed) == (None, False)

    def test_a_long_run_of_chunks_with_an_error_each_is_no_run(self):
        assert (
            from_stream(stream(*[{**chunk(content="a "), "error": {"code": 1}}] * 20)).error == b'{"code": 1}'
        )


class TestBodiesOfNoName:
    WHOLE = b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'

    @pytest.mark.parametrize(
        "body",
        [
            stream(chunk("stop", content="a")),
            b"\n" + stream(chunk("stop", content="a")),
            json.dumps(chunk("stop", content="a")).encode() + b"\n[DONE]\n",
            WHOLE,
            b"keep-alive\n\n" + stream(chunk("stop", content="a")),
            b"[" + WHOLE + b"]",
        ],
    )
    def test_a_body_is_read_as_what_it_begins_with(self, body):
        (reply,) = from_body(body).replies
        assert (json.loads(reply.message)["content"], reply.settled) == ("a", True)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[7]", b"[]", b"7"])
    def test_one_that_is_nothing_has_no_reply(self, body):
        assert from_body(body).replies == ()


@pytest.mark.parametrize("odd", [b"", b',"x":NaN'])
def test_objects_too_deep_to_be_joined_are_counted(odd):
    deep = b'{"choices":[{"delta":{"x":%b}}]%b}' % (b'{"y":' * 900 + b"1" + b"}" * 900, odd)
    assembled = from_stream(b"".join(b"data: " + each + b"\n\n" for each in (deep, deep)))
    assert assembled.ignored >= 1
