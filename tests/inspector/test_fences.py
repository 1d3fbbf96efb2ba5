"""Code is set as code, and nothing of what was said is left out for that."""

from __future__ import annotations

import pytest

from sidecar.inspector.fences import blocks
from sidecar.inspector.shown import Clip


def told(seen, rest=""):
    return [[(each.is_code, each.text) for each in part] for part in blocks(Clip(seen, rest, 0, False))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no code", [(False, "no code")]),
        ("see:\n```py\nx = 1\n```\nyes", [(False, "see:\n"), (True, "```py\nx = 1\n```\n"), (False, "yes")]),
        ("~~~\n```\n~~~\nx", [(True, "~~~\n```\n~~~\n"), (False, "x")]),
        ("````\n```\n````", [(True, "````\n```\n````")]),
        ("```\na\n```\n```\nb\n```", [(True, "```\na\n```\n"), (True, "```\nb\n```")]),
        ("```\nnever closed\n```py", [(True, "```\nnever closed\n```py")]),
        ("```one line```\nx", [(False, "```one line```\nx")]),
        ("    ```\nx", [(False, "    ```\nx")]),
        ("``\nx", [(False, "``\nx")]),
    ],
)
def test_lines_between_fences_are_code(text, expected):
    (found, rest) = told(text)
    assert (found, rest) == (expected, [])
    assert "".join(part for _, part in found) == text


def test_what_is_cut_within_a_fence_goes_on_within_it():
    assert told("```\na\n", "b\n```\nc") == [[(True, "```\na\n")], [(True, "b\n```\n"), (False, "c")]]
