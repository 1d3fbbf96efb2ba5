"""What a stream begins with."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.chat.first_event import Opening

ERROR = b'{"error":{"message":"too long"}}'


def event(*deltas, finish=None):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish} for delta in deltas]
    return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"


ROLE = event({"role": "assistant", "content": "", "reasoning_content": None})


@pytest.mark.parametrize(
    "before", [b"", b": ping\n\n", b"\n", b"event: error\n", ROLE, b"data:\n\n" + ROLE, event()]
)
@pytest.mark.parametrize("error", [ERROR, b'{"object":"error","message":"m"}', b'{"error":"m"}'])
def test_an_error_before_any_content_is_seen_however_it_is_split(before, error):
    data = before + b"data: " + error + b"\n\n"
    for at in range(len(data)):
        opening = Opening()
        early = opening.feed(data[:at])
        # By the end of its line, or of the blank line behind it.
        assert early == ("error" if at == len(data) - 1 else "open")
        assert opening.feed(data[at:]) == "error"
        assert opening.error == error


@pytest.mark.parametrize(
    "data",
    [
        event({"content": "a"}),
        event({"tool_calls": [{}]}),
        event({}, finish="stop"),
        event({"role": "assistant"}, {"reasoning": "b"}),
        event(None),
        b'data: {"choices":[1]}\n\n',
        b'data: {"choices":null}\n\n',
        b"data: [DONE]\n\n",
        b"data: [1]\n\n",
        b"data: no JSON\n\n",
    ],
)
def test_anything_else_is_an_answer(data):
    opening = Opening()
    assert opening.feed(ROLE + data) == "answer"
    assert opening.error == b""


def test_an_event_is_not_judged_where_only_a_part_of_it_ends_in_a_bracket():
    opening = Opening()
    assert opening.feed(b'data: {"error":{"a":{}\n') == "open"
    assert opening.feed(b"data: }}\n\n") == "error"


def test_what_is_open_at_the_end_is_an_answer():
    opening = Opening()
    assert opening.feed(ROLE) == "open"
    assert opening.close() == "answer"


def test_an_error_may_lack_its_last_blank_line():
    opening = Opening()
    assert opening.feed(b"data: " + ERROR) == "open"
    assert opening.close() == "error"
    assert opening.error == ERROR


def test_an_unfinished_event_that_says_nothing_is_an_answer():
    opening = Opening()
    assert opening.feed(ROLE[:-2]) == "open"
    assert opening.close() == "answer"


def test_nobody_is_kept_waiting_for_ever():
    opening = Opening()
    assert opening.feed(b":" * 70_000) == "answer"
