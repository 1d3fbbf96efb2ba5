"""What a reply costs grows with its length and no faster, whatever it is made of."""

from __future__ import annotations

import json
import time

import pytest

from sidecar.dialects.chat.assembly import from_stream
from tests.guard.growth import assert_linear


def _stream(deltas, **choice):
    events = ({"choices": [{"index": 0, **choice, "delta": delta}]} for delta in deltas)
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def _of_call(arguments, /, **more):
    return {"tool_calls": [{**more, "function": {"name": "f", "arguments": arguments}}]}


SHAPES = {
    "one call in small pieces": lambda n: (_of_call('{"a' if not i else "aaaa", index=0) for i in range(n)),
    "a new id and the name with each piece": lambda n: (
        _of_call('{"a' if not i else "a}]", index=0, id=f"c{i}") for i in range(n)
    ),
    "calls without an index": lambda n: (_of_call("{}", id=f"c{i}") for i in range(n)),
    "calls that all claim index 0": lambda n: (_of_call('{"a":1}', index=0, id=f"c{i}") for i in range(n)),
    "calls without index and id": lambda n: (_of_call('{"a":1}') for _ in range(n)),
    "indexes that hash alike": lambda n: (_of_call("{}", index=i * (2**61 - 1)) for i in range(n)),
    "ids that hash alike": lambda n: (_of_call("{}", id=i * (2**61 - 1)) for i in range(1, n)),
    "all calls in one delta": lambda n: [
        {"tool_calls": [_of_call("{}", id=f"c{i}")["tool_calls"][0] for i in range(n)]}
    ],
    "a name in pieces": lambda n: (
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]} for _ in range(n)
    ),
    "details of reasoning": lambda n: (
        {"reasoning_details": [{"type": "t", "index": i, "text": "x"}]} for i in range(n)
    ),
    "details of one index": lambda n: (
        {"reasoning_details": [{"type": "t", "index": 0, "id": f"r{i}", "text": "x"}]} for i in range(n)
    ),
    "blocks of thinking": lambda n: (
        {"thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": ""}]} for _ in range(n)
    ),
    "content in parts": lambda n: ({"content": [{"type": "text", "text": "x"}]} for _ in range(n)),
    "content in strings, each of another kind than the last": lambda n: (
        {"content": "x"} if i % 2 else {"reasoning": "x"} for i in range(n)
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_of_twice_the_pieces_costs_twice_as_much(shape):
    assert_linear(lambda n: _stream(SHAPES[shape](n)), from_stream, 400, least=0.01)


def test_so_does_one_with_as_many_choices():
    def stream(n):
        return b"".join(_stream([{"content": "x"}], index=i * (2**61 - 1)) for i in range(n))

    assert_linear(stream, from_stream, 400, least=0.01)


def test_a_call_of_8000_pieces_is_whole():
    pieces = ["{", '"a":"', *("b" * 7_997), '"}']
    (reply,) = from_stream(_stream(_of_call(piece, index=0, id="c") for piece in pieces)).replies
    (call,) = json.loads(reply.message)["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": "b" * 7_997}


def test_4000_calls_are_4000():
    (reply,) = from_stream(_stream(_of_call("{}", index=i, id=f"c{i}") for i in range(4000))).replies
    assert [each["id"] for each in json.loads(reply.message)["tool_calls"]] == [f"c{i}" for i in range(4000)]


def test_a_stream_that_nobody_can_read_costs_little_more_than_one_that_says_nothing():
    unreadable, empty = b"data: {bad}\n\n" * 20_000, b'data: {"usage":{"a":1}}\n\n' * 20_000
    from_stream(empty)
    begun = time.process_time()
    read = from_stream(unreadable)
    cost = time.process_time() - begun
    assert read.ignored == 20_000
    begun = time.process_time()
    from_stream(empty)
    assert cost < 6 * (time.process_time() - begun) + 0.02


def test_some_payloads_that_nobody_can_read_hide_none_that_clients_can():
    said = json.dumps({"choices": [{"index": 0, "delta": {"content": "x"}}]})[:-1].encode() + b',"p":NaN}'
    (reply,) = from_stream(b"data: {bad}\n\n" * 400 + b"data: " + said + b"\n\n").replies
    assert json.loads(reply.message)["content"] == "x"
