"""Hostile shapes of requests: each costs what its bytes cost."""

from __future__ import annotations

import pytest

from tests.guard.growth import assert_linear


def test_what_is_linear_passes():
    assert_linear(lambda n: bytes(n), lambda data: data.count(b"x"), 20_000, least=0.005)


def test_what_compares_everything_with_everything_is_told():
    def compare(items: list[int]) -> None:
        for _ in items:
            sum(items)

    with pytest.raises(AssertionError, match="twice the input cost"):
        assert_linear(lambda n: [0] * n, compare, 400, least=0.001)
