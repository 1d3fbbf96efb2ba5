"""What others wrote does nothing to a terminal, and JSON says the same as before."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.printable import in_json, printable, short

JOINERS = {"\u200c", "\u200d"}


def harmful(text):
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    # Some signs of scripts count as formats: they are seen, as the Arabic sign of a number is.
    signs = {
        chr(each) for each in (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)
    }
    signs |= {
        chr(each)
        for block in ((0x13430, 0x13440), (0x1BCA0, 0x1BCA4), (0x1D173, 0x1D17B))
        for each in range(*block)
    }
    return [each for each in text if unicodedata.category(each) in kinds and each not in JOINERS | signs]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, سلام, \U0001f468\u200d\U0001f469", "Grüße, سلام, \U0001f468\u200d\U0001f469"),
        ("\x1b]0;owned\x07\x1b[2J", r"\x1b]0;owned\x07\x1b[2J"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\r\nb\tc\u2028d\x85e", r"a\r\nb\tc\u2028d\x85e"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text, shown):
    assert printable(text) == shown


def test_a_text_keeps_its_lines_and_tabs_where_that_is_asked_for():
    assert printable("a\r\nb\n\tc\rd\x0be", lines=True) == "a\nb\n\tc\\rd\\x0be"


def test_a_long_text_is_shortened_before_it_is_spelled_out():
    assert short("x" * 61) == "x" * 60 + "…"
    assert short("\x1b" * 61, 2) == r"\x1b\x1b…"
    assert short("x" * 60) == "x" * 60


@given(st.text())
def test_nothing_harmful_is_left_whatever_the_text(text):
    assert harmful(printable(text)) == []
    assert set(harmful(printable(text, lines=True))) <= {"\n", "\t"}


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
    )
)
def test_json_says_the_same_and_holds_nothing_harmful(value):
    for indent in (None, 2):
        spelled = in_json(json.dumps(value, ensure_ascii=False, indent=indent))

        assert json.loads(spelled) == value
        assert set(harmful(spelled)) <= {"\n"}


@pytest.mark.parametrize("length", [1 << 16, (1 << 16) + 1, 200_000])
def test_a_long_text_is_treated_as_a_short_one_is(length):
    text = ("a\r\n\u202e\ud83d\x1b" * length)[:length]
    assert printable(text) == "".join(map(printable, text))
    assert printable(text, lines=True) == "".join(
        printable(each, lines=True) for each in text.replace("\r\n", "\n")
    )
    assert in_json(text) == "".join(map(in_json, text))
