"""Large bodies are kept smaller, and read as they were written."""

from __future__ import annotations

import random
import time
import zlib
from base64 import b64encode, encodebytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.store.sqlite import bodies as module
from sidecar.store.sqlite.bodies import PACKED, body_of, stored_body

BYTES = random.Random(1).randbytes(3000)
B64 = b64encode(BYTES)
WORDS = b"so it is " * 300
LINES = encodebytes(BYTES).replace(b"\n", b"\\n")


def url(data):
    return b'{"url":"data:image/png;base64,%s"}' % data


pieces = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.binary(min_size=1500, max_size=1600).map(b64encode),
        st.sampled_from([b";base64,", b'"', b"=", b"==", b"Q", PACKED, WORDS, B64, B64[:1500], LINES, b"\0"]),
    ),
    max_size=8,
)


@example([])
@example([PACKED])
@example([PACKED, WORDS])
@example([b"\0seal1", WORDS])
@example([b";base64,", B64])
@given(pieces)
def test_what_is_read_is_what_was_written(parts):
    body = b"".join(parts)
    assert body_of(stored_body(body)) == body


# How much smaller it gets, at least.
SMALLER = {
    "words": (WORDS, 0.1),
    "an image": (url(B64), 0.8),
    "an image filled up with one sign": (url(b64encode(BYTES[:-1])), 0.8),
    "an image filled up with two": (url(b64encode(BYTES[:-2])), 0.8),
    "an image whose last character has bits too many": (url(b64encode(BYTES[:-1])[:-2] + b"d="), 0.8),
    "an image that breaks off": (url(B64[:-1]), 0.8),
    "an image at the end of all": (url(B64)[:-2], 0.8),
    "an image of some pieces": (url(b64encode(BYTES * 200)), 0.76),
    "two images with words between": (url(B64) + WORDS + url(B64), 0.6),
}
AS_IT_IS = {
    "nothing": b"",
    "few words": WORDS[:2048],
    "a small image": url(b64encode(BYTES[:700])),
    "an encrypted body": b"\0seal1" + BYTES,
    "base64 that nobody announced": B64,
    "base64 in lines": url(LINES),
    "base64 for addresses": url(B64.replace(b"/", b"_").replace(b"+", b"-")),
    "base64 that is filled up in between": url(b"QQ==" + B64),
    "base64 with a line end": url(b"\n" + B64),
    "so many words that others would wait": WORDS * 400,
    "much base64 that nobody announced": b64encode(random.Random(2).randbytes(90_000)),
}


@pytest.mark.parametrize(("body", "part"), SMALLER.values(), ids=SMALLER)
def test_a_large_body_gets_smaller(body, part):
    stored = stored_body(body)

    assert stored.startswith(PACKED)
    assert len(stored) <= part * len(body)
    assert body_of(stored) == body


@pytest.mark.parametrize("body", AS_IT_IS.values(), ids=AS_IT_IS)
def test_what_does_not_get_smaller_stays_as_it_is(body):
    assert stored_body(body) is body
    assert body_of(body) is body


@given(pieces, st.integers(1, 20))
def test_base64_is_found_wherever_the_slices_end_in_which_it_is_looked_for(parts, size):
    body = b"".join(parts)
    at_once = stored_body(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SLICE", size)
        assert stored_body(body) == at_once


def test_a_large_image_is_read_and_written_in_pieces_that_let_others_in_between(monkeypatch):
    """A piece of base64 takes less than a millisecond, and its thread holds the interpreter meanwhile."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    body = url(b64encode(BYTES * 500))

    stored = stored_body(body)
    assert len(pauses) == len(body) // (256 << 10) == 7
    assert body_of(stored) == body
    assert len(pauses) == 14


@pytest.mark.parametrize("body", [WORDS, url(B64)])
def test_a_damaged_body_is_an_error_and_never_runs_on(body):
    """What is changed elsewhere, in an image, the message's hash tells."""
    stored = stored_body(body)
    head = len(PACKED) + 1
    damaged = [stored[:length] for length in (len(PACKED), 20, 40, len(stored) - 1)]
    damaged += [stored[:at] + b"\xff" * 8 + stored[at + 8 :] for at in (head, head + 8)]

    for each in damaged:
        with pytest.raises(ValueError, match="damaged"):
            body_of(each)


def test_damaged_numbers_are_told_before_anything_is_made_of_them():
    stored = stored_body(url(B64))
    at = len(PACKED) + 1 + 16 + 8

    with pytest.raises(ValueError, match="damaged"):
        body_of(stored[:at] + b"\x7f" * 8 + stored[at + 8 :])


def test_compressed_bytes_make_no_more_than_was_said():
    short = stored_body(WORDS)
    bomb = zlib.compress(bytes(1 << 24))

    with pytest.raises(ValueError, match="damaged"):
        body_of(short[: len(PACKED) + 17] + bomb)
