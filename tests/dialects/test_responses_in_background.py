"""A response that is made in the background: its beginning, its events, its end where nothing else told."""

from __future__ import annotations

import json

import pytest

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.responses.body import translated
from sidecar.dialects.responses.errors import refusal_in
from sidecar.dialects.responses.in_background import (
    as_it_stands,
    beginning_of,
    end_of,
    error_behind,
    events_in,
    failed_with,
    is_end,
    joined_after,
    kept_as_failed,
    packed,
    response_in,
    unmade,
)
from sidecar.dialects.responses.refusal import InBackground
from sidecar.dialects.responses.translation import BEGUN, Events
from sidecar.errors import BadRequest
from tests.dialects import responses
from tests.dialects.responses import EXCHANGE, about, asked, chat, chunk, streamed

WHERE = Reference("conv_" + "0" * 32, EXCHANGE)
DONE = b"data: [DONE]\n\n"


def begun(**body):
    return beginning_of(asked(background=True, **body), WHERE, 100)


def first_of(kept):
    return joined_after([kept], -1)


def whole():
    """All that is told of one, from its beginning on."""
    made = Events(about(background=True))
    first = made.alive()
    first += made.alive()
    rest = made.feed(streamed(chunk({"content": "Hel"}), chunk({"content": "lo"}, finish="stop")))
    return first_of(begun()[1]) + first + rest + made.held


class TestARequest:
    def test_it_is_streamed_and_the_upstream_is_told_nothing_else_of_it(self):
        body, said = chat(background=True)
        assert (body["stream"], "background" in body) == (True, False)
        assert (said.streamed, said.in_background, said.is_followed) == (True, True, False)
        assert said.echo["background"] is True

    @pytest.mark.parametrize("stream", [False, True])
    def test_its_client_may_want_the_events_at_once(self, stream):
        assert asked(background=True, stream=stream).is_followed is stream

    @pytest.mark.parametrize("said", [None, False])
    def test_one_that_is_not_is_as_ever(self, said):
        body, found = chat(background=said)
        assert ("stream" in body, found.in_background, found.streamed) == (False, False, False)

    def test_where_none_is_made_it_is_refused_with_all_that_it_says(self):
        data = b'{"input": "hi", "background": true}'
        with pytest.raises(InBackground) as error:
            translated(data, "max_tokens")
        assert (error.value.asked, error.value.param) == (data, "background")

    @pytest.mark.parametrize("more", [{"background": 1}, {"background": True, "store": False}])
    def test_what_cannot_be_is_refused(self, more):
        with pytest.raises(BadRequest) as error:
            translated(json.dumps({"input": "hi", **more}).encode(), "max_tokens", apart=True)
        assert error.value.param == "background"


def test_it_begins_queued_and_goes_on_with_the_next_number():
    response, events = begun(metadata={"a": "b"})
    assert (response["status"], response["output"], response["metadata"]) == ("queued", [], {"a": "b"})
    assert (events.first, events.last) == (0, BEGUN - 1)
    first = responses.events_in(first_of(events))
    assert [each["type"] for each in first] == ["response.created", "response.queued"]
    assert [each["response"] for each in first] == [response, response]
    kinds = [each["type"] for each in responses.events_in(whole())]
    assert kinds[BEGUN : BEGUN + 3] == [
        "response.in_progress",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert kinds[-1] == "response.completed"


def test_as_it_stands_it_is_queued_until_something_came():
    told = json.dumps(begun()[0]).encode()
    assert as_it_stands(told, BEGUN - 1, is_over=False)["status"] == "queued"
    assert as_it_stands(told, BEGUN, is_over=False)["status"] == "in_progress"
    assert as_it_stands(b'{"status":"failed"}', BEGUN, is_over=True)["status"] == "failed"


def test_a_piece_is_its_events_and_the_end_is_known():
    stream = whole()
    events = events_in(stream)
    assert b"".join(events) + DONE == stream
    assert [is_end(each) for each in events] == [False] * (len(events) - 1) + [True]
    assert json.loads(response_in(events[-1])) == responses.events_in(stream)[-1]["response"]
    assert events_in(b"") == events_in(DONE) == []


def test_what_is_behind_an_event_is_told_wherever_the_pieces_were_divided():
    events = events_in(whole())
    for cut in range(1, len(events)):
        kept = [packed(events[:cut], 0), packed(events[cut:], cut)]
        assert [(each.first, each.last) for each in kept] == [(0, cut - 1), (cut, len(events) - 1)]
        for after in range(-1, len(events) + 1):
            assert joined_after(kept, after) == b"".join(events[after + 1 :])


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("completed", ["completed"]),
        ("incomplete", ["incomplete"]),
        ("cancelled", ["incomplete"]),
        ("failed", ["error", "failed"]),
    ],
)
def test_it_ends_with_what_the_api_has_for_it(status, kinds):
    error = {"code": "server_error", "message": "no"} if status == "failed" else None
    response = {"id": "resp_1", "status": status, "error": error}
    events = [json.loads(each.partition(b"data: ")[2]) for each in end_of(response, 7)]
    assert [each["type"].removeprefix("response.") for each in events] == kinds
    assert [each["sequence_number"] for each in events] == [7, 8][: len(kinds)]
    assert events[-1]["response"] == response


def test_of_one_that_came_to_nothing_it_is_told_why():
    said = asked(background=True)
    assert unmade(said, WHERE, 100, None)["status"] == "cancelled"
    error = {"code": "server_error", "message": "no"}
    failed = unmade(said, WHERE, 100, error)
    assert (failed["status"], failed["error"], failed["created_at"]) == ("failed", error, 100)
    told = json.dumps(begun()[0]).encode()
    assert failed_with(told, "no") == failed
    kept = json.loads(kept_as_failed(b'{"response":{"status":"cancelled","background":true}}', "no"))
    assert kept == {"response": {"status": "failed", "background": True, "error": error}}
    behind = json.loads(error_behind("no", "events_not_kept", 9).partition(b"data: ")[2])
    assert (behind["type"], behind["code"], behind["sequence_number"]) == ("error", "events_not_kept", 9)
    assert behind["message"] == behind["error"]["message"] == "no"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"error":{"message":"no money","code":"insufficient_quota"}}', "insufficient_quota", "no money"),
        (b'{"error":{"message":"Loading model","code":503}}', "server_error", "Loading"),
        (
            b'{"error":{"code":400,"type":"exceed_context_size_error","message":"the request (9) exceeds the'
            b' available context size (4 tokens)"}}',
            "context_length_exceeded",
            "(9)",
        ),
        (
            b'{"error":{"message":"too long","code":"context_length_exceeded"}}',
            "context_length_exceeded",
            "long",
        ),
        (b"<html>", "server_error", "502"),
        (b"1", "server_error", "502"),
        (b"{}", "server_error", "502"),
    ],
)
def test_an_upstreams_refusal_is_its_error(body, code, words):
    error = refusal_in(body, 502)
    assert (error["code"], words in error["message"]) == (code, True)


def test_too_many_requests_are_told_in_a_code_that_clients_wait_for():
    assert refusal_in(b"slow down", 429)["code"] == "rate_limit_exceeded"
