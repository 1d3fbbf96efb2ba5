"""What is still shown and tells of the same as an old passage is quoted again behind it."""

from __future__ import annotations

from sidecar.prompt.recall_newer import newer

WORTH = {"dentist": 3.0, "dent*": 3.0, "who": 1.0, "why": 1.0}
OLD = [["Good.", "My dentist is Dr Pemberton.", "I see."]]


def test_what_has_most_of_the_words_is_quoted_again_in_its_order():
    texts = ["Who is it?", "My new DENTIST is Dr Achterberg.", "Who knows.", "A dental matter, dentists say."]
    assert newer(texts, OLD, WORTH) == [texts[1], texts[3]]


def test_a_question_tells_nothing():
    assert newer(["Is he a dentist?", "私の dentist は\uff1f"], OLD, WORTH) == []


def test_the_best_two_are_taken_and_of_equal_ones_the_newest():
    texts = ["dentist 1", "dentist 2", "dental", "dentist 3"]
    assert newer(texts, OLD, WORTH) == ["dentist 2", "dentist 3"]


def test_of_a_long_message_its_beginning_is_quoted():
    (quoted,) = newer(["dentist " * 100], OLD, WORTH)
    assert len(quoted) < 210
    assert quoted.endswith("…")


def test_without_words_or_passages_nothing_is():
    assert newer(["dentist"], OLD, {}) == []
    assert newer(["dentist"], [], WORTH) == []
