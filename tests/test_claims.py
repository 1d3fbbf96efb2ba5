"""Whatever the README claims, something shows: the table in `config/guides/development.md` says what."""

from __future__ import annotations

import re

from tests import docs
from tests.bench.__main__ import _MEASURES
from tests.test_behaviour_guide import defined_in

README = docs.README.read_text("utf-8")
GUIDE = (docs.GUIDES / "development.md").read_text("utf-8")
_TABLE = GUIDE[GUIDE.index("| the README says | shown by |") :]
CLAIMS = dict(re.findall(r"^\| (.+?) \| (`[^|]+`) \|$", _TABLE, re.MULTILINE))
#: Where each bullet, or each row of a table, claims something.
_LISTS = ("What it cures", "## What it does not do", "## Other clients", "## Figures")


def unwrapped(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("**", ""))


def items(heading: str) -> list[str]:
    """The bullets and rows between these words and the next heading."""
    after = README[README.index(heading) + len(heading) :]
    part = after[: after.index("\n## ")]
    rows = re.findall(r"^\| .*", part, re.MULTILINE)
    bullets = re.findall(r"^- (?:.|\n(?!\n|- ))*", part, re.MULTILINE)
    return [unwrapped(each) for each in (*bullets, *rows[1:])]


def test_every_claim_is_in_the_readme():
    text = unwrapped(README)
    assert len(CLAIMS) == _TABLE.count("\n|") - 1
    assert [claim for claim in CLAIMS if claim not in text] == []


def test_every_item_of_its_lists_and_tables_is_shown_by_something():
    listed = [item for heading in _LISTS for item in items(heading)]
    assert len(listed) >= 20
    assert [item for item in listed if not any(claim in item for claim in CLAIMS)] == []


def test_whatever_shows_it_exists():
    shown = {each for by in CLAIMS.values() for each in re.findall(r"`(.+?)`", by)}
    assert sorted(each for each in shown if not exists(each)) == []


def exists(shown: str) -> bool:
    if shown.startswith("./dev bench "):
        return shown.removeprefix("./dev bench ") in _MEASURES
    file, _, test = shown.partition("::")
    return (docs.ROOT / file).exists() and (not test or test in defined_in(file))
