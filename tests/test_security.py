"""The promises of SECURITY.md are kept by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_promise_names_tests_that_are_there():
    promises = [
        line
        for line in (ROOT / "SECURITY.md").read_text("utf-8").split("| promise |")[1].splitlines()
        if line.startswith("| ") and "`" in line
    ]
    named = [re.findall(r"`(tests/[\w/]+\.py)`", line) for line in promises]

    assert len(promises) >= 15
    assert [line for line, files in zip(promises, named, strict=True) if not files] == []
    assert [file for files in named for file in files if not (ROOT / file).is_file()] == []


def test_settings_that_it_names_exist():
    settings = (ROOT / "config" / "sidecar.toml").read_text("utf-8")
    named = re.findall(r"`(\w+)\.(\w+)`", (ROOT / "SECURITY.md").read_text("utf-8"))

    missing = [f"{section}.{name}" for section, name in named if not declared(settings, section, name)]
    assert set(missing) == {"webui.db"}


def declared(settings: str, section: str, name: str) -> bool:
    part = settings.partition(f"[{section}]")[2].split("\n[")[0]
    return re.search(rf"^#? ?{name} = ", part, re.MULTILINE) is not None
