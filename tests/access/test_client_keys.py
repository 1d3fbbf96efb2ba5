"""Clients' keys as values: made, rotated, revoked, checked."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from sidecar.access.client_keys import (
    ClientKey,
    changed_row,
    client_key_of,
    digest_of,
    find_keys,
    id_in,
    made,
    refusal,
    revoked,
    rotated,
    state_of,
)
from sidecar.errors import StoreUnavailable
from sidecar.store.client_keys import KeyRow

SECRET, OTHER = b"s" * 32, b"t" * 32
NOW = 1_800_000_000.0


def key(**named: object) -> tuple[ClientKey, str]:
    return made(SECRET, "ada", NOW, **named)  # type: ignore[arg-type] # of whatever a test names


def why(made_key: ClientKey, text: str, now: float = NOW) -> str | None:
    return refusal(made_key, digest_of(SECRET, text), now)


def test_a_key_has_its_id_and_256_random_bits():
    keys = [key() for _ in range(200)]
    for made_key, text in keys:
        assert re.fullmatch(r"sk-sc-[0-9a-z]{10}-[0-9A-Za-z]{43}", text)
        assert id_in(text) == made_key.id
        assert find_keys(f"Bearer {text}, and {text}.") == {text}
        assert why(made_key, text) is None
    assert len({made_key.id for made_key, _ in keys}) == 200
    assert len({text[-43:] for _, text in keys}) == 200


def test_nothing_of_the_secret_is_kept():
    made_key, text = key()
    row = changed_row(made_key)
    for part in (text, text[17:], text[-20:], text[17:37]):
        assert part.encode() not in row.data
        assert part not in repr(made_key)


def test_what_is_no_whole_key_is_none():
    _, text = key()
    for wrong in (
        text[:-1],
        text + "a",
        text[1:],
        text.upper(),
        f"x{text}",
        text.replace("-", "_"),
        "sk-sc-",
        "",
    ):
        assert id_in(wrong) is None
        assert find_keys(wrong) == set()


def test_only_the_whole_key_is_admitted():
    made_key, text = key()
    last = "a" if text[-1] != "a" else "b"
    _, others = key()
    for wrong in (text[:-1] + last, others, f"sk-sc-{made_key.id}-{others[-43:]}"):
        assert why(made_key, wrong) == "is not valid"
    assert refusal(made_key, digest_of(OTHER, text), NOW) == "is not valid"


def test_it_is_valid_until_it_expires():
    made_key, text = key(expires_at=NOW + 10)
    assert why(made_key, text, NOW + 9.9) is None
    assert why(made_key, text, NOW + 10) == "has expired"
    assert why(made_key, text + "x", NOW + 10) == "is not valid", "who does not know it is told nothing of it"
    assert [state_of(made_key, at, SECRET) for at in (NOW, NOW + 10)] == ["valid", "expired"]


def test_rotated_it_is_the_same_key_and_both_secrets_are_valid_for_a_while():
    made_key, first = key(models=("qwen*",), parallel=4)
    new, second = rotated(SECRET, made_key, NOW, 60.0)

    assert replace(new, secrets=()) == replace(made_key, secrets=())
    assert id_in(second) == id_in(first) == made_key.id
    assert [why(new, each, NOW + 59) for each in (first, second)] == [None, None]
    assert [why(new, each, NOW + 60) for each in (first, second)] == ["was replaced by another", None]
    assert [state_of(new, at, SECRET) for at in (NOW, NOW + 60)] == ["rotated", "valid"]


def test_without_grace_the_old_secret_goes_at_once():
    made_key, first = key()
    new, second = rotated(SECRET, made_key, NOW, 0.0)
    assert [why(new, each) for each in (first, second)] == ["is not valid", None]


def test_rotated_again_no_old_secret_lives_longer_and_those_that_ended_go():
    made_key, first = key()
    once, second = rotated(SECRET, made_key, NOW, 10.0)
    twice, third = rotated(SECRET, once, NOW + 5, 100.0)
    assert [why(twice, each, NOW + 9) for each in (first, second, third)] == [None, None, None]
    assert [why(twice, each, NOW + 11) for each in (first, second, third)] == [
        "was replaced by another",
        None,
        None,
    ]
    again, _ = rotated(SECRET, twice, NOW + 11, 1.0)
    assert len(again.secrets) == 3


def test_revoked_it_admits_nobody_and_can_still_be_listed():
    made_key, text = key()
    gone = revoked(made_key, NOW)
    assert why(gone, text) == "is not valid"
    assert state_of(gone, NOW, SECRET) == "revoked"


def test_under_another_secret_of_the_store_the_list_says_so():
    assert state_of(key()[0], NOW, OTHER) == "other secret"


def test_a_row_holds_all_of_it_and_counts_its_changes():
    made_key, _ = key(models=("a", "b*"), parallel=2, rpm=60, expires_at=NOW)
    row = changed_row(made_key)
    assert (row.id, row.version, row.used) == (made_key.id, 1, None)
    assert client_key_of(row) == made_key
    later = changed_row(made_key, row._replace(version=3, used=5))
    assert (later.version, later.used) == (4, 5)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"id":"abc"}'])
def test_a_row_that_was_not_written_here_is_an_error(data: bytes):
    with pytest.raises(StoreUnavailable, match="the client key abc is not what was written there"):
        client_key_of(KeyRow("abc", 1, data))


def test_so_is_the_row_of_another_key():
    row = changed_row(key()[0])
    with pytest.raises(StoreUnavailable, match="the client key abc is not"):
        client_key_of(row._replace(id="abc"))
