"""What of the documents is generated from the code: `./dev docs` writes it, a test checks it."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.settings import table, template
from sidecar.settings.session_profiles import profiles_table

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONFIG = ROOT / "config"
GUIDES = CONFIG / "guides"
OPENWEBUI = GUIDES / "openwebui.md"
TEMPLATE = CONFIG / "sidecar.toml"
#: Where tables stand that are generated.
GENERATED = (GUIDES / "settings.md", GUIDES / "backends.md")
#: Everything that people read about the sidecar, and that has to be true.
DOCUMENTS = (
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted(GUIDES.glob("*.md")),
)
_TABLES = {"settings": table, "profiles": profiles_table}
_TABLE = re.compile(r"(<!-- (settings|profiles): .*? -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def generated(text: str) -> str:
    """The document with the tables of settings and of session profiles as they are declared now."""
    return _TABLE.sub(lambda found: f"{found[1]}{_TABLES[found[2]]().strip()}\n{found[3]}", text)


def is_generated(text: str) -> list[str]:
    """The names of the tables in it."""
    return [found[2] for found in _TABLE.finditer(text)]


if __name__ == "__main__":
    for document in GENERATED:
        document.write_text(generated(document.read_text("utf-8")), "utf-8")
    TEMPLATE.write_text(template(), "utf-8")
