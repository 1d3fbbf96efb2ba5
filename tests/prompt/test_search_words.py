"""By which words a message is found when what was said is searched."""

from __future__ import annotations

import json

import pytest

from sidecar.prompt.search_words import MOST, Sought, keys_of


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", set()),
        ("... --- !!!", set()),
        ("I am so", {"i", "am", "so"}),
        ("harbours", {"harb", "harbour"}),
        ("House", {"hous"}),
        ("model3x 2019", {"model3x", "mode", "2019"}),
        ("x" * 60, {"xxxx", "xxxxxxx"}),
        ("1" * 60, {"1" * 40}),
        ("東京都", {"東", "京", "都", "東京", "京都"}),
        ("猫", {"猫"}),
        ("Café", {"cafe"}),
    ],
)
def test_a_text_has_keys(text, keys):
    assert keys_of(text) == keys


def test_what_stands_behind_the_first_hundred_thousand_characters_is_not_looked_at():
    text = "." * MOST + " harbour"

    sought = Sought("harbour")

    assert (keys_of(text), sought.is_in(text), sought.place_in(text)) == (set(), False, 0)


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("house", "Two houses", True),
        ("houses", "One house", False),
        ("met", "metres", False),
        ("met", "We met", True),
        ("201", "in 2019", False),
        ("model", "model3x", True),
        ("model3", "model3x", False),
        ("STRASSE", "die Straße", True),
        ("京", "東京", True),
        ("東京都", "東京都庁", True),
        ("京東", "東京", False),
        ("deep harbour", "a harbour, deep", True),
        ("deep harbour", "a harbour", False),
        ("cafe", "Cafe\u0301", True),
    ],
)
def test_a_question_finds_a_text_or_not(question, text, expected):
    sought = Sought(question)

    assert sought.is_in(text) is expected
    if expected:
        assert set(sought.keys) <= keys_of(text) | {"model"[:4]}


@pytest.mark.parametrize(
    ("question", "keys"),
    [
        ("model3x", ("model3x",)),
        ("harbours", ("harbour",)),
        ("harb", ("harb",)),
        ("har", ("har",)),
        ("1" * 50, ("1" * 40,)),
        ("x" * 50, ("x" * 7,)),
        ("a1b2", ("a1b2",)),
        ("harb2ours", ("harb2ours",)),
        ("東京都", ("京都", "東京")),
    ],
)
def test_a_word_is_looked_up_by_the_key_that_tells_most(question, keys):
    assert Sought(question).keys == keys


def test_of_the_keys_the_longest_come_first():
    assert Sought("so harbours 東京都 猫").keys == ("harbour", "so", "京都", "東京", "猫")


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        ("The Harbour", "harb", True),
        ("The Harbour", "deep", False),
        ("The Harbour", "harb deep", False),
        ("Über", "uber", True),
        ("Über", "nowhere", True),
    ],
)
def test_plain_bytes_tell_quickly_whether_the_words_may_be_there(text, question, expected):
    body = json.dumps({"content": text}, ensure_ascii=False).encode()

    assert Sought(question).may_be_in(body) is expected
    assert Sought(question).may_be_in(b'{"content": "\\u00dc"}') is True


@pytest.mark.parametrize(
    ("question", "text", "at"),
    [
        ("harbour", "The old harbours", 8),
        ("京", "in 東京", 4),
        ("strasse", "ßßß Straße", 4),
        ("cafe", "ein Cafe\u0301", 4),
        ("nowhere", "The old harbour", 0),
    ],
)
def test_the_place_of_a_word_is_told_by_the_characters_of_the_text_itself(question, text, at):
    assert Sought(question).place_in(text) == at
