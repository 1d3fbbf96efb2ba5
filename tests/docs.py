"""What of the documents is generated from the code: `./dev docs` writes it, `test_readme.py` checks it."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.settings import table, template

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEMPLATE = ROOT / "config" / "sidecar.toml"
_TABLE = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- /settings -->)", re.DOTALL)


def readme(text: str) -> str:
    """The README with the table of settings as they are declared now."""
    return _TABLE.sub(lambda found: f"{found[1]}{table().strip()}\n{found[2]}", text)


if __name__ == "__main__":
    README.write_text(readme(README.read_text("utf-8")), "utf-8")
    TEMPLATE.write_text(template(), "utf-8")
