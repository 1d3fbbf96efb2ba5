"""How much passages tell of a question, and whether that is more than chance."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.prompt.recall_evidence import Evidence
from sidecar.prompt.words import beginning, likely_share, words


def evidence(question, passages=100, counts=1.0, **places):
    asked = dict.fromkeys(words(question), counts)
    known = {word: places.get(word.rstrip("*"), 0) for word in asked}
    return Evidence(asked, known, passages, tuple(asked))


def bits(question, *held):
    return sum(1 << at for at, word in enumerate(dict.fromkeys(words(question))) if word in held)


def test_a_rare_word_tells_more_than_a_common_one():
    question = "plumber monday"
    found = evidence(question, plumber=1, monday=40)
    assert found.of(bits(question, "plumber")) > found.of(bits(question, "monday"))
    assert found.of(0) == 0


def test_a_long_word_tells_more_than_a_short_one_where_the_talk_knows_neither():
    question = "the plumber"
    found = evidence(question)
    assert found.of(bits(question, "plumber")) > 1.4 * found.of(bits(question, "the"))


def test_a_word_and_its_beginning_tell_the_same_once():
    question = "plumbers"
    found = evidence(question, plumbers=1, plum=2)
    whole = found.of(bits(question, "plumbers"))
    assert found.of(bits(question, "plumbers", "plum*")) == whole == found.whole
    assert 0 < found.of(bits(question, "plum*")) < whole


def test_a_word_that_counts_less_tells_less():
    whole, less = evidence("plumber"), evidence("plumber", counts=0.3)
    assert less.whole == pytest.approx(0.3 * whole.whole)


@pytest.mark.parametrize(
    ("question", "held", "known"),
    [
        ("Which plumber?", ["plumber"], {"plumber": 1}),
        ("What does 4711 mean?", ["4711"], {"4711": 1}),
        ("我的钢琴老师", ["钢琴", "琴老"], {"钢琴": 1, "琴老": 1}),
    ],
)
def test_one_rare_word_is_more_than_chance(question, held, known):
    assert evidence(question, **known).is_beyond_chance(bits(question, *held))


@pytest.mark.parametrize(
    ("question", "held"),
    [("And why not?", ["and", "why", "not"]), ("Go on", ["go", "on"]), ("No", ["no"]), ("More", ["more"])],
)
def test_words_that_stand_everywhere_are_chance(question, held):
    known = dict.fromkeys(held, 40)
    assert not evidence(question, **known).is_beyond_chance(bits(question, *held))


def test_many_common_words_are_chance_where_one_rare_word_is_not():
    question = "What is the least of all for me or you?"
    common = dict.fromkeys(("what", "is", "the", "of", "all", "for", "me", "or", "you"), 20)
    found = evidence(f"{question} 4711", **common, **{"4711": 1})
    common_bits, rare = bits(f"{question} 4711", *common), bits(f"{question} 4711", "4711")
    assert found.of(common_bits) > found.of(rare)
    assert not found.is_beyond_chance(common_bits)
    assert found.is_beyond_chance(common_bits | rare)


def test_what_a_talk_is_about_stands_out_in_it_too():
    question = "Which lighthouse?"
    found = evidence(question, passages=40, lighthouse=8, which=4, whic=4)
    assert found.is_beyond_chance(bits(question, "which", "lighthouse"))
    assert not found.is_beyond_chance(bits(question, "which", "whic*"))


def test_the_less_of_a_question_is_there_the_rarer_its_rarest_word_has_to_be():
    few, many = "the plum", "how long does the plum have to wait for all that in this summer"
    assert evidence(few, 30, plum=2).is_beyond_chance(bits(few, "plum"))
    assert not evidence(many, 30, plum=2).is_beyond_chance(bits(many, "plum"))
    assert evidence(many, 30, plum=0).is_beyond_chance(bits(many, "plum"))


def test_nothing_is_no_evidence():
    assert not evidence("").is_beyond_chance(0)
    assert not evidence("plumber").is_beyond_chance(0)


WORDS = ["plumbers", "plum*", "monday", "mond*", "who", "4711", "\u94a2\u7434", "lighthouses", "ligh*"]


@given(
    st.dictionaries(
        st.sampled_from(WORDS), st.tuples(st.sampled_from((0.3, 1.0)), st.integers(0, 60)), min_size=1
    ),
    st.integers(60, 300),
    st.permutations(WORDS),
    st.integers(0, 2 ** len(WORDS) - 1),
)
def test_what_words_tell_and_whether_it_is_beyond_chance_is_worked_out_so(asked, passages, order, bits):
    """In nats, of a talk's passages and five of any talk: it takes seven tenths of what tells one from all
    others, and one word that stands out by itself, the more the less of the question is there."""
    counts = {word: each for word, (each, _) in asked.items()}
    places = {word: each for word, (_, each) in asked.items()}
    held = [word for word in order if word in asked][: len(asked) // 2 + 1]
    evidence = Evidence(counts, places, passages, held)
    has = {word for at, word in enumerate(held) if bits >> at & 1}
    number = passages + 5
    tells = {
        word: counts[word] * math.log(number / (places[word] + 5 * likely_share(word))) for word in asked
    }
    told = strongest = whole = 0.0
    for word in asked:
        if word.endswith("*"):
            continue
        whole += tells[word]
        here = tells[word] if word in has else 0.0
        ever = counts[word] * -math.log(likely_share(word)) if word in has else 0.0
        if word not in has and beginning(word) in has:
            here = min(tells[word], tells[beginning(word)])
        told += here
        strongest = max(strongest, here, ever)
    assert evidence.whole == pytest.approx(whole)
    assert evidence.of(bits) == evidence.of(bits) == pytest.approx(told)
    assert evidence.strongest(bits) == pytest.approx(strongest)
    stands_out = strongest / min(math.log(number), 4.2)
    margins = (told - 0.7 * math.log(number), stands_out - 0.72, stands_out + told / (whole or 1) / 2 - 0.9)
    if all(abs(each) > 1e-9 for each in margins):
        assert evidence.is_beyond_chance(bits) is (told > 0 and all(each > 0 for each in margins))
