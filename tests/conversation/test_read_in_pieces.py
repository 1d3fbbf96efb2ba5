"""Large JSON is read in pieces, and says the same as read at once."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation import read_in_pieces as module
from sidecar.conversation.message import read_long
from sidecar.conversation.read_in_pieces import read_in_pieces

TEXTS = st.text(st.sampled_from('ab"\\\n\u00e9水😀'), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.integers(13, 40), st.integers(0, 5))
def test_what_is_read_is_what_is_read_at_once(value, is_ascii, at_once, levels):
    raw = json.dumps(value, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        assert read_in_pieces(raw, levels) == value
        assert read_in_pieces(msgspec.Raw(raw), levels) == value


@pytest.fixture
def decoded(monkeypatch):
    """How many bytes were decoded at a time, at most 40 of what can be taken apart."""
    sizes: list[int] = []
    decode = module._decode

    def noted(raw):
        sizes.append(len(raw))
        return decode(raw)

    monkeypatch.setattr(module, "_AT_ONCE", 40)
    monkeypatch.setattr(module, "_decode", noted)
    return sizes


def test_a_text_is_read_in_pieces_parted_where_no_character_and_no_escape_goes_on(decoded):
    text = "a" * 30 + "\\" + "b" * 20 + "水" * 30 + "😀" * 10 + "c" * 31
    for is_ascii in (False, True):
        raw = json.dumps(text, ensure_ascii=is_ascii).encode()
        assert read_in_pieces(raw) == text
    plain = json.dumps(text, ensure_ascii=False).encode()
    assert read_in_pieces(plain) == text
    assert max(decoded[-5:]) <= 42


def test_a_text_full_of_escapes_is_read_at_once(decoded):
    text = "\n" * 400
    assert read_in_pieces(json.dumps(text).encode()) == text
    assert decoded == [802]


def test_lists_and_objects_are_taken_apart_as_deep_as_an_image_stands_in_a_message(decoded):
    url = "x" * 100
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    assert read_in_pieces(json.dumps(message).encode()) == message
    assert max(decoded) <= 42
    decoded.clear()
    deeper = [[[[[[[1] * 40]]]]]]
    assert read_in_pieces(json.dumps(deeper).encode()) == deeper
    assert len(decoded) == 1


def test_what_is_neither_a_text_nor_a_list_nor_an_object_is_read_as_it_is(decoded):
    assert read_in_pieces(b" " * 50 + b"1") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"a":"' + b"x" * 60 + b'\x01"}',
        b'{"a":"' + b"x" * 60 + b'\\q"}',
        b'{"a":"' + b"x" * 60 + b'\xff"}',
        b'"' + b"x" * 60,
        b'"' + b"x" * 30 + b'"' + b"x" * 60 + b'"',
        b'["' + b"x" * 60 + b'"',
    ],
)
def test_what_is_no_json_is_an_error_here_too(decoded, wrong):
    with pytest.raises(ValueError, match="not valid JSON"):
        read_long(wrong)


def test_a_long_message_that_is_no_object_is_an_error():
    with pytest.raises(ValueError, match="not an object but list"):
        read_long(b"[]")
