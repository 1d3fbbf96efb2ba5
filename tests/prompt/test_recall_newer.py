"""What was said later, and tells of the same as an old passage, stands in its place or behind it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.prompt.recall_evidence import Evidence
from sidecar.prompt.recall_newer import newer, superseded

WORDS = ("dentist", "name", "who")
DENTIST, NAME, WHO = 1, 2, 4
DROPPED = range(8)


def evidence(*words):
    asked = dict.fromkeys(words or WORDS, 1.0)
    return Evidence(asked, dict.fromkeys(asked, 1), 100, tuple(asked))


def told(*texts):
    """The text of a passage by its number."""
    return lambda at: texts[at] if at < len(texts) else "So."


class TestSuperseded:
    def test_an_old_passage_is_where_a_later_one_has_nearly_all_that_it_has_of_the_question(self):
        held = {0: DENTIST | NAME, 3: DENTIST | NAME, 9: DENTIST | NAME | WHO, 12: DENTIST | NAME}
        assert superseded(held, DROPPED, evidence(), told()) == {0, 3}
        del held[9], held[12]
        assert superseded(held, DROPPED, evidence(), told()) == {0}

    def test_it_is_not_where_the_later_one_has_less_of_it(self):
        assert superseded({0: DENTIST | NAME, 9: NAME}, DROPPED, evidence(), told()) == set()

    def test_it_is_not_where_it_has_little_of_the_question(self):
        assert superseded({0: WHO, 4: DENTIST | NAME, 9: WHO}, DROPPED, evidence(), told()) == set()

    def test_what_stands_beside_it_supersedes_nothing(self):
        assert superseded({0: DENTIST | NAME, 1: DENTIST | NAME}, DROPPED, evidence(), told()) == set()
        assert superseded({0: DENTIST | NAME, 2: DENTIST | NAME}, DROPPED, evidence(), told()) == {0}

    def test_questions_supersede_nothing_and_are_not_superseded(self):
        held = {0: DENTIST | NAME, 4: DENTIST | NAME}
        assert superseded(held, DROPPED, evidence(), told("a", "", "", "", "Who is it? ")) == set()
        assert superseded(held, DROPPED, evidence(), told("私の dentist は\uff1f")) == set()

    def test_a_question_without_words_has_no_passages(self):
        assert superseded({0: 0}, DROPPED, evidence("who*"), told()) == set()


class TestNewer:
    def test_what_has_most_of_the_words_is_taken_in_its_order(self):
        shown = {7: DENTIST | NAME, 4: DENTIST | WHO, 5: WHO}
        assert newer(shown, [DENTIST | NAME], evidence(), told()) == [4, 7]

    def test_the_best_two_are_taken_and_of_equal_ones_the_newest(self):
        shown = {1: DENTIST, 2: DENTIST, 3: DENTIST | NAME, 4: DENTIST}
        assert newer(shown, [DENTIST | NAME, DENTIST], evidence(), told()) == [3, 4]

    def test_what_has_the_word_that_tells_most_is_taken_whatever_else_the_old_passage_has(self):
        asked = dict.fromkeys(("dentist", "name", "number"), 1.0)
        mostly = Evidence(asked, {"dentist": 1, "name": 4, "number": 4}, 100, tuple(asked))
        assert newer({1: 1, 2: 2, 3: 4}, [1 | 2 | 4], mostly, told()) == [1]

    def test_a_question_tells_nothing(self):
        shown = {0: DENTIST, 1: DENTIST}
        assert newer(shown, [DENTIST], evidence(), told("Is he a dentist?", "He is.")) == [1]

    def test_without_passages_or_words_in_common_nothing_is(self):
        assert newer({1: DENTIST}, [], evidence(), told()) == []
        assert newer({1: WHO}, [DENTIST | NAME], evidence(), told()) == []


HELD = st.dictionaries(st.integers(0, 15), st.integers(0, 31), max_size=10)
TEXTS = st.lists(
    st.sampled_from(["So.", "So? ", "\u61c2\uff1f", "\u0646\u0639\u0645\u061f", "Ti\u037e"]), max_size=16
)
ASKED = st.lists(st.tuples(st.sampled_from((0.3, 1.0)), st.integers(0, 50)), min_size=5, max_size=5)


def evidence_of(asked):
    words = ("dentist", "name", "who", "4711", "plumbers")
    counts = {word: each for word, (each, _) in zip(words, asked, strict=True)}
    places = {word: each for word, (_, each) in zip(words, asked, strict=True)}
    return Evidence(counts, places, 60, words)


def asks(text):
    return text.strip()[-1] in "?\uff1f\u061f\u037e"


class TestAtRandom:
    @given(HELD, st.integers(0, 10), ASKED, TEXTS)
    def test_each_is_superseded_by_a_later_one_further_on_that_has_nine_tenths_of_it(
        self, held, until, asked, texts
    ):
        found, text = evidence_of(asked), told(*texts)
        telling = [at for at in held if found.of(held[at]) >= 0.4 * found.whole and not asks(text(at))]
        gone = {
            at
            for at in telling
            if at < until
            and any(
                later > at + 1 and found.of(held[at] & held[later]) >= 0.9 * found.of(held[at])
                for later in telling
            )
        }
        assert superseded(held, range(until), found, text) == gone

    @given(HELD, st.lists(st.integers(0, 31), max_size=4), ASKED, TEXTS)
    def test_the_two_are_taken_that_have_most_of_half_or_of_the_word_that_tells_most(
        self, shown, own, asked, texts
    ):
        found, text = evidence_of(asked), told(*texts)
        shares = {}
        for at, words in shown.items():
            common = [each & words for each in own]
            is_same = [
                (found.of(both) >= 0.5 * found.of(each) > 0)
                or (found.strongest(both) >= found.strongest(each) > 0)
                for both, each in zip(common, own, strict=True)
            ]
            share = max(
                (found.of(both) for both, is_it in zip(common, is_same, strict=True) if is_it), default=0
            )
            if share > 0 and not asks(text(at)):
                shares[at] = share
        best = sorted(shares, key=lambda at: (shares[at], at))[-2:]
        assert newer(shown, own, found, text) == sorted(best)
