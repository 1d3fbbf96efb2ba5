"""A prompt that was cut without a word is told from one that was counted."""

from __future__ import annotations

from sidecar.conversation.measure import Measure
from sidecar.prompt.calibration import START, learned
from sidecar.prompt.silent_truncation import NO_CEILING, is_far_too_small

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
    assert not is_far_too_small(taught(), PROMPT, 0)


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
