"""What of a request is there already: its longest front that is a part of the newest turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.exchange.thin import _newest_turn, _overlap
from tests.conversation.build import line, request, says, user

words = st.lists(st.sampled_from("ab"), max_size=8)


def by_hand(stored: list[str], sent: list[str]) -> tuple[int, int]:
    """Every place tried, in time that grows with the square."""
    best = (0, 0)
    for at in range(len(stored)):
        count = 0
        while count < min(len(sent), len(stored) - at) and stored[at + count] == sent[count]:
            count += 1
        if count and count >= best[1]:
            best = (at, count)
    return best


@pytest.mark.parametrize(
    ("stored", "sent", "found"),
    [
        ("aabaac", "aabaac", (0, 6)),
        ("aabaabaac", "aabaac", (3, 6)),
        ("abab", "abb", (2, 2)),
        ("abab", "ab", (2, 2)),
        ("ba", "a", (1, 1)),
        ("a", "", (0, 0)),
        ("b", "a", (0, 0)),
        ("", "a", (0, 0)),
    ],
)
def test_a_front_that_begins_again_within_itself_is_found(stored: str, sent: str, found: tuple[int, int]):
    overlap = _overlap(line(*map(user, stored)), 0, request(*map(user, sent)).path.messages)
    assert (overlap.at, overlap.count) == found == by_hand(list(stored), list(sent))


@pytest.mark.parametrize(
    ("roles", "begins"), [("", 0), ("u", 0), ("uu", 0), ("uau", 2), ("uauu", 2), ("uauua", 2), ("uaua", 2)]
)
def test_the_newest_turn_begins_at_the_first_of_the_questions_that_stand_in_a_row(roles: str, begins: int):
    nodes = line(*(user("q") if role == "u" else says("a") for role in roles))
    assert _newest_turn(nodes) == begins


@given(words, words)
def test_the_longest_front_is_found_wherever_it_stands(stored: list[str], sent: list[str]):
    found = _overlap(line(*map(user, stored)), 0, request(*map(user, sent)).path.messages)
    assert (found.at, found.count) == by_hand(stored, sent)
