"""All settings in one value, and the list of what is declared.

Rule: whoever holds a `Settings` holds one that can work; values and combinations that cannot are refused
when it is made.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from yarl import URL

from sidecar.settings import values
from sidecar.settings.contradictions import contradictions
from sidecar.settings.sections import Declaration
from sidecar.settings.target import TargetOptions


class Settings(Declaration):
    """All settings. `load` makes them from flags, environment and file; tests may construct them."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        found = tuple(contradictions(self))
        if found:
            text = "; ".join(f"{' and '.join(c.settings)}: {c.problem}" for c in found)
            raise PydanticCustomError("contradiction", "{text}", {"text": text, "found": found})
        return self

    @property
    def upstream_base(self) -> URL:
        """The upstream's base URL. Raises ValueError for `demo`, which has one only once it runs."""
        if self.upstream == values.DEMO:
            raise ValueError("the demo upstream has an address only once it runs; see Settings.with_upstream")
        return values.upstream_url(self.upstream)

    @property
    def tasks_base(self) -> URL | None:
        """The base URL of the tasks' own upstream; None where they go to that of the turns."""
        return values.upstream_url(self.tasks.upstream) if self.tasks.upstream else None

    @property
    def summary_base(self) -> URL | None:
        """The base URL of the model that sums up; None where that is the upstream of the turns."""
        base = values.upstream_url(self.summary.upstream) if self.summary.upstream else None
        return None if base == values.upstream_url(self.upstream) else base

    @property
    def listen_host(self) -> str:
        """Host name or address to bind, IPv6 without brackets."""
        return values.listen_address(self.listen)[0]

    @property
    def listen_port(self) -> int:
        """Port to bind; 0 takes any free one."""
        return values.listen_address(self.listen)[1]

    @property
    def address(self) -> str:
        """Where clients on this machine reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen_host, self.listen_host)  # noqa: S104 - a name
        return f"http://[{host}]:{self.listen_port}" if ":" in host else f"http://{host}:{self.listen_port}"

    @property
    def admin_listen(self) -> str:
        """Where the pages for operators are served; where none is named, a free port of loopback alone, for
        the inspector. Empty: nowhere but at `listen`."""
        if self.admin.listen or self.admin.inspector != "auto":
            return self.admin.listen
        return "127.0.0.1:0"

    @property
    def store_path(self) -> str | None:
        """The SQLite file, the URL of a PostgreSQL database, None for the memory."""
        return values.store_path(self.store)

    @property
    def store_shown(self) -> str:
        """The store as it may be shown: without a password."""
        return values.without_password(self.store)

    def with_upstream(self, url: str) -> Settings:
        """These settings with another upstream; for the demo, once it has an address.

        It has no window, and is not asked for one; it is here, so no proxy leads to it.
        """
        trim = self.trim.model_copy(update={"window_refresh": 0.0})
        return self.model_copy(update={"upstream": url, "trim": trim, "target": TargetOptions()})


class Setting(NamedTuple):
    """One declared setting."""

    name: str
    """Dotted: `trim.max_turns`."""
    field: FieldInfo

    @property
    def environment(self) -> str:
        return PREFIX + self.name.upper().replace(".", "__")

    @property
    def is_list(self) -> bool:
        return isinstance(self.field.default, tuple)

    @property
    def is_tables(self) -> bool:
        """A list of tables; in the environment JSON."""
        return self.name in ("trim.models", "targets")

    @property
    def is_secret(self) -> bool:
        return isinstance(self.field.default, SecretStr) or self.is_table or self.name == "targets"

    @property
    def is_table(self) -> bool:
        """A table of names and values, each of which may be a secret; in the environment JSON."""
        return isinstance(self.field.default, dict)


PREFIX = "SIDECAR_"
SECTIONS: dict[str, type[BaseModel]] = {
    name: type(field.default)
    for name, field in Settings.model_fields.items()
    if isinstance(field.default, BaseModel)
}
DECLARED: dict[str, Setting] = {
    **{name: Setting(name, field) for name, field in Settings.model_fields.items() if name not in SECTIONS},
    **{
        f"{section}.{name}": Setting(f"{section}.{name}", field)
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
    },
}
"""Every setting by its dotted name, in the order of the declaration."""
