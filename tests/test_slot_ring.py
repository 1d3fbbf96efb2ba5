"""Which file of an engine is written next, and which is read."""

from __future__ import annotations

import pytest

from sidecar.upstream.slot_api import left_in_slot
from sidecar.upstream.slot_ring import (
    Ring,
    claimed,
    freed,
    half_written,
    held,
    holder,
    is_due,
    is_of_no_use,
    name_of,
    name_of_ring,
    packed,
    settled,
    to_wipe,
    unpacked,
)

SECRET = b"a secret of a store"


def written(ring: Ring, session: str, at: float, *, size: int = 2) -> Ring:
    """The ring with a file more."""
    claim = claimed(ring, size, session, f"conv {session}", at)
    assert claim is not None
    ring, position = claim
    done = settled(ring, position, ring[position], held(ring[position], 2000, "model", 7, at))
    assert done is not None
    return done


def test_each_chat_gets_a_file_as_long_as_there_are_free_ones():
    ring = written(written((), "a", 1.0), "b", 2.0)
    assert (holder(ring, "a"), holder(ring, "b"), holder(ring, "c")) == (0, 1, None)


def test_then_the_one_that_was_written_longest_ago_is_written_over():
    ring = written(written(written((), "a", 1.0), "b", 2.0), "a", 3.0)
    ring = written(ring, "c", 4.0)
    assert (holder(ring, "a"), holder(ring, "b"), holder(ring, "c")) == (0, None, 1)


def test_what_is_being_written_is_read_for_nobody_and_taken_by_nobody():
    ring = written((), "a", 1.0, size=1)
    claim = claimed(ring, 1, "b", "conv b", 2.0)
    assert claim is not None
    assert (holder(claim[0], "a"), holder(claim[0], "b")) == (None, None)
    assert claimed(claim[0], 1, "c", "conv c", 3.0) is None
    assert to_wipe(claim[0], 1, (), 3.0) is None


def test_nobody_writes_the_file_of_one_chat_twice_at_once():
    claim = claimed((), 2, "a", "conv a", 1.0)
    assert claim is not None
    assert claimed(claim[0], 2, "a", "conv a", 2.0) is None


def test_a_save_that_never_ended_is_written_over():
    claim = claimed(written((), "a", 1.0, size=1), 1, "b", "conv b", 2.0)
    assert claim is not None
    wiped = to_wipe(claim[0], 1, (), 1000.0)
    assert wiped is not None
    assert claimed(claim[0], 1, "c", "conv c", 1000.0) is not None


def test_who_has_lost_a_place_does_not_settle_it():
    claim = claimed((), 1, "a", "conv a", 1.0)
    assert claim is not None
    later = claimed(claim[0], 1, "b", "conv b", 1000.0)
    assert later is not None
    assert settled(later[0], 0, claim[0][0], held(claim[0][0], 1, "m", 1, 2.0)) is None
    assert settled((), 0, claim[0][0], freed()) is None


def test_a_place_is_never_again_what_it_was():
    ring = written((), "a", 1.0, size=1)
    again = written(ring, "a", 1.0, size=1)
    assert (ring[0].session, ring[0].tokens) == (again[0].session, again[0].tokens)
    assert ring[0] != again[0]


def test_a_chat_that_has_two_files_reads_its_newest_alone():
    ring = written((), "a", 1.0, size=1)
    claim = claimed((*ring, *ring), 2, "a", "conv a", 1000.0)
    assert claim is not None
    assert holder(claim[0], "a") is None
    assert to_wipe(claim[0], 2, (), 1001.0) is not None


@pytest.mark.parametrize(("size", "gone"), [(1, set()), (2, {"conv b"})])
def test_what_is_too_much_or_of_a_deleted_chat_is_written_over(size: int, gone: set[str]):
    wiped = to_wipe(written(written((), "a", 1.0), "b", 2.0), size, gone, 3.0)
    assert wiped is not None
    ring, position = wiped
    assert (position, holder(ring, "a"), holder(ring, "b")) == (1, 0, None)
    assert ring[1].conversation == ""


def test_what_is_free_or_somebodys_stays():
    ring = (*written((), "a", 1.0, size=1), freed())
    assert to_wipe(ring, 2, {"conv b"}, 2.0) is None


def test_what_is_half_written_is_written_over_at_once():
    assert to_wipe((half_written(),), 1, (), 1000.0) is not None


def test_names_differ_by_place_engine_and_store():
    names = {
        name_of(SECRET, "http://a", 0),
        name_of(SECRET, "http://a", 1),
        name_of(SECRET, "http://b", 0),
        name_of(b"another one", "http://a", 0),
    }
    assert len(names) == 4
    assert name_of(SECRET, "http://a", 0) in names  # always the same
    assert name_of_ring(SECRET, "http://a") != name_of_ring(SECRET, "http://b")


def test_a_ring_is_kept_as_it_is():
    ring = written(written((), "a", 1.0), "b", 2.0)
    assert unpacked(packed(ring)) == ring
    assert unpacked(b"") == ()
    with pytest.raises(ValueError, match=r"."):
        unpacked(b"{")


@pytest.mark.parametrize(
    ("tokens", "saved", "due"),
    [(1000, 0, False), (1024, 0, True), (2000, 1900, False), (2200, 1900, True), (32500, 32000, False)],
)
def test_a_chat_is_saved_where_that_pays(tokens: int, saved: int, due: bool):
    assert is_due(tokens, saved) is due


def test_a_chat_that_was_cut_is_saved_anew():
    assert is_due(4000, 8000)


@pytest.mark.parametrize(("cached", "useless"), [(0, True), (199, True), (200, False), (2000, False)])
def test_a_file_that_spared_nothing_was_of_no_use(cached: int, useless: bool):
    assert is_of_no_use(2000, cached) is useless


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        (b'{"choices":[],"timings":{"cache_n":20,"prompt_n":3,"predicted_n":4}}', (27, 20)),
        (
            b'data: {"timings": {"cache_n": 0, "prompt_n": 3, "x": 1, "predicted_n": 4}}\n\ndata: [DONE]',
            (7, 0),
        ),
        (b'{"timings":{"cache_n":20,"prompt_n":3}}', None),
        (b'{"content":"\\"timings\\": cache_n"}', None),
        (b'{"cache_n":20,"prompt_n":3,"predicted_n":4}', None),
        (b"", None),
    ],
)
def test_an_engine_tells_what_it_has_left_in_a_slot(reply: bytes, left: tuple[int, int] | None):
    assert left_in_slot(reply) == left
