"""An upstream's errors, counts and summaries, as a client of the Responses API reads them."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.responses.compaction import compacted, message_of, request_for_summary
from sidecar.dialects.responses.errors import ErrorBody, refusal_in
from sidecar.dialects.responses.frames import error_frame
from sidecar.dialects.responses.response import usage_of
from tests.conversation.build import user


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b'{"error":{"message":"no"}}', {"code": "server_error", "message": "no"}),
        (500, b'{"error":{"message":"no","code":"x"}}', {"code": "x", "message": "no"}),
        (500, b'{"error":{"message":"no","code":""}}', {"code": "server_error", "message": "no"}),
        (500, b'{"error":{"message":"no","code":5}}', {"code": "server_error", "message": "no"}),
        (500, b'[{"error":{"message":"no"}}]', {"code": "server_error", "message": "no"}),
        (429, b'{"error":{"message":"no"}}', {"code": "rate_limit_exceeded", "message": "no"}),
        (429, b'{"error":{"message":"no","code":"x"}}', {"code": "x", "message": "no"}),
        (429, b"", {"code": "rate_limit_exceeded", "message": "the upstream answered 429"}),
        (503, b"<html>", {"code": "server_error", "message": "the upstream answered 503"}),
        (503, b"[" * 100_000, {"code": "server_error", "message": "the upstream answered 503"}),
        (
            400,
            b'{"error":"prompt is too long"}',
            {"code": "context_length_exceeded", "message": "prompt is too long"},
        ),
        (
            429,
            b'{"error":{"message":"prompt is too long","code":"x"}}',
            {"code": "context_length_exceeded", "message": "prompt is too long"},
        ),
    ],
)
def test_a_response_that_has_begun_fails_with_the_code_and_the_words_of_the_refusal(status, body, error):
    assert refusal_in(body, status) == error


def body_of_error(*pieces, status=400):
    told = ErrorBody(status)
    for each in pieces:
        assert told.feed(each) == b""
    told.close()
    return told.held


def test_of_an_error_that_is_no_json_two_thousand_characters_are_told():
    said = "".join(chr(ord("a") + at % 26) for at in range(2001))
    assert json.loads(body_of_error(f" {said[:1998]} ".encode()))["error"]["message"] == said[:1998]
    assert json.loads(body_of_error(said.encode()))["error"]["message"] == said[:2000]
    assert json.loads(body_of_error(b"\xff"))["error"]["message"] == "\ufffd"


@pytest.mark.parametrize(("first", "is_whole"), [(65_536, True), (65_537, False)])
def test_of_an_error_no_more_is_read_once_it_has_64_kib(first, is_whole):
    whole = json.dumps({"error": {"message": "x" * 70_000}}).encode()
    told = body_of_error(whole[:first], whole[first:])
    assert (told == whole) is is_whole


def test_an_upstreams_error_has_all_members_that_clients_read():
    told = json.loads(body_of_error(b'{"error":"no"}', status=500))
    assert told == {"error": {"message": "no", "type": "upstream_error", "param": None, "code": None}}
    assert json.loads(body_of_error(b"null", status=500))["error"]["message"] == "null"
    assert json.loads(body_of_error(b'""', status=502))["error"]["message"] == "the upstream answered 502"
    assert ErrorBody.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", {"type": "server_error", "code": "server_error", "message": "the upstream answered 502"}),
        (
            b"[" * 100_000,
            {"type": "server_error", "code": "server_error", "message": "the upstream answered 502"},
        ),
        (
            b'{"error":5}',
            {"type": "server_error", "code": "server_error", "message": "the upstream answered 502"},
        ),
        (
            b'{"error":{"type":5,"code":5,"message":5,"x":1}}',
            {"type": "server_error", "code": "server_error", "message": "the upstream answered 502", "x": 1},
        ),
        (
            b'{"error":{"type":"t","message":"m","param":"p"}}',
            {"type": "t", "code": "t", "message": "m", "param": "p"},
        ),
        (
            b'{"error":{"type":"t","code":"c","message":"m"}}',
            {"type": "t", "code": "c", "message": "m"},
        ),
    ],
)
def test_over_a_websocket_an_error_always_has_a_code_and_words(body, error):
    frame = {"type": "error", "status": 502, "error": {"param": None, **error}}
    assert json.loads(error_frame(502, body)) == frame


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({}, (0, 0, 0, 0, 0)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 0, 4, 0, 7)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, (3, 0, 4, 0, 9)),
        ({"prompt_tokens": -3, "completion_tokens": True, "total_tokens": "9"}, (0, 0, 0, 0, 0)),
        ({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}, (1, 1, 0, 0, 1)),
        ({"completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 1}}, (0, 0, 1, 1, 1)),
        ({"prompt_tokens_details": 5, "completion_tokens_details": None}, (0, 0, 0, 0, 0)),
    ],
)
def test_tokens_that_are_no_counts_are_none(usage, counts):
    input, cached, output, reasoning, all_of_them = counts
    assert usage_of(usage) == {
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": all_of_them,
    }
    assert usage_of(None) is usage_of([]) is None


def test_what_is_asked_for_a_summary_is_all_that_was_said_and_the_question_behind_it():
    talk = [{"role": "user", "content": "a"}]
    more = {"instructions": "Be brief.", "prompt_cache_key": "k", "temperature": 1, "store": True}
    data, kept = request_for_summary(json.dumps({"model": "m", "input": talk, **more}).encode())
    body = json.loads(data)
    first, question = body.pop("input")
    assert (first, question["type"], question["role"]) == (talk[0], "message", "user")
    assert question["content"].startswith("Sum up this conversation")
    assert body == {
        "model": "m",
        "instructions": "Be brief.",
        "prompt_cache_key": "k",
        "store": False,
        "client_metadata": {"x-codex-turn-metadata": '{"request_kind":"compaction"}'},
    }
    assert kept == [
        {
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}],
        }
    ]


def test_a_compaction_counts_nothing_where_its_upstream_counts_nothing():
    parts = [{"type": "output_text", "text": "He said."}, {"type": "refusal"}]
    answer = {"status": "completed", "usage": None, "output": [{"type": "message", "content": parts}, {}]}
    told = json.loads(compacted([{"type": "message"}] * 2, json.dumps(answer).encode(), "ab", 100) or b"")
    assert told == {
        "id": "resp_ab",
        "object": "response.compaction",
        "created_at": 100,
        "output": [
            {"id": "msg_ab0000", "type": "message"},
            {"id": "msg_ab0001", "type": "message"},
            {"id": "cmp_ab", "type": "compaction", "encrypted_content": "summary.SGUgc2FpZC4="},
        ],
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    }
    assert message_of(told["output"][2], "x") == user("What was said before, summed up:\n\nHe said.")
