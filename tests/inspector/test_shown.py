"""How values are shown."""

from __future__ import annotations

import pytest

from sidecar.inspector.message_view import words_of
from sidecar.inspector.shown import Clip, clip, count, moment, seconds, size, title, told


def test_a_short_text_is_shown_whole():
    assert clip("one\ntwo") == Clip("one\ntwo", "", 7, False)
    assert clip("") == Clip("", "", 0, False)


def test_a_text_of_many_lines_is_cut_after_the_twentieth():
    made = clip("x\n" * 30)
    assert (made.seen, made.rest, made.is_cut) == ("x\n" * 20, "x\n" * 10, False)


def test_a_long_text_is_cut_where_a_line_ends():
    made = clip("a" * 1000 + "\n" + "b" * 5000, most=3000)
    assert (made.seen, made.is_cut, made.length) == ("a" * 1000 + "\n", True, 6001)
    assert len(made.seen + made.rest) == 3000


def test_a_long_line_is_cut_all_the_same():
    made = clip("a" * 20_000)
    assert (len(made.seen), len(made.rest), made.is_cut) == (1500, 8500, True)


def test_a_last_word_is_not_hidden():
    assert clip("a" * 1600).rest == ""


def test_what_turns_the_text_round_is_spelled_out():
    assert clip("\u202egnp.exe\x1b[2J\ud800").seen == "\\u202egnp.exe\\x1b[2J\\ud800"
    assert told("\u202ea\nb\tc") == "\\u202ea b c"


def test_on_one_line_a_text_is_cut():
    assert told("word " * 100, 9) == "word word…"
    assert told(None) == ""


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(None), "-"),
        (count(12345), "12,345"),
        (moment(None), "-"),
        (moment(1e30), "-"),
        (moment(float("nan")), "-"),
        (moment(0), "1970-01-01 00:00:00"),
        (seconds(None), "-"),
        (seconds(41), "41 ms"),
        (seconds(1410), "1.41 s"),
        (seconds(14200), "14.2 s"),
        (seconds(200_000), "3 min 20 s"),
        (size(812), "812 bytes"),
        (size(3400), "3.4 kB"),
        (size(5_200_000), "5.2 MB"),
    ],
)
def test_numbers_are_told_with_their_units(shown, expected):
    assert shown == expected


def test_a_chat_is_not_called_by_the_list_of_files_in_front_of_its_first_words():
    files = '<attached_files>\n<file type="file" name="a.png"/>\n</attached_files>\n\n'
    shown = [{"type": "text", "text": files}, {"type": "text", "text": "What is it?"}]
    assert title({"role": "user", "content": shown}) == "What is it?"
    assert title({"role": "user", "content": "a <attached_files></attached_files>"}, 3) == "a <…"
    assert title({"role": "user", "content": files}).startswith("<attached_files> <file")
    assert title({"role": "user", "content": None}) == ""
    assert words_of({"role": "user", "content": shown}) == "What is it?"
