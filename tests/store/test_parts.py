"""A body without its large parts, and put together again."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.store.parts import (
    HEAD_SIZE,
    LARGE,
    WITHOUT_PARTS,
    assembled,
    cut,
    name_of,
    parts_of,
    put_together,
    sealed,
    shell,
    shell_of,
    size_of,
    unsealed,
)
from tests.store.trees import question, reply

LONG = "x" * (LARGE + 1)
pieces = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b'"', b"\\", b'\\"', LONG.encode(), b"y" * LARGE, WITHOUT_PARTS, b"\0seal1"]),
    ),
    max_size=9,
)


def said(*texts):
    return json.dumps({"role": "user", "content": texts}).encode()


def pieces_of(body):
    found = cut(body)
    assert found is not None
    return found


def kept(body):
    """What a store keeps of it, and its parts."""
    found = pieces_of(body)
    names = [name_of(part) for part in found.parts]
    return shell(len(body), found.places, names, found.rest), dict(zip(names, found.parts, strict=True))


@example([b'"', LONG.encode(), b'"', LONG.encode(), b'"'])
@given(pieces)
def test_put_together_a_body_is_what_it_was(parts):
    body = b"".join(parts)
    found = cut(body)

    assert found is None or min(map(len, found.parts)) > LARGE
    if found is not None:
        assert put_together(*found) == body
        stored, named = kept(body)
        held = shell_of(stored)
        assert held is not None
        assert assembled(held, named) == body
        assert size_of(stored[:HEAD_SIZE], len(stored)) == len(body)


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (["short", LONG], [LONG]),
        ([LONG, "between", LONG + "z"], [LONG, LONG + "z"]),
        ([LONG, LONG], [LONG, LONG]),
        ([f'{LONG}"{LONG}'], [f'{LONG}\\"{LONG}']),
        ([f"{LONG}\\", LONG], [f"{LONG}\\\\", LONG]),
    ],
)
def test_a_part_is_a_large_string_of_json_as_it_was_escaped(texts, parts):
    assert pieces_of(said(*texts)).parts == [each.encode() for each in parts]


@pytest.mark.parametrize("body", [b"", said("short"), said("x" * LARGE), LONG.encode(), b'"' + LONG.encode()])
def test_what_is_not_large_or_does_not_end_is_no_part(body):
    assert cut(body) is None


def test_a_message_with_more_quotes_than_images_and_documents_have_is_not_searched_to_its_end():
    assert cut(said(*["a"] * 10_001, LONG)) is None
    assert len(pieces_of(said(*["a"] * 9_000, LONG)).parts) == 1


def test_so_many_parts_are_told_apart_and_no_more():
    body = said(*[LONG] * 1001)

    assert len(pieces_of(body).parts) == 1000
    assert put_together(*pieces_of(body)) == body


def test_what_an_upstream_said_has_no_parts():
    asked = question(LONG)

    found = parts_of(asked)
    assert found is not None
    assert found.parts == [LONG.encode()]
    assert parts_of(reply(LONG, asked)) is None


def test_a_body_that_is_whole_has_no_shell_and_is_as_long_as_it_is():
    body = said("hi")

    assert shell_of(body) is None
    assert size_of(body[:HEAD_SIZE], len(body)) == len(body)
    assert size_of(WITHOUT_PARTS, 6) == 6


def test_a_damaged_shell_or_a_missing_part_is_an_error():
    stored, named = kept(said(LONG))
    held = shell_of(stored)
    assert held is not None

    for damaged in (stored[:10], stored[: HEAD_SIZE + 5], stored[:20] + b"\x7f\xff" + stored[22:]):
        with pytest.raises(ValueError, match="damaged"):
            shell_of(damaged)
    with pytest.raises(ValueError, match="missing"):
        assembled(held, {})
    with pytest.raises(ValueError, match="damaged"):
        assembled(held, dict.fromkeys(named, b"another"))
    flipped = {name: part.replace(b"x", b"y", 1) for name, part in named.items()}
    assert flipped != named
    with pytest.raises(ValueError, match="damaged"):
        assembled(held, flipped)


def test_the_encrypted_parts_of_a_body_are_parts_of_what_is_kept_of_it():
    body = sealed(b"\0seal1rest", [3, 9], [b"\0seal1one", b"\0seal1two"])

    assert unsealed(body) == (b"\0seal1rest", [3, 9], [b"\0seal1one", b"\0seal1two"])
    assert pieces_of(body).parts == [b"\0seal1one", b"\0seal1two"]
    assert put_together(*pieces_of(body)) == body


@pytest.mark.parametrize("body", [b"\0seal2", b"\0seal2" + b"\xff" * 8, b"\0seal2" + bytes(7) + b"\1" * 20])
def test_a_damaged_encrypted_body_with_parts_is_an_error(body):
    with pytest.raises(ValueError, match="damaged"):
        unsealed(body)
    assert cut(body) is None
