"""The words of a text are found in other texts, whatever the language."""

from __future__ import annotations

import pytest

from sidecar.prompt.words import beginning, likely_share, words


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Which house?", "All HOUSES are old."),
        ("resume", "R\u00e9sum\u00e9s"),
        ("Cafe\u0301", "caf\u00e9"),
        ("Stra\u00dfe", "STRASSEN"),
        (
            "\u0434\u043e\u043c\u0430\u0448\u043d\u0438\u0439",
            "\u0434\u043e\u043c\u0430\u0448\u043d\u044f\u044f",
        ),
        ("\u5929\u6c14\u600e\u4e48\u6837", "\u5317\u4eac\u7684\u5929\u6c14\u5f88\u597d"),
        ("\uc11c\uc6b8\uc740", "\uc548\ub155\ud558\uc138\uc694 \uc11c\uc6b8\uc5d0\uc11c"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902"),
        ("\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd"),
        ("\u6771", "\u6771 1"),
    ],
)
def test_words_are_the_same_in_another_form_or_with_another_ending(asked, said):
    assert set(words(asked)) & set(words(said))


@pytest.mark.parametrize(
    ("asked", "said"), [("12345678", "12345679"), ("a1b2c3d4", "a1b2c3d5"), ("cat", "category"), ("!?", "!?")]
)
def test_numbers_and_short_words_are_only_themselves(asked, said):
    assert not set(words(asked)) & set(words(said))


def test_a_word_counts_as_often_as_it_occurs():
    assert list(words("No, no: NO")) == ["no"] * 3
    assert all(len(each) <= 40 for each in words("x" * 5000))


def test_the_shorter_a_word_the_more_common_it_is_likely_to_be():
    shares = [likely_share(word) for word in ("of", "who", "sofa", "table", "pencil", "plumber", "plumbers")]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == shares[-2]
    assert likely_share("4711") == 0.01
    assert likely_share("钢琴") == 0.02
    assert likely_share("été") == likely_share("who")


@pytest.mark.parametrize(
    ("letters", "share"),
    [(1, 0.5), (2, 0.5), (3, 0.2), (4, 0.1), (5, 0.05), (6, 0.03), (7, 0.02), (8, 0.02), (40, 0.02)],
)
def test_how_likely_a_word_is_its_letters_tell(letters, share):
    assert likely_share("x" * letters) == share
    assert likely_share("x" * (letters - 1) + "1") == 0.01


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("met", ["met"]),
        ("meet", ["meet", "meet*"]),
        ("meet1", ["meet1"]),
        ("x" * 41, ["x" * 40, "xxxx*"]),
        ("\u6771\u4eac\u90fd", ["\u6771\u4eac", "\u4eac\u90fd"]),
        ("\u6771", ["\u6771"]),
        ("a_b-c", ["a", "b", "c"]),
        ("", []),
    ],
)
def test_a_text_is_looked_for_by_these(text, found):
    assert list(words(text)) == found


def test_the_beginning_of_a_word_is_its_own():
    assert beginning("plumbers") == beginning("plum*") == "plum*"
    assert beginning("who") not in list(words("who"))
