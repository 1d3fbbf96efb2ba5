"""The guide to what the sidecar does names at least one test for each rule, and only tests that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests import docs

GUIDE = (docs.ROOT / "config" / "behaviour.md").read_text("utf-8")
_, *RULES = re.split(r"\n- ", GUIDE[GUIDE.index("\n## ") :])
NAMED = re.findall(r"^  - `(.+?)::(.+)`$", GUIDE, re.MULTILINE)
#: A class, or a test with the white space before it. To parse all these files takes half a second.
_DEFINED = re.compile(r"^(?:class (\w+)|( *)(?:async )?def (test_\w+)\()", re.MULTILINE)


def defined_in(file: str) -> Iterator[str]:
    """The names of its tests as pytest has them: that of a function, or `class::method`."""
    group = ""
    for name, indented, test in _DEFINED.findall((docs.ROOT / file).read_text("utf-8")):
        group = name or group
        if test:
            yield f"{group}::{test}" if indented else test


def test_every_rule_names_a_test():
    assert len(RULES) >= 150
    assert [rule for rule in RULES if "\n  - `tests/" not in rule] == []
    assert len(NAMED) == GUIDE.count("\n  - ")


def test_every_test_that_it_names_exists():
    there = {file: set(defined_in(file)) for file in {file for file, _ in NAMED}}
    assert [f"{file}::{name}" for file, name in NAMED if name not in there[file]] == []
