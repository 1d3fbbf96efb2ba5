"""`./dev fuzz` does something, and reports what it finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz import replies


def test_it_can_be_started():
    command = [sys.executable, "-m", "tests.fuzz", "--help"]
    told = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert "--seed" in told.stdout


def test_a_reply_that_is_read_wrongly_is_reported_as_small_as_it_gets():
    def wrong(data: bytes) -> None:
        assert len(data) < 40

    found = replies.run(0, 1, wrong)
    (fault,) = found.faults
    assert found.tried > 1
    assert "data=b" in fault
    assert len(fault) < 400
