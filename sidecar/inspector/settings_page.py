"""The settings in force, each with its value, where that came from, and what it means. No secret is told."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar.printable import printable
from sidecar.settings import Settings, in_force

__all__ = ["SettingRow", "SettingsPage", "settings_page_of"]


class SettingRow(msgspec.Struct, frozen=True):
    """One setting; `origin`: a flag, a variable of the environment, a file, `default`, or `this start`, where
    it was given in some other way."""

    name: str
    environment: str
    value: str
    origin: str
    meaning: str
    is_default: bool


class SettingsPage(msgspec.Struct, frozen=True):
    """All of them, in the order in which they are declared."""

    rows: tuple[SettingRow, ...]


def settings_page_of(settings: Settings, origins: Mapping[str, str]) -> SettingsPage:
    """The page; `origins`: see `settings.origins`."""
    return SettingsPage(
        tuple(
            SettingRow(
                name=setting.name,
                environment=setting.environment,
                value=printable(value),
                origin=printable(origins.get(setting.name, "default" if is_default else "this start")),
                meaning=setting.field.description or "",
                is_default=is_default,
            )
            for setting, value, is_default in in_force(settings)
        )
    )
