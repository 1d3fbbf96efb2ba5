"""What was said later, and tells of the same as an old passage, stands in its place or behind it."""

from __future__ import annotations

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
