"""Estimates without a tokenizer: rather too many than too few, and never by the weight of a picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.tokens import PER_IMAGE, PER_MESSAGE, estimate
from tests.conversation.build import raw, user


def text(words):
    return estimate(words.encode())


def test_estimates_are_a_contract():
    assert (estimate(b""), text("word " * 100), text("語" * 100)) == (4, 129, 109)
    assert (PER_MESSAGE, PER_IMAGE) == (4, 800)


def test_another_script_costs_more_than_latin_of_the_same_length():
    assert text("a" * 100) < text("я" * 100) < text("語" * 100)


def test_bytes_that_are_no_text_cost_something_too():
    assert estimate(b"\xff" * 100) > PER_MESSAGE


@pytest.mark.parametrize("slash", ["/", r"\/"])
def test_a_picture_costs_the_same_whatever_its_size(slash):
    small, large = (
        b'{"url":"data:image%spng;base64,%s"}' % (slash.encode(), b"A" * size) for size in (4, 400_000)
    )
    assert estimate(small) == estimate(large) == PER_IMAGE + text('{"url":""}')


def test_each_picture_costs():
    one = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert estimate(raw(user([one, one]))) - estimate(raw(user([one]))) >= PER_IMAGE


@given(st.text(max_size=50), st.text(max_size=50))
def test_more_text_never_costs_less(one, other):
    assert PER_MESSAGE <= text(one) <= text(one + other)
