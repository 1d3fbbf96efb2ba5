"""`sidecar backup`, and how long work says how far it has come."""

from __future__ import annotations

import io

import pytest

from sidecar.commands import progress
from sidecar.commands.progress import Progress
from tests.commands.conftest import talk


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_copy_is_a_store_like_the_first(run, file, tmp_path):
    talk(file, ("a", "hi", {}), ("b", "hi", {}))
    copy = tmp_path / "copy.db"

    assert run("backup", str(copy)) == (0, "", f"sidecar: the store was copied to {copy}\n")
    assert run("export", store=copy) == run("export")
    assert run("verify", store=copy)[0] == 0
    talk(copy, ("a", "and?", {}))
    assert run("conversations", "list", store=copy)[1].count("\n") == 3


def test_a_file_that_is_there_stays_as_it_is(run, file, tmp_path):
    talk(file, ("a", "hi", {}))
    (tmp_path / "diary").write_text("dear")
    code, _, err = run("backup", str(tmp_path / "diary"))

    assert code == 1
    assert "already exists" in err
    assert (tmp_path / "diary").read_text() == "dear"


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "_TERMINAL_INTERVAL", 0.0)
    monkeypatch.setattr(progress, "_LOG_INTERVAL", 0.0)


def test_on_a_terminal_one_line_is_written_over_and_over(at_once):
    out = Terminal()
    with Progress("copied", 2, out) as shown:
        shown.step()
        shown.share(0.5)

    assert out.getvalue() == "\r\x1b[Ksidecar: copied: 1 of 2\r\x1b[Ksidecar: copied: 50%\r\x1b[K"


def test_elsewhere_it_is_a_line_each(at_once):
    out = io.StringIO()
    with Progress("copied", out=out) as shown:
        shown.step()
        shown.step(2)

    assert out.getvalue() == "sidecar: copied: 1\nsidecar: copied: 3\n"


def test_what_is_soon_done_says_nothing():
    for out in (io.StringIO(), Terminal()):
        with Progress("copied", 10, out) as shown:
            shown.step(10)

        assert out.getvalue() == ""
