"""Events out of bytes, whatever way they were split."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.streaming.sse import Decoder, payloads

LINES = st.sampled_from(
    [b"data: {}", b"data:{}", b"data:  x", b"data", b"data:", b": note", b"event: e", b"id: 1", b"dat", b""]
) | st.text(max_size=5).map(lambda text: b"data: " + text.encode())
STREAMS = st.builds(
    lambda start, lines: start + b"".join(line + end for line, end in lines),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\r\r", b""]))),
)


def events_of(chunks):
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


def events_by_the_book(stream):
    """The rule, told slowly: cut into lines, then into events."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    events, data = [], []
    for line in [*lines, b""]:
        if line == b"data" or line.startswith(b"data:"):
            data.append(re.sub(rb"^data(: |:|$)", b"", line))
        if line == b"" and data:
            events.append(b"\n".join(data))
            data = []
    return events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="the usual form"),
        pytest.param(b"data:a\n\n", [b"a"], id="no blank after the colon"),
        pytest.param(b"data:  a \n\n", [b" a "], id="only one blank belongs to the colon"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="CR LF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="CR"),
        pytest.param(b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"], id="mixed line ends"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="several data lines"),
        pytest.param(b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"], id="more blank lines than needed"),
        pytest.param(b": hello\n\ndata: a\n: hello\n\n", [b"a"], id="comments"),
        pytest.param(b"event: e\nid: 7\nretry: 9\ndata: a\n\n", [b"a"], id="other fields"),
        pytest.param(b"event: ping\n\ndata: a\n\n", [b"a"], id="an event without data"),
        pytest.param(b"data\n\ndata:\n\n", [b"", b""], id="an event with empty data"),
        pytest.param(b"database: a\n\n", [], id="a field whose name only begins like data"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [b"a"], id="a byte order mark"),
        pytest.param(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"], id="a byte order mark later on"),
        pytest.param(b"data: a\n\ndata: b", [b"a", b"b"], id="the last line without its end"),
        pytest.param(b"data: a\n\ndata: b\n", [b"a", b"b"], id="the last event without its blank line"),
        pytest.param(b"data: a\xe2\x82", [b"a\xe2\x82"], id="cut inside a character"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_a_stream_has_these_events(stream, events):
    assert events_of([stream]) == events
    assert payloads(stream) == events
    assert events_of([stream[i : i + 1] for i in range(len(stream))]) == events


@settings(deadline=None)
@given(STREAMS, st.data())
def test_any_split_at_any_bytes_gives_the_same_events(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events_of(chunks) == events_by_the_book(stream)


@settings(deadline=None)
@given(STREAMS)
def test_a_whole_stream_has_the_events_that_the_standard_says(stream):
    assert payloads(stream) == events_by_the_book(stream)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8).filter(lambda event: not {10, 13} & set(event))))
def test_the_usual_form_gives_back_what_was_put_in(events):
    assert payloads(b"".join(b"data: " + event + b"\n\n" for event in events)) == events


def test_an_event_is_given_with_the_byte_that_completes_it():
    decoder = Decoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\r") == [b"a"]
    assert decoder.feed(b"\n") == []


def test_an_empty_chunk_between_cr_and_lf_does_not_part_them():
    assert events_of([b"data: a\r", b"", b"\ndata: b\r\n\r\n"]) == [b"a\nb"]


def test_closing_twice_gives_the_last_event_once():
    decoder = Decoder()
    decoder.feed(b"data: a")
    assert decoder.close() == [b"a"]
    assert decoder.close() == []
