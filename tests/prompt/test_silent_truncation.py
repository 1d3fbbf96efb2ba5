"""A prompt that was cut without a word is told from one that was counted."""

from __future__ import annotations

import pytest

from sidecar.conversation.measure import Measure
from sidecar.prompt.calibration import START, learned
from sidecar.prompt.silent_truncation import (
    NO_CEILING,
    NO_SHARE,
    has_shrunk,
    is_cut_again,
    is_far_too_small,
)

PROMPT = Measure(messages=20, lower=16_000)
SMALL = Measure(messages=2, lower=1600)


def taught(reports=3):
    state = START
    for _ in range(reports):
        state = learned(state, PROMPT, 2000)
    return state


def ceiling(*reports):
    at = NO_CEILING
    for size, tokens in reports:
        at = at.after(Measure(lower=size * 8), tokens)
    return at


def test_far_less_than_what_was_learned_is_too_little():
    assert is_far_too_small(taught(), PROMPT, 1100)
    assert not is_far_too_small(taught(), PROMPT, 1300)
    assert is_far_too_small(taught(), PROMPT, 1)
    assert not is_far_too_small(taught(), PROMPT, 0), "it counts nothing"


def test_six_tenths_of_what_is_expected_in_more_than_a_thousand_tokens_is_where_it_begins():
    state = taught(30)
    for size in (1000, 1001, 2500):
        expected = next(
            prompt
            for lower in range(99_999)
            if state.weights.tokens(prompt := Measure(messages=1, lower=lower)) == size
        )
        most = size * 6 // 10
        assert is_far_too_small(state, expected, most - 1) is (size > 1000)
        assert not is_far_too_small(state, expected, most + (size * 6 % 10 > 0))
        assert is_far_too_small(state, expected, 1) is (size > 1000)


def test_without_anything_learned_nothing_is_too_little():
    assert not is_far_too_small(taught(2), PROMPT, 100)


def test_a_small_prompt_may_be_anything():
    assert not is_far_too_small(taught(), SMALL, 10)


def test_growing_prompts_that_count_the_same_have_hit_a_ceiling():
    assert ceiling((3000, 2048), (3300, 2048), (3600, 2045)).is_certain


def test_once_may_be_chance():
    found = ceiling((3000, 2048), (3300, 2048))
    assert found.hits == 1
    assert not found.is_certain


def test_the_same_prompt_again_is_no_sign():
    assert ceiling((2100, 2048), (2100, 2048), (2110, 2048), (2050, 2048)).hits == 0


def test_another_count_begins_anew():
    assert ceiling((3000, 2048), (3300, 2048), (3600, 2300)).hits == 0


def test_small_prompts_have_no_ceiling():
    assert ceiling((500, 400), (600, 400), (700, 400), (800, 400)).hits == 0


@pytest.mark.parametrize(
    ("reports", "hits"),
    [
        (((1100, 1001), (2000, 1001)), 1),
        (((1100, 1000), (2000, 1000)), 0),
        (((3000, 2000), (3300, 2010)), 1),
        (((3000, 2000), (3300, 2011)), 0),
        (((3000, 2000), (3300, 1990)), 1),
        (((3000, 2000), (3300, 1989)), 0),
        (((3000, 2000), (3060, 2000)), 1),
        (((3000, 2000), (3059, 2000)), 0),
        (((3000, 2000), (3300, 2000), (2000, 2000), (3400, 2000)), 2),
        (((3000, 2000), (3300, 2000), (3400, 3000), (3400, 2000)), 0),
    ],
)
def test_a_hit_is_a_prompt_larger_by_two_hundredths_that_counts_the_same_but_for_half_a_hundredth(
    reports, hits
):
    assert ceiling() is NO_CEILING
    assert NO_CEILING.hits == 0
    assert ceiling(*reports).hits == hits
    assert ceiling(*reports).is_certain is (hits >= 2)


def test_where_another_prompt_was_cut_a_fifth_too_few_is_enough():
    assert is_cut_again(3000, 5000, 4800, 3999), "a few more than before"
    assert not is_cut_again(3000, 5000, 4800, 4000), "near enough: it holds more by now"
    assert is_cut_again(3000, 3100, 3001, 3000), "no more than before, and more was sent"
    assert not is_cut_again(3000, 3100, 3000, 2000), "no more may have been sent than it held"
    assert not is_cut_again(3000, 5000, 3500, 3500), "as few may have been sent, so unsure is the estimate"
    assert is_cut_again(3000, 5000, 4800, 1)
    assert not is_cut_again(3000, 5000, 4800, 0), "it counts nothing"


def test_a_prompt_that_goes_on_from_another_has_no_fewer_tokens():
    assert has_shrunk(2000, 1899)
    assert not has_shrunk(2000, 1900), "a template may make so much of a difference"
    assert has_shrunk(2000, 1000)
    assert not has_shrunk(2000, 999), "it counts what it had not cached"
    assert not has_shrunk(1000, 900)
    assert has_shrunk(1001, 900)


def share(*reports):
    at = NO_SHARE
    for size, tokens in reports:
        at = at.after(Measure(lower=size * 8), tokens)
    return at


STEADY = [(3000, 1500), (3300, 1660), (3100, 1560), (3600, 1780), (3400, 1700), (3760, 1880)]


def test_prompts_of_different_sizes_that_count_one_share_of_them_were_not_cut():
    assert share(*STEADY).is_certain
    assert share(*reversed(STEADY)).is_certain, "shrinking ones as well"
    assert not share(*STEADY[:-1]).is_certain, "five may be chance"
    assert not share(*[(3000, 1500)] * 12).is_certain, "of one size alone nothing can be told"


def test_a_prompt_that_was_cut_counts_another_share_whenever_it_grows():
    assert not share(*[(3000 + 300 * at, 1500) for at in range(20)]).is_certain
    dropped_whole_messages = [(3000 + 300 * at, 1500 - 90 * (at % 3)) for at in range(20)]
    assert not share(*dropped_whole_messages).is_certain


def test_one_other_share_begins_anew():
    assert share(*STEADY[:5], (3000, 1200), STEADY[5]).times == 1
