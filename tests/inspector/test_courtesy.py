"""Who makes pages gives way to the streams, for as long as pages are made."""

from __future__ import annotations

import sys

import pytest

from sidecar.inspector.courtesy import Courtesy
from tests.inspector.conftest import Visitor


def test_threads_change_often_while_pages_are_made_and_as_before_behind_the_last():
    usual, courtesy = sys.getswitchinterval(), Courtesy()
    with courtesy.shown():
        with pytest.raises(ValueError, match="no page"), courtesy.shown():
            raise ValueError("no page")
        assert sys.getswitchinterval() == pytest.approx(0.00005)
    assert sys.getswitchinterval() == pytest.approx(usual)


async def test_behind_a_page_it_is_as_before(visitor: Visitor):
    usual = sys.getswitchinterval()
    assert (await visitor.get()).status == 200
    assert (await visitor.get("c/conv_x/")).status == 404
    assert sys.getswitchinterval() == pytest.approx(usual)
