"""The estimate learns from what an upstream counts: soon, for every kind of text, and no nonsense."""

from __future__ import annotations

import random
import re
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.measure import NOTHING, Measure, measure, total
from sidecar.prompt.calibration import START, Learning, learned
from sidecar.prompt.weights import DEFAULT_WEIGHTS, NEUTRAL
from tests.conversation.build import raw, user

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
PIECE = re.compile(r" ?[A-Za-zäöüß]+|[0-9]|\s+|[\u3000-\u9fff]|[^\w\s]", re.ASCII)
KINDS = ["prose", "compound", "chinese", "code", "json"]


def word(dice, least, most):
    return "".join(dice.choices(LETTERS, range(26, 0, -1), k=dice.randint(least, most)))


def write(kind, dice):
    """A text of some hundred characters, of the kind."""
    size = dice.randint(5, 120)
    if kind == "prose":
        return " ".join(word(dice, 1, 9) for _ in range(size)) + "."
    if kind == "compound":
        return " ".join(word(dice, 3, 14).capitalize() + dice.choice(["", "ü", "ä"]) for _ in range(size))
    if kind == "chinese":
        return "".join(chr(dice.randint(0x4E00, 0x9000)) for _ in range(size * 3)) + "。"
    if kind == "code":
        return "".join(
            f"    {word(dice, 2, 8)}_{word(dice, 2, 6)}({dice.randint(0, 99)})\n" for _ in range(size)
        )
    return "".join(f'{{"{word(dice, 2, 8)}":{dice.random():.4f}}},' for _ in range(size))


def split(text):
    """What a tokenizer of word pieces would make of it: long words fall to pieces, digits stand alone."""
    return 6 + sum(1 + len(piece) // 7 if piece[-1].isalpha() else 1 for piece in PIECE.findall(text))


def talk(kinds, seed, turns, count=split):
    """The measure and the true count of the whole prompt, turn by turn."""
    dice, said, tokens = random.Random(seed), [], 0
    for _ in range(turns):
        for _ in range(2):
            text = write(dice.choice(kinds), dice)
            said.append(measure(raw(user(text))))
            tokens += count(text)
        yield total(said), tokens


def off(state, measure, tokens):
    return abs(state.weights.tokens(measure) / tokens - 1)


@pytest.mark.parametrize("kinds", [*([each] for each in KINDS), KINDS], ids=lambda kinds: "+".join(kinds))
def test_after_five_turns_the_estimate_is_right(kinds):
    errors = []
    for seed in range(30):
        state = START
        *before, last = talk(kinds, seed, 6)
        for prompt in before:
            state = learned(state, *prompt)
        errors.append(off(state, *last))

    assert median(errors) <= 0.03
    assert sorted(errors)[14] <= 0.10


@pytest.mark.parametrize("name", Measure._fields)
def test_whatever_it_is_that_weighs_more_is_learned(name):
    weights = [
        w * (1.4 if each == name else 0.9) for w, each in zip(NEUTRAL.values, Measure._fields, strict=True)
    ]
    dice, state = random.Random(name), START
    for _ in range(300):
        counted = Measure._make(dice.randint(0, max(1, round(300 / w))) for w in NEUTRAL.values)
        tokens = round(sum(w * each for w, each in zip(weights, counted, strict=True)))
        state = learned(state, counted, tokens)

    assert off(state, counted, tokens) < 0.01
    assert state.weights.values == pytest.approx(weights, rel=0.1)


def test_one_chat_leaves_what_it_did_not_hold_nearly_as_it_was():
    state = START
    for prompt in talk(["prose"], 1, 20):
        state = learned(state, *prompt)

    assert 0.5 < state.weights.values[12] / NEUTRAL.values[12] < 1.5
    assert state.weights.values[14] > 400


def test_another_kind_of_text_in_the_same_model_is_learned_as_soon():
    state = START
    for kind in ("prose", "code"):
        for prompt in talk([kind], 2, 40):
            state = learned(state, *prompt)
    *before, last = talk(["chinese"], 3, 6)
    for prompt in before:
        state = learned(state, *prompt)

    assert off(state, *last) < 0.03


def test_until_something_was_learned_the_weights_lean_to_the_high_side():
    assert START.weights == DEFAULT_WEIGHTS
    assert learned(START, Measure(messages=9, lower=900), 140).weights != DEFAULT_WEIGHTS


class TestNonsense:
    PROMPT = Measure(messages=20, lower=8000, spaces=1600)

    def state(self):
        state = START
        for _ in range(5):
            state = learned(state, self.PROMPT, 2000)
        return state

    @pytest.mark.parametrize("tokens", [0, -1, True, None, "2000", 2000.0, 1 << 40])
    def test_what_is_no_count_is_not_learned(self, tokens):
        assert learned(self.state(), self.PROMPT, tokens) == self.state()

    def test_a_prompt_of_nothing_teaches_nothing(self):
        assert learned(START, NOTHING, 5) == START

    @pytest.mark.parametrize("tokens", [1, 500, 1200, 4000, 1_000_000])
    def test_what_cannot_be_is_not_learned(self, tokens):
        state = learned(self.state(), self.PROMPT, tokens)
        assert state.weights == self.state().weights
        assert state.refused == 1
        assert learned(state, self.PROMPT, 2000).refused == 0

    @pytest.mark.parametrize("tokens", [100, 100_000])
    def test_not_even_the_first_count_is_believed_whatever_it_is(self, tokens):
        assert learned(START, self.PROMPT, tokens).reports == 0

    def test_silent_cutting_is_not_learned_however_long_it_goes_on(self):
        state = self.state()
        for _ in range(100):
            state = learned(state, self.PROMPT, 900)
        assert state.weights == self.state().weights

    def test_another_tokenizer_under_the_same_name_is_learned_in_the_end(self):
        state = self.state()
        for _ in range(20):
            state = learned(state, self.PROMPT, 2800)
        assert off(state, self.PROMPT, 2800) < 0.02


counts = st.builds(lambda values: Measure._make(values), st.tuples(*[st.integers(0, 10**5)] * len(NOTHING)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(counts, st.integers(-5, 1 << 33)), max_size=30))
def test_whatever_is_reported_no_weight_leaves_its_bounds(reports):
    state = START
    for counted, tokens in reports:
        state = learned(state, counted, tokens)
        assert all(0 < w <= 6.001 * at for w, at in zip(state.weights.values, NEUTRAL.values, strict=True))
        assert state.weights.tokens(counted) >= 1


def test_hours_of_the_same_report_leave_the_arithmetic_sound():
    state = START
    for _ in range(1500):
        state = learned(state, Measure(messages=1, lower=3000), 600)
    first = START.covariance

    assert state.weights.tokens(Measure(messages=1, lower=3000)) == pytest.approx(600, rel=0.01)
    assert all(0 < state.covariance[at][at] <= first[at][at] for at in range(len(NOTHING)))
    assert all(
        row[at] == state.covariance[at][i] for i, row in enumerate(state.covariance) for at in range(i)
    )


class TestKept:
    def test_what_is_kept_goes_on_as_if_it_had_never_been_away(self):
        state = START
        for prompt in talk(KINDS, 4, 10):
            state = learned(state, *prompt)
        kept = Learning.decoded(state.encoded())

        assert kept is not None
        assert len(state.encoded()) < 3000
        assert kept.reports == state.reports
        assert kept.weights.values == pytest.approx(state.weights.values, rel=1e-4)
        again = learned(kept, *prompt), learned(state, *prompt)
        assert again[0].weights.values == pytest.approx(again[1].weights.values, rel=1e-3)

    @pytest.mark.parametrize(
        "change",
        [
            {"v": 0},
            {"reports": -1},
            {"reports": "1"},
            {"shifts": None},
            {"shifts": [0.0]},
            {"shifts": ["1"] * len(NOTHING)},
            {"covariance": [1e9] * 136},
            {"covariance": [0.1] * 135},
        ],
    )
    def test_what_another_version_kept_is_none(self, change):
        sound = {"v": 1, "reports": 1, "shifts": [0.0] * len(NOTHING), "covariance": [0.1] * 136}
        assert Learning.decoded(raw(sound)) is not None
        assert Learning.decoded(raw({**sound, **change})) is None

    @pytest.mark.parametrize("kept", [b"", b"[]", b"\xff"])
    def test_what_is_damaged_is_none(self, kept):
        assert Learning.decoded(kept) is None


def test_a_count_that_is_certain_is_learned_however_far_it_is_from_what_was_expected():
    prompt = Measure(messages=20, lower=16_000)
    state = START
    for _ in range(30):
        state = learned(state, prompt, 2400)
    assert learned(state, prompt, 6000).weights == state.weights
    state = learned(state, prompt, 6000, certain=True)
    assert state.weights.tokens(prompt) == pytest.approx(6000, rel=0.05)
    assert state.refused == 0


@pytest.mark.parametrize("name", Measure._fields)
@pytest.mark.parametrize("tokens", [100, 1_000_000])
def test_what_is_not_known_at_the_start_is_a_scale_each_weight_and_the_noise_of_a_count(name, tokens):
    own = {"messages": 0.8, "images": 1.0, "tools": 0.5, "latin": 0.5, "pictograms": 0.5}.get(name, 0.25)
    weight = NEUTRAL.values[Measure._fields.index(name)]
    prompt = Measure(**{name: tokens / weight})
    variance = 0.2**2 + own**2 + 0.012**2 + 1.0 / tokens
    assert START.error(prompt) == pytest.approx(2 * variance**0.5, rel=1e-9)


def test_of_two_weights_the_scale_is_one_and_what_they_are_apart_is_each_its_own():
    lower, upper = (round(1000 / NEUTRAL.values[Measure._fields.index(name)]) for name in ("lower", "upper"))
    variance = 0.2**2 + 2 * (0.25 / 2) ** 2 + 0.012**2 + 1 / 2000
    found = START.error(Measure(lower=lower, upper=upper))
    assert found == pytest.approx(2 * variance**0.5, rel=1e-9)


def test_after_each_report_a_fiftieth_of_the_first_uncertainty_comes_back():
    prompt, state = Measure(lower=8_000_000), START
    for _ in range(2000):
        state = learned(state, prompt, 1_000_000)
    first = 0.2**2 + 0.25**2
    noise = 0.012**2 + 1 / 1_000_000
    left = first
    for _ in range(2000):
        left = 0.98 * (left - left * left / (left + noise)) + 0.02 * first
    assert state.error(prompt) == pytest.approx(2 * (left + noise) ** 0.5, rel=1e-6)
    assert state.reports == 2000


def test_the_error_of_an_estimate_shrinks_with_what_is_reported():
    prompt = measure(raw(user("the river carried old letters " * 200)))
    state, errors = START, [START.error(prompt)]
    for _ in range(8):
        state = learned(state, prompt, round(NEUTRAL.tokens(prompt) * 1.1))
        errors.append(state.error(prompt))
    assert 0.3 < errors[0] < 1
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.12
    assert state.error(measure(b'{"role":"user","content":"1234567"}')) > errors[-1]
    assert state.error(NOTHING) == 1
