"""Events out of bytes, whatever way they were split."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.sse import Decoder, is_stream, payloads
from tests.fuzz.plain import events

LINES = (
    st.sampled_from(
        [
            b"data: {}",
            b"data:{}",
            b"data:  x",
            b"data",
            b"data:",
            b": note",
            b"event: e",
            b"id: 1",
            b"dat",
            b"",
        ]
    )
    | st.sampled_from(
        [
            b"event: error",
            b'error: {"a":1}',
            b'{"a":1}',
            b"{",
            b"[1,",
            b"}",
            b'data: {"error":1}',
            b"data: [DONE]",
        ]
    )
    | st.text(max_size=5).map(lambda text: b"data: " + text.encode())
)
STREAMS = st.builds(
    lambda start, lines: start + b"".join(line + end for line, end in lines),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\r\r", b""]))),
)


def events_of(chunks):
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


@pytest.mark.parametrize(
    ("stream", "expected"),
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
def test_a_stream_has_these_events(stream, expected):
    assert events_of([stream]) == expected
    assert payloads(stream) == expected
    assert events_of([stream[i : i + 1] for i in range(len(stream))]) == expected


@settings(deadline=None)
@given(STREAMS, st.data())
def test_any_split_at_any_bytes_gives_the_same_events(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events_of(chunks) == events(stream)


@settings(deadline=None)
@given(STREAMS)
def test_a_whole_stream_has_the_events_that_the_rules_say(stream):
    assert payloads(stream) == events(stream)


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


@pytest.mark.parametrize(
    "body",
    [
        b"data: {}",
        b"data:{}",
        b": hello",
        b"event: x",
        b"id: 1",
        b"retry: 5",
        b'error: {"code": 500}',
        b"\n\ndata: {}",
        b"\xef\xbb\xbfdata: {}",
        b'{"object":"chat.completion.chunk","choices":[]}\n',
        b'{"choices":[{"delta":{"content":"a"}}]}\n{"choices":[]}',
    ],
)
def test_these_begin_like_a_stream(body):
    assert is_stream(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"a"}}]}',
        b"[{}]",
        b"<html>",
        b"database",
        b"data {}",
        b"eventually",
    ],
)
def test_these_do_not(body):
    assert is_stream(body) is False


@pytest.mark.parametrize(
    "body", [b"", b"\n ", b"d", b"data", b"ev", b"\xef", b"\xef\xbb\xbf", b"\xef\xbb\xbfda"]
)
def test_with_these_it_is_too_early_to_tell(body):
    assert is_stream(body) is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n\n',
            [b'{"a":1}', b'{"b":2}', b"[DONE]"],
            id="parted by one line end",
        ),
        pytest.param(b'data: {\ndata: "a":1}\n\n', [b'{\n"a":1}'], id="one object in two lines"),
        pytest.param(b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], id="NDJSON"),
        pytest.param(b'{\n "a": 1\n}\n', [b'{\n "a": 1\n}'], id="a body over several lines"),
        pytest.param(
            b'[{\n "a": 1\n}\n]\ndata: x\n\n', [b'[{\n "a": 1\n}\n]', b"x"], id="and an event after it"
        ),
        pytest.param(b"data: x\n{\n}\n\n", [b"x", b"{\n}"], id="and one before it"),
        pytest.param(b"{\n: ping\n}\n\n", [b"{\n}"], id="and a comment in it"),
        pytest.param(b'error: {"code":5}\n\n', [b'{"error":{"code":5}}'], id="a field error"),
        pytest.param(
            b'event: error\ndata: {"code":5}\n\n', [b'{"error":{"code":5}}'], id="an event called error"
        ),
        pytest.param(
            b'data: {"code":5}\nevent: error\n\n', [b'{"error":{"code":5}}'], id="its name behind its data"
        ),
        pytest.param(b'event: error\ndata: {"error":5}\n\n', [b'{"error":5}'], id="one that says so itself"),
        pytest.param(b"event: error\ndata: no \xff\n\n", [b'{"error":"no \\ufffd"}'], id="one of plain text"),
        pytest.param(
            b'data: {"a":1}\nevent: error\ndata: {"b":2}\n\n',
            [b'{"a":1}', b'{"error":{"b":2}}'],
            id="a name that belongs to what follows",
        ),
        pytest.param(
            b'event: error\ndata: {"a":1}\ndata: {"b":2}\n\n',
            [b'{"error":{"a":1}}', b'{"b":2}'],
            id="a name for one event alone",
        ),
    ],
)
def test_what_the_standard_does_not_know_and_clients_read(stream, expected):
    assert payloads(stream) == expected == events(stream)


def test_what_is_pending_is_what_the_next_blank_line_gives():
    decoder = Decoder()
    assert decoder.pending() == b""
    decoder.feed(b"data: a\ndata: b\ndata: c")
    assert decoder.pending() == b"a\nb"
    assert decoder.feed(b"\n\n") == [b"a\nb\nc"]
