"""What the settings mean, in the places where people look: the guide, the file, the terminal.

Rule: nothing here knows a setting by name; all of it is generated from the declaration.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from sidecar.settings.model import DECLARED, SECTIONS, Setting, Settings
from sidecar.settings.routing import RoutedTarget
from sidecar.settings.values import without_password

_WIDTH = 100
_SHORT = 60

_HEAD = """\
# Settings of the conversation sidecar. Every key is here with its default, commented out: take the "#"
# off those that you change, and a new version's better defaults reach you for the rest.
#
# A flag wins over an environment variable, that over this file, this over the default. The variable of a
# key is SIDECAR_ and the key in capitals, with two underscores after the section: SIDECAR_TRIM__MAX_TURNS.
# Times are seconds, sizes are bytes. Try a file with: sidecar check-config --config FILE
"""


def table() -> str:
    """The settings as a Markdown table: setting, environment variable, default, meaning."""
    rows = ["| setting | environment variable | default | meaning |", "|---|---|---|---|"]
    for setting in DECLARED.values():
        meaning = (setting.field.description or "").replace("|", "\\|")
        rows.append(f"| `{setting.name}` | `{setting.environment}` | {_short(setting)} | {meaning} |")
    return "\n".join(rows) + "\n"


def template() -> str:
    """An annotated TOML file: every key, its meaning, and its default behind a `#`."""
    parts = [_HEAD]
    section = ""
    for setting in DECLARED.values():
        group, _, key = setting.name.rpartition(".")
        if group != section:
            section = group
            parts.append(f"\n{_prose(SECTIONS[group].__doc__ or '')}[{group}]\n")
        parts.append(f"\n{_prose(setting.field.description or '')}{_commented(key, setting.field.default)}")
    return "".join(parts)


def summary(settings: Settings) -> str:
    """What is in force, a line each: where it serves, and what differs from the defaults. No secrets."""
    lines = [
        f"{setting.name} = {shown}"
        for setting, shown, is_default in in_force(settings)
        if not is_default or setting.name in ("upstream", "listen", "store")
    ]
    return "\n".join(lines) + "\n"


def in_force(settings: Settings) -> Iterator[tuple[Setting, str, bool]]:
    """Every setting with its value as it may be shown, and whether that is the default. No secrets."""
    for setting in DECLARED.values():
        value = _value(settings, setting.name)
        is_default = value == setting.field.default
        is_hidden = setting.is_secret and not is_default
        yield setting, _hidden(value) if is_hidden else without_password(_toml(value)), is_default


def _hidden(value: Any) -> str:
    """What of a secret may be shown: of targets, beside whose keys much else stands, what they are."""
    if isinstance(value, tuple) and value and all(isinstance(each, RoutedTarget) for each in value):
        return ", ".join(each.shown for each in value)
    return "(set)"


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _short(setting: Setting) -> str:
    text = _toml(setting.field.default)
    if len(text) > _SHORT and setting.is_list:
        return f"{len(setting.field.default)} of them, see `config/sidecar.toml`"
    return f"`{text}`"


def _prose(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(" ".join(text.split()), _WIDTH))


def _commented(key: str, default: Any) -> str:
    line = f"#{key} = {_toml(default)}"
    if len(line) <= _WIDTH or not isinstance(default, tuple):
        return line + "\n"
    items = "".join(f"#    {_toml(item)},\n" for item in default)
    return f"#{key} = [\n{items}#]\n"


def _toml(value: Any) -> str:
    """`value` as TOML. JSON's strings, numbers, switches and arrays are TOML's too."""
    if value is None:
        return '"none"'
    if isinstance(value, SecretStr):
        return '""'
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return f"[{', '.join(_table(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _table(item: BaseModel) -> str:
    fields = item.model_dump(exclude_unset=True).items()
    return "{" + ", ".join(f"{key} = {_toml(value)}" for key, value in fields) + "}"
