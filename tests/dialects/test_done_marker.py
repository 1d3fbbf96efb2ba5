"""What may go to the client before the reply is stored, and what may not."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat.done_marker import Ending, UnnamedEnding
from sidecar.dialects.last_piece import LastPiece

DONE = re.compile(rb"(?:\A|\n|\r)(data: ?\[DONE\])")
FORMS = (b"data: [DONE]", b"data:[DONE]")
PIECES = st.sampled_from([b"data: [DONE]", b"data:[DONE]", b"data: ", b"data:", b"[DONE]", b"data: [DO"]) | (
    st.sampled_from([b"d", b"x", b" ", b": ", b"\n", b"\r", b"\r\n", b"\n\n", b'data: {"a":"[DONE]"}\n\n'])
)


def fed(chunks):
    ending = Ending()
    return ending, [ending.feed(chunk) for chunk in chunks]


@settings(deadline=None)
@given(st.lists(st.lists(PIECES, max_size=4).map(b"".join), max_size=8))
@example([b"x", b"data: [DONE]\n"])
@example([b"x\n", b"", b"data: [DONE]"])
def test_all_but_the_end_is_released_however_it_was_split(chunks):
    stream = b"".join(chunks)
    found = DONE.search(stream)
    ending, released = fed(chunks)
    assert b"".join(released) + ending.held == stream
    assert not DONE.search(b"".join(released))
    assert ending.done == bool(found)
    if found:
        assert ending.held == stream[found.start(1) :]


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map(b"".join), st.integers(1, 5))
def test_before_the_end_only_a_piece_of_that_line_is_ever_held(stream, size):
    ending, seen = Ending(), b""
    for at in range(0, len(stream), size):
        seen += stream[at : at + size]
        ending.feed(stream[at : at + size])
        if not ending.done and ending.held:
            assert any(form.startswith(ending.held) for form in FORMS)
            assert re.search(rb"(\A|[\r\n])" + re.escape(ending.held) + rb"\Z", seen)


@pytest.mark.parametrize("line", FORMS)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b""])
def test_the_end_is_held_wherever_the_stream_is_cut(line, end):
    before, after = b"data: {}" + (end or b"\n\n"), line + end
    for cut in range(len(before + after) + 1):
        ending, released = fed([(before + after)[:cut], (before + after)[cut:]])
        assert (b"".join(released), ending.held) == (before, after)


def test_the_usual_chunk_goes_on_as_the_same_object():
    chunk = b'data: {"choices":[]}\n\n'
    assert Ending().feed(chunk) is chunk


def test_a_chunk_that_ends_within_a_line_goes_on_as_the_same_object():
    chunk = b'data: {"choi'
    assert Ending().feed(chunk) is chunk


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([b'data: {"text":"data: [DONE]"}\n\n'], id="inside a line"),
        pytest.param([b'data: {"text":"', b"data: [DONE]", b'"}\n\n'], id="inside a line, as one chunk"),
        pytest.param([b'data: {"text":"', b"data: [DO", b'NE]"}\n\n'], id="inside a line, in pieces"),
        pytest.param([b": data: [DONE]\n\n"], id="in a comment"),
        pytest.param([b"data: [DON", b"ATE]\n\n"], id="another word"),
        pytest.param([b"data: [DONE", b"\n\n"], id="without its bracket"),
    ],
)
def test_these_are_no_end(chunks):
    ending, released = fed(chunks)
    assert (b"".join(released), ending.held, ending.done) == (b"".join(chunks), b"", False)


def test_everything_after_the_end_waits_with_it():
    ending, released = fed([b"data: [DONE]\n\n", b": bye\n\n", b"data: {}\n\n"])
    assert released == [b"", b"", b""]
    assert ending.held == b"data: [DONE]\n\n: bye\n\ndata: {}\n\n"


def test_nothing_is_lost_that_comes_after_the_end_was_sent():
    ending, _ = fed([b"data: [DONE]\n\n"])
    ending.held = b""
    assert ending.feed(b": bye") + ending.held == b": bye"


def test_a_body_that_is_blank_for_long_is_not_held_back():
    end = UnnamedEnding()
    passed = [end.feed(b" " * 500) for _ in range(100)]
    assert len(end.held) <= 500
    assert b"".join(passed) + end.held == b" " * 50_000


def test_of_a_body_that_is_no_stream_the_last_piece_waits():
    ending = LastPiece()
    assert [ending.feed(piece) for piece in (b"a", b"b", b"c")] == [b"", b"a", b"b"]
    assert (ending.held, ending.done) == (b"c", False)


@pytest.mark.parametrize("stream", [b"data: {}\n\ndata: [DONE]\n\n", b"\n: hi\n\ndata: [DONE]\n\n"])
def test_a_stream_that_is_called_something_else_ends_like_one(stream):
    for cut in range(len(stream) - 14):
        ending = UnnamedEnding()
        released = ending.feed(stream[:cut]) + ending.feed(stream[cut:])
        assert (released + ending.held, ending.held, ending.done) == (stream, b"data: [DONE]\n\n", True)


def test_any_other_body_of_no_name_keeps_its_last_piece_back():
    ending = UnnamedEnding()
    assert [ending.feed(piece) for piece in (b" ", b'{"choices":', b"[]", b"}")] == [
        b"",
        b"",
        b' {"choices":',
        b"[]",
    ]
    assert (ending.held, ending.done) == (b"}", False)
    ending.held = b""
    assert ending.feed(b"\n") == b""
