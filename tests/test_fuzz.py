"""`./dev fuzz` does something, and reports what it finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz import guided, refusals, replies
from tests.proxy.process import clean_environment


def test_it_can_be_started():
    command = [sys.executable, "-m", "tests.fuzz", "--help"]
    folder, env = Path(__file__).parents[1], clean_environment()
    told = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert "--seed" in told.stdout


def test_a_reply_that_is_read_wrongly_is_reported_as_small_as_it_gets():
    def wrong(data: bytes) -> None:
        assert len(data) < 40

    found = replies.run(0, 1, wrong)
    (fault,) = found.faults
    assert found.tried > 1
    assert "data=b" in fault
    assert len(fault) < 400


def test_a_reply_that_was_made_of_a_real_one_is_reported_with_its_seed():
    def wrong(data: bytes) -> None:
        assert b"error" not in data

    (fault,) = guided.run(60, 1, check=wrong).faults
    assert "--seed 1" in fault


def test_code_that_nothing_has_reached_is_seen():
    coverage = guided.Coverage()
    plain, error = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"event: error\ndata: {}\n\n"
    assert [coverage.is_new(each) for each in (plain, plain, plain + error)] == [True, False, True]


def test_replies_and_refusals_are_read_as_they_are_meant():
    assert guided.run(0, 1, most=100).faults == []
    assert refusals.run(0, 1, most=40).faults == []
