"""By its name it is known of a process whether it is gone."""

from __future__ import annotations

import subprocess
import sys

from sidecar.proxy import runner
from sidecar.proxy.runner import is_gone, name_of_process


def named_elsewhere():
    """The name of a process that has ended."""
    program = "from sidecar.proxy.runner import name_of_process; print(name_of_process())"
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_this_one_is_not_gone_and_has_another_name_each_time():
    one, other = name_of_process(), name_of_process()
    assert one != other
    assert not is_gone(one)
    assert not is_gone(other)


def test_one_that_has_ended_is_gone_also_where_another_has_its_number():
    name = named_elsewhere()
    assert is_gone(name)
    place, number, begun, end = name_of_process().rsplit(" ", 3)
    assert is_gone(f"{place} {number} {int(begun) - 1} {end}")


def test_of_one_elsewhere_nothing_is_known(monkeypatch, tmp_path):
    name = named_elsewhere()
    _place, number, begun, end = name.rsplit(" ", 3)
    for unknown in (f"another-boot pid:[1] {number} {begun} {end}", "", "a b c", f"{_place} x {begun} {end}"):
        assert not is_gone(unknown)
    monkeypatch.setattr(runner, "_PROC", tmp_path)
    assert not is_gone(name)
    assert not is_gone(name_of_process())
