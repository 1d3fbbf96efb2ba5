"""What of the documents is generated from the code: `./dev docs` writes it, `test_readme.py` checks it."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.settings import table, template
from sidecar.settings.session_profiles import profiles_table

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEMPLATE = ROOT / "config" / "sidecar.toml"
_TABLE = re.compile(r"(<!-- (settings|profiles): .*? -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def readme(text: str) -> str:
    """The README with the tables of settings and of session profiles as they are declared now."""
    tables = {"settings": table, "profiles": profiles_table}
    return _TABLE.sub(lambda found: f"{found[1]}{tables[found[2]]().strip()}\n{found[3]}", text)


if __name__ == "__main__":
    README.write_text(readme(README.read_text("utf-8")), "utf-8")
    TEMPLATE.write_text(template(), "utf-8")
