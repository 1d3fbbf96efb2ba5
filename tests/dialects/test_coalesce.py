"""Events that are alike but for a piece of text are read as one, and nobody can tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.dialects import sse
from sidecar.dialects.chat import coalesce as runs_of
from sidecar.dialects.chat.assembly import Assembler, from_stream
from sidecar.dialects.chat.coalesce import shortened

KEYS = ("content", "reasoning_content", "reasoning")


def event(finish_reason=None, index=0, top=None, /, **delta):
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "m", **(top or {}), "choices": [choice]}


def written(events, compact=True):
    separators = (",", ":") if compact else None
    texts = [json.dumps(each, separators=separators, ensure_ascii=compact) for each in events]
    return [text.encode("utf-8", "replace") for text in texts]


def one_by_one(payloads):
    assembler = Assembler()
    for payload in payloads:
        assembler.add(payload)
    return assembler.result()


texts = st.text(max_size=4) | st.sampled_from(
    ['"', "\\", '"},"', '\\"', "\n", "é", "\ud83d", "\ude00", "}]}"]
)
runs = st.tuples(
    st.sampled_from(KEYS),
    st.lists(texts, max_size=14),
    st.integers(0, 1),
    # What some upstreams say beside the text, in every event.
    st.sampled_from([{}, {"role": "assistant"}, {"refusal": None}, {"reasoning": "r"}, {"tool_calls": []}]),
)
others = st.sampled_from(
    [
        event(role="assistant", content=""),
        event("stop"),
        event("stop", content="end"),
        event(content=None),
        event(None, 0, {"usage": {"total_tokens": 3}}, content="w"),
        event(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]),
        {"error": {"message": "no"}},
        {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(runs | others, max_size=6), st.booleans(), st.integers(0, 40))
@example([("content", ["a"] * 12, 0, {}), event("stop")], True, 0)
@example([("content", ["a"] * 12, 0, {"reasoning": "r"})], True, 0)
def test_a_shortened_stream_says_what_the_stream_said(parts, compact, cut):
    events = []
    for part in parts:
        if isinstance(part, dict):
            events.append(part)
        else:
            key, pieces, index, beside = part
            events += [event(None, index, {**beside, key: piece}) for piece in pieces]
            events += [event(None, index, **{**beside, key: piece}) for piece in pieces]
    payloads = written(events, compact)
    if payloads and cut:  # the connection broke off
        payloads[-1] = payloads[-1][:-cut]
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)


@pytest.mark.parametrize("key", KEYS)
def test_a_thousand_words_are_a_handful_of_events(key):
    events = [event(role="assistant", content=""), *(event(**{key: f"wörd {n} "}) for n in range(1000))]
    payloads = [*written([*events, event("stop")]), b"[DONE]"]
    assert len(shortened(payloads)) == 5
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)


def test_a_text_beside_the_delta_is_not_taken_for_the_one_in_it():
    """Perplexity sends the message so far with each delta."""
    events = [
        {"choices": [{"index": 0, "message": {"content": "1," + "0" * n}, "delta": {"content": "0"}}]}
        for n in range(1, 13)
    ]
    payloads = written(events)
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)


def test_halves_of_a_character_are_read_as_one_by_one():
    letter = "é".encode()
    event = b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}'
    payloads = [event % piece for piece in (*[b"x"] * 9, letter[:1], letter[1:], *[b"y"] * 9)]
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)


def test_an_event_that_holds_the_probe_is_left_alone():
    payloads = written([event(content=runs_of._PROBE)] * 12, compact=False)
    assert shortened(payloads) == payloads


def test_reasoning_and_the_answer_after_it_are_two_runs():
    events = [event(reasoning_content="hm ")] * 100 + [event(content="so ")] * 100
    payloads = written([*events, event("stop")])
    assert len(shortened(payloads)) <= 8
    (reply,) = one_by_one(shortened(payloads)).replies
    assert json.loads(reply.message) == {
        "role": "assistant",
        "reasoning_content": "hm " * 100,
        "content": "so " * 100,
    }


@pytest.mark.parametrize(
    "bad",
    [
        b'{"choices":[{"delta":{"content":"a\x01"}}]}',
        b'{"choices":[{"delta":{"content":"a\\"}}]}',
        b'{"choices":[{"delta":{"content":"a\\q"}}]}',
        b'{"choices":[{"delta":{"content":"\xc3"}}]}',
        b'{"choices":[{"delta":{"content":"a","content":"b"}}]}',
        b'{"choices":[{"delta":{"content":"a"},"x":"b"}}]}',
    ],
)
def test_an_event_that_is_no_json_spoils_none_of_its_neighbours(bad):
    good = b'{"choices":[{"delta":{"content":"a"}}]}'
    payloads = [*[good] * 6, bad, *[good] * 6]
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)
    stream = b"".join(b"data: " + each + b"\n\n" for each in payloads)
    assert from_stream(stream) == one_by_one(sse.payloads(stream))


def test_what_alternates_is_read_all_the_same():
    payloads = written([event(**{KEYS[n // 9 % 2]: f"{n} "}) for n in range(90)])
    assert one_by_one(shortened(payloads)) == one_by_one(payloads)


@pytest.mark.parametrize("other", [b'{"type":"x","choices":3,"content":"a"}', b'{"type":"x"}', b"[DONE]"])
def test_other_events_are_left_alone(other):
    payloads = [other] * 12
    assert shortened(payloads) == payloads
