"""A stream that is kept in fewer bytes says the same."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.chat.assembly import from_stream
from sidecar.dialects.chat.compact import compacted


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


WORDS = b"".join(event(content=f"word {number} ") for number in range(100))


def test_events_that_differ_in_a_word_become_few_and_say_the_same():
    stream = event(role="assistant") + WORDS + event(reasoning="why") + WORDS
    fewer = compacted(stream)
    assert len(fewer) < len(stream) / 2
    assert [each[:6] for each in fewer.split(b"\n\n")] == [b"data: "] * fewer.count(b"\n\n") + [b""]
    assert fewer.count(b"\n") == 2 * fewer.count(b"\n\n")
    assert from_stream(fewer) == from_stream(stream)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": alive\n\n" + WORDS,
        WORDS + b"event: error\n" + WORDS,
        WORDS + b": alive\n\n" + WORDS,
        WORDS.replace(b"\n", b"\r\n"),
        WORDS[:-1],
        event(content="a") + event(content="b"),
    ],
    ids=["empty", "comment", "field", "comment within", "CRLF", "half an event", "nothing to gain"],
)
def test_what_is_not_only_data_or_not_shorter_stays_as_it_is(stream: bytes):
    assert compacted(stream) == stream


def test_compacting_part_by_part_says_the_same_as_the_whole():
    events = [event(role="assistant"), *(event(content=f"{number} ") for number in range(60))]
    for cut in range(1, 60, 7):
        parts = b"".join(events[:cut]), b"".join(events[cut:])
        assert from_stream(b"".join(map(compacted, parts))) == from_stream(b"".join(events))
