"""Two texts are told apart word by word, and whatever they are, all of both is told, in time."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.inspector.words import MOST, Change, compared, near


def told(old, new):
    return [(each.kind, each.text) for each in compared(old, new).changes]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("same", "same", [("same", "same")]),
        ("", "new", [("in", "new")]),
        ("old", "", [("out", "old")]),
        ("It is 10:01.", "It is 10:02.", [("same", "It is 10:"), ("out", "01"), ("in", "02"), ("same", ".")]),
        ("a b c", "a c", [("same", "a"), ("out", " b"), ("same", " c")]),
        ("a c", "a b c", [("same", "a"), ("in", " b"), ("same", " c")]),
    ],
)
def test_words_that_went_and_came_are_told(old, new, expected):
    assert told(old, new) == expected


@given(st.text("ab \n.", max_size=40), st.text("ab \n.", max_size=40))
def test_both_texts_are_told_whole(old, new):
    changes = told(old, new)
    assert "".join(text for kind, text in changes if kind != "in") == old
    assert "".join(text for kind, text in changes if kind != "out") == new
    assert all(one[0] != other[0] for one, other in itertools.pairwise(changes))


def test_where_nearly_all_differs_one_stands_against_the_other():
    old, new = " ".join(f"a{at}" for at in range(1000)), " ".join(f"b{at}" for at in range(1000))
    assert told(old, new) == [("out", old), ("in", new)]


@pytest.mark.parametrize(("old", "new"), [("x ", "y "), ("a b ", "b a c "), ("x", "x y")])
def test_of_long_texts_the_beginning_is_compared_and_that_takes_no_longer(old, new):
    begun = time.process_time()
    found = compared(old * MOST, new * MOST)
    assert time.process_time() - begun < 1.0
    assert found.is_cut
    assert sum(len(each.text) for each in found.changes) <= 2 * MOST


def test_what_is_far_from_a_change_is_left_out():
    old = f"{'a ' * 500}x{' b' * 500} y{' c' * 500}"
    told = near(compared(old, old.replace("x", "z").replace("y", "z" * 500)).changes)
    assert [each.kind for each in told] == ["same", "out", "in", "same", "out", "in", "same"]
    first, _, _, between, _, long, last = (each.text for each in told)
    assert (first[0], last[-1], len(first), len(last)) == ("…", "…", 61, 61)
    assert (between.count("b"), len(between), len(long)) == (60, 121, 401)
    few = (Change("same", "all "), Change("in", "new"))
    assert near(few) == few
