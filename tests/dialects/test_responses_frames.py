"""Requests and answers of the Responses API over a WebSocket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.responses.frames import (
    Held,
    body_of,
    error_frame,
    frame_of,
    held_after,
    messages_in,
    not_found,
    with_headers,
)
from sidecar.errors import BadRequest
from tests.conversation.build import user
from tests.dialects.responses import EXCHANGE, events_in, said

RESPONSES = Responses("max_completion_tokens", 1 << 20)


def frame(**body):
    return frame_of(json.dumps({"type": "response.create", **body}).encode())


def body(held=None, **fields):
    return json.loads(body_of(frame(**fields), held))


def ended(status="completed", *output, id="resp_2"):
    return json.dumps({"response": {"id": id, "status": status, "output": output, "tools": []}}).encode()


class TestARequest:
    def test_it_is_a_stream_over_http_without_what_is_said_of_the_connection(self):
        asks = {"model": "m", "input": [said("user", "hi")], "store": False}
        assert body(**asks, stream=False, generate=False) == {**asks, "stream": True}

    def test_a_string_is_the_users_question(self):
        assert body(input="hi")["input"] == [{"type": "message", "role": "user", "content": "hi"}]

    @pytest.mark.parametrize("asks", [{}, {"input": 5}])
    def test_what_is_no_input_is_left_to_who_refuses_it(self, asks):
        assert body(**asks) == {**asks, "stream": True}

    @pytest.mark.parametrize(
        ("new", "items"), [([], [1]), ([2, 3], [1, 2, 3]), ("hi", [1, *body(input="hi")["input"]])]
    )
    def test_what_is_held_stands_before_what_is_new(self, new, items):
        assert body(Held("resp_1", b"1"), input=new)["input"] == items

    @pytest.mark.parametrize(
        ("asks", "previous", "is_kept", "generates"),
        [
            ({"stream_id": None}, None, True, True),
            ({"store": True, "generate": True, "previous_response_id": "resp_1"}, "resp_1", True, True),
            ({"store": False, "generate": False, "previous_response_id": 5}, None, False, False),
        ],
    )
    def test_it_says_what_is_to_be_done(self, asks, previous, is_kept, generates):
        told = frame(**asks)
        assert (told.previous, told.is_kept, told.generates) == (previous, is_kept, generates)

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"{", "invalid_json"),
            (b"\xff", "invalid_json"),
            (b"[]", "invalid_json"),
            (b'{"type": "response.cancel"}', "unsupported_value"),
            (b"{}", "unsupported_value"),
            (b'{"type": "response.create", "stream_id": "a"}', "unsupported_parameter"),
        ],
    )
    def test_what_is_none_is_refused(self, data, code):
        with pytest.raises(BadRequest) as caught:
            frame_of(data)
        assert caught.value.code == code

    def test_one_that_goes_on_from_what_is_held_says_so_and_needs_no_other(self):
        dialect = RESPONSES.holding("resp_1")
        asks = body(Held("resp_1", b""), input="hi", previous_response_id="resp_1", store=False)
        data, _ = dialect.prepared(json.dumps(asks).encode(), EXCHANGE, lambda: 100.0)
        assert events_in(data)[0]["response"]["previous_response_id"] == "resp_1"

    def test_one_that_asks_for_no_answer_gets_one_of_nothing(self):
        asks = b'{"input": "hi", "tools": [{"type": "web_search"}]}'
        data, headers = RESPONSES.prepared(asks, EXCHANGE, lambda: 100.9)
        assert headers["X-Sidecar-Untranslated"] == "web_search"
        events = events_in(data)
        assert [each["type"] for each in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        response = events[-1]["response"]
        assert (response["output"], response["usage"]["total_tokens"]) == ([], 0)
        assert (response["created_at"], response["completed_at"]) == (100, 100)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["input", "store", "generate", "stream", "previous_response_id", "model", "tools"])


@given(asks=st.dictionaries(NAMES | st.text(max_size=3), JSON), items=st.lists(JSON, max_size=3))
def test_whatever_is_said_is_passed_on(asks, items):
    asks.pop("type", None)
    held = Held("resp_1", json.dumps(items)[1:-1].encode())
    told = body(held, **asks)
    meant = asks.get("input")
    expected = {name: value for name, value in asks.items() if name not in ("generate", "stream", "input")}
    assert {name: told[name] for name in told.keys() - {"stream", "input"}} == expected
    if isinstance(meant, str):
        meant = [{"type": "message", "role": "user", "content": meant}]
    if isinstance(meant, list):
        meant = [*items, *meant]
    assert told.get("input") == meant


class TestAnAnswer:
    def test_each_event_is_a_message(self):
        told = b'event: a\ndata: {"a":"data: "}\n\nevent: b\ndata: {}\n\ndata: [DONE]\n\n'
        assert messages_in(told) == [b'{"a":"data: "}', b"{}"]

    def test_one_may_say_what_was_done_as_headers_do(self):
        said = {
            "X-Sidecar-Outcome": "append",
            "Retry-After": "1",
            "x-conversation-id": "a",
            "X-Request-ID": "r",
        }
        told = with_headers(b'{"type":"response.created"}', {"Content-Type": "text/event-stream", **said})
        assert json.loads(told) == {"type": "response.created", "headers": said}
        assert with_headers(b'{"type":"error"}', {"Date": "today"}) == b'{"type":"error"}'

    @pytest.mark.parametrize("status", ["completed", "incomplete"])
    def test_what_was_said_is_held_after_it(self, status):
        held = held_after(frame(input=[user("2")]), Held("resp_1", b"1"), ended(status, {"id": "msg_1"}))
        assert held is not None
        assert held.id == "resp_2"
        assert json.loads(b"[%b]" % held.items) == [1, user("2"), {"id": "msg_1"}]

    def test_so_it_is_where_nothing_was_before(self):
        assert held_after(frame(), None, ended()) == Held("resp_2", b"")

    @pytest.mark.parametrize("end", [ended("failed"), b'{"type":"error"}', b"{"])
    def test_nothing_is_after_one_that_failed(self, end):
        assert held_after(frame(input="hi"), None, end) is None


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (
                b'{"error":{"message":"no","type":"t","code":"c","param":"p","more":1}}',
                {"message": "no", "type": "t", "code": "c", "param": "p", "more": 1},
            ),
            (
                b'{"error":{"message":"no","type":"t","code":null}}',
                {"message": "no", "type": "t", "code": "t", "param": None},
            ),
            *[
                (
                    body,
                    {
                        "message": "the upstream answered 502",
                        "type": "server_error",
                        "code": "server_error",
                        "param": None,
                    },
                )
                for body in (b"", b"[]", b'{"error":"no"}')
            ],
        ],
    )
    def test_one_is_a_message_with_a_code(self, body, error):
        assert json.loads(error_frame(502, body)) == {"type": "error", "status": 502, "error": error}

    def test_a_response_that_is_not_there_is_told_in_the_word_that_clients_know(self):
        """codex-lb #1817"""
        error = not_found("resp_1")
        assert (error.code, error.param) == ("previous_response_not_found", "previous_response_id")
