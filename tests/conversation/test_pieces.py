"""How much a JSON text holds is told without reading it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation import pieces as pieces_module
from sidecar.conversation.pieces import begins_alike, count, has_more_pieces, most_pieces
from sidecar.dialects.chat.request import parse
from sidecar.errors import BadRequest
from tests.conversation.build import CHAIN, raw, request, says, user

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\[{,é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[', max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def counted(value: Any) -> int:
    """Strings, lists and objects, told slowly."""
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        return 1 + sum(map(counted, value))
    return 1 + len(value) + sum(map(counted, value.values())) if isinstance(value, dict) else 0


@given(VALUES, st.booleans())
def test_exactly_what_json_holds_is_counted(value, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    pieces, bound = counted(value), most_pieces(text, 0, len(text))
    assert has_more_pieces(text, pieces - 1, bound) or not pieces
    assert not has_more_pieces(text, pieces, bound)
    assert bound >= pieces


@pytest.mark.parametrize("value", [[], {}, [[1], "a", {"b": "c"}], {"a": ["b", "c", {}]}, "a"])
def test_where_no_text_holds_a_bracket_or_a_quote_the_bound_is_exact(value):
    text = json.dumps(value).encode()
    assert most_pieces(text, 0, len(text)) == counted(value)
    assert most_pieces(b"[" + text, 1, 1 + len(text)) == counted(value)
    assert most_pieces(text + b'["', 0, len(text)) == counted(value)


@given(VALUES, st.booleans(), st.integers(1, 9))
def test_a_long_text_is_counted_in_slices_wherever_they_end(value, is_ascii, size):
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    at_once = most_pieces(text, 0, len(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_module, "_SPLIT", size)
        patch.setattr(pieces_module, "SLICE", size)
        pieces, bound = counted(value), most_pieces(text, 0, len(text))
        assert bound == at_once
        assert has_more_pieces(text, pieces - 1, bound) or not pieces
        assert not has_more_pieces(text, pieces, bound)
        assert count(text, b'"', 1) == text.count(b'"', 1)
        assert begins_alike(text + b"x", text + b"y", len(text))
        assert not begins_alike(text + b"x", text + b"y", len(text) + 1)
        assert not begins_alike(text, text, len(text) + 1)


@pytest.mark.parametrize("data", [b'"' * 9999, b'"\\' * 9999, b"\\" * 9999 + b'"', b"[" * 9999, b""])
def test_what_is_no_json_is_counted_somehow(data):
    assert has_more_pieces(data, 100, most_pieces(data, 0, len(data))) in (True, False)


class TestTooManyMessages:
    def test_so_many_are_read_and_no_more(self):
        body = raw({"messages": [user("a"), says("b")] * 2})
        assert len(parse(body, CHAIN, None, 4).path) + 1 == 4
        with pytest.raises(BadRequest, match=r"more messages than `limits.max_messages` = 3") as error:
            parse(body, CHAIN, None, 3)
        assert (error.value.code, error.value.param) == ("too_many_messages", "messages")

    @pytest.mark.parametrize(
        "body",
        [
            b'{"messages":[' + b",".join([b"{}"] * 100) + b"]}",
            b'{"messages":[' + b",".join([b"[]"] * 100) + b"]}",
            b'{"messages":[{"role":"user","content":[' + b",".join([b'""'] * 100) + b"]}]}",
            b'{"messages":[],"messages":[' + b",".join([b"{}"] * 100) + b"]}",
            b'{"tools":[' + b",".join([b"{}"] * 100) + b'],"messages":[]}',
            b'{"messages":[' + b",".join([b"{}"] * 100),
        ],
    )
    def test_a_body_that_holds_far_too_much_is_not_even_read(self, body):
        with pytest.raises(BadRequest, match=r"16 for each of `limits.max_messages` = 5") as error:
            parse(body, CHAIN, None, 5)
        assert error.value.code == "too_many_messages"

    def test_brackets_and_quotes_in_a_text_are_no_pieces(self):
        text = '{"a": [1, 2, "x\\n"]}' * 100
        assert len(parse(raw({"messages": [user(text)]}), CHAIN, None, 1).path) == 1

    def test_a_chat_that_grows_comes_to_the_same_end(self):
        said = [user("a" * 9000), says("b"), user("c")]
        before = request(*said)
        assert before.end
        more = raw({"messages": [*said, says("d"), user("e")]})
        assert len(parse(more, CHAIN, before, 5).path) == 5
        with pytest.raises(BadRequest, match="more messages"):
            parse(more, CHAIN, before, 4)
        tiny = before.body[: before.end] + b",{}" * 7000 + b"]}"
        with pytest.raises(BadRequest, match="16 for each of"):
            parse(tiny, CHAIN, before, 100)

    def test_a_chat_that_grows_weighs_what_it_weighs_when_it_is_read_at_once(self):
        said = [user("a" * 9000), says("b"), user("c")]
        body = raw({"messages": [*said, says("d"), user("e")]})
        grown = parse(body, CHAIN, request(*said))
        assert grown.weight == parse(body, CHAIN).weight


class TestTooManyEscapes:
    def test_so_many_are_read_and_no_more(self):
        body = raw({"messages": [user("\n" * 5 + "a" * (1 << 20))]})
        assert len(parse(body, CHAIN, None, 1, 5).path) == 1
        with pytest.raises(
            BadRequest, match=r"more escaped characters than `limits.max_escapes` = 4"
        ) as error:
            parse(body, CHAIN, None, 1, 4)
        assert (error.value.code, error.value.param) == ("too_many_escapes", "messages")

    def test_of_a_short_request_they_are_not_counted(self):
        assert len(parse(raw({"messages": [user("\n" * 5)]}), CHAIN, None, 1, 4).path) == 1


def test_what_is_shorter_begins_with_nothing_longer():
    assert begins_alike(b"abc", b"abd", 2)
    assert not begins_alike(b"abc", b"abd", 3)
    assert not begins_alike(b"ab", b"abc", 3)
    assert not begins_alike(b"abc", b"ab", 3)


def test_the_beginnings_of_large_texts_are_compared_piece_by_piece(monkeypatch):
    monkeypatch.setattr(pieces_module, "SLICE", 2)
    assert begins_alike(b"abcde", b"abcdx", 4)
    assert not begins_alike(b"abcde", b"abcdx", 5)
    assert not begins_alike(b"abcde", b"axcde", 5)


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_nothing_is_copied_to_be_compared(size):
    text, other = b"a" * size, b"a" * size + b"b"
    tracemalloc.start()
    try:
        assert begins_alike(other, text, size)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
