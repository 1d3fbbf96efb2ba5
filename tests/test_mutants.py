"""`./dev mutants` changes what it says, runs the tests of that line, and tells what they saw."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.__main__ import drawn
from tests.mutants.changes import mutants_of
from tests.mutants.covering import ROOT, Copy
from tests.mutants.trial import tried

COUNT = b'''"""Counts."""

LEAST = 1


def many(things: list[str], least: int | None = None) -> bool:
    """Are there more than so many?"""
    assert things is not None
    return len(things) > (least or LEAST)


def first(things: list[str]) -> str:
    return things[0] if things else "none"
'''
TEST = """
from sidecar.prompt.count import first, many


def test_two_are_many():
    assert many(["a", "b"])
    assert not many(["a"])


def test_the_first_is_told():
    assert first(["a", "b"]) == "a"
"""


def changes(source: bytes) -> list[str]:
    return [str(each).partition("  ")[2] for each in mutants_of("count.py", source)]


def test_each_place_that_can_be_wrong_is_changed_and_nothing_that_only_tells():
    assert changes(COUNT) == [
        "1  ->  2",
        "return len(things) > (least or LEAST)  ->  return None",
        "(len(things) > (least or LEAST))  ->  ((len(things)) >= (least or LEAST))",
        "(least or LEAST)  ->  (least and LEAST)",
        "return things[0] if things else 'none'  ->  return None",
        "(things[0] if things else 'none')  ->  (things[0] if not things else 'none')",
        "0  ->  1",
        "'none'  ->  'noneXX'",
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"def f(a):\n    a.b(c=1)\n", ["(a.b(c=1))  ->  (a.b())", "a.b(c=1)  ->  pass", "1  ->  2"]),
        (b"for a in b:\n    break\n", ["break  ->  continue"]),
        (
            b"while a in b:\n    a += 1\n",
            ["(a in b)  ->  ((a) not in (b))", "a += 1  ->  a -= 1", "1  ->  2"],
        ),
        (b"a = [b for b in c if b]\n", ["([b for b in c if b])  ->  ([b for b in c if not b])"]),
        (b"a = b[1:]\n", ["(b[1:])  ->  (b[:])", "1  ->  2"]),
        (b"match a:\n    case 1 if b:\n        pass\n", ["1  ->  2"]),
        (b"a = not b\n", ["(not b)  ->  (b)"]),
        (b"A = B | None\nT = TypeVar('T')\n@d(1)\ndef f() -> 'x': ...\n", []),
    ],
)
def test_statements_of_each_kind_are_changed(source, found):
    assert changes(source) == found


def test_what_is_drawn_is_python_and_the_same_with_the_same_seed():
    some = drawn(30, 7, packages=["exchange"])
    assert some == drawn(30, 7, packages=["exchange"])
    for each in some:
        compile(each.applied((ROOT / each.file).read_bytes()), each.file, "exec")


@pytest.fixture
def copy(tmp_path: Path):
    """A project of one module, whose tests leave two faults unseen."""
    for package in ("conversation", "prompt", "dialects", "exchange"):
        (tmp_path / "sidecar" / package).mkdir(parents=True)
        (tmp_path / "tests" / package).mkdir(parents=True)
    (tmp_path / "sidecar" / "__init__.py").touch()
    shutil.copytree(ROOT / "tests" / "mutants", tmp_path / "tests" / "mutants")
    (tmp_path / "sidecar" / "prompt" / "count.py").write_bytes(COUNT)
    (tmp_path / "tests" / "prompt" / "test_count.py").write_text(TEST)
    return Copy(tmp_path)


def test_a_fault_that_no_test_sees_survives_and_every_other_is_killed_by_a_test_of_its_line(copy):
    covering = copy.map(0)
    faults = mutants_of("sidecar/prompt/count.py", COUNT)
    some = [faults[0], faults[-1]]
    verdicts = [tried(each, copy, covering) for each in some]
    two, first = (
        f"tests/prompt/test_count.py::test_{name}" for name in ("two_are_many", "the_first_is_told")
    )
    assert [(each.killed, each.tests) for each in verdicts] == [(two, 1), ("", 1)]
    assert covering.tests_of(faults[-1]) == [first]
    assert (copy.folder / "sidecar" / "prompt" / "count.py").read_bytes() == COUNT
