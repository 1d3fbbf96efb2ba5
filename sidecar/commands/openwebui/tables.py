"""A plain table of a foreign SQLite file, each row read by its key.

Rule: nothing in the file is executed. Views, virtual tables and generated columns are ignored, and no query
becomes slow because an index is missing: rows are read by their primary key, never searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from sidecar.errors import SidecarError

__all__ = ["Table"]

#: Asks a query with these values; all rows of the answer.
Ask = Callable[..., list[Any]]
_NAMES_OF_ROWS = ("rowid", "_rowid_", "oid")
_MAX_KEY_LENGTH = 1024  # characters of what rows are looked for by


class Table:
    """`columns`: those that are stored, in lower case."""

    def __init__(self, name: str, columns: frozenset[str], key: Sequence[str], ask: Ask) -> None:
        self.columns = columns
        self._name, self._key, self._ask = name, key, ask
        self._is_it = " AND ".join(f"{each} = ?" for each in key)

    @classmethod
    def of(cls, name: str, ask: Ask) -> Self | None:
        """The table, None if there is none. Raises `SidecarError` for something else of that name."""
        told = ask(f"PRAGMA main.table_list ({name})")
        if not told:
            return None
        _schema, _name, kind, _columns, has_no_rowid, *_ = told[0]
        columns = ask(f"PRAGMA main.table_xinfo ({name})")
        stored = frozenset(str(column[1]).lower() for column in columns if not column[6])
        free = [each for each in _NAMES_OF_ROWS if each not in {str(column[1]).lower() for column in columns}]
        key = free[:1]
        if has_no_rowid:
            parts = sorted((column[5], str(column[1])) for column in columns if column[5])
            key = [_quoted(part) for _at, part in parts]
        if kind != "table" or not key:
            raise SidecarError(f"its {name} is not a plain table: it is not Open WebUI's webui.db")
        return cls(name, stored, key, ask)

    def keys(self, order: str) -> list[tuple[Any, ...]]:
        """The keys of all rows."""
        query = f"SELECT {', '.join(self._key)} FROM main.{self._name} {order}"
        return [tuple(row) for row in self._ask(query)]

    def keys_by(self, column: str) -> dict[str, list[tuple[Any, ...]]]:
        """The same by what stands in a column, where that can be an id."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        query = f"""
            SELECT {column}, {", ".join(self._key)} FROM main.{self._name}
            WHERE typeof({column}) = 'text' AND length({column}) <= {_MAX_KEY_LENGTH}"""
        for value, *key in self._ask(query):
            found.setdefault(value, []).append(tuple(key))
        return found

    def row(self, names: Sequence[str], key: Sequence[Any]) -> Mapping[str, Any] | None:
        """These columns of a row; None if it is gone."""
        query = f"SELECT {', '.join(names)} FROM main.{self._name} WHERE {self._is_it}"
        for row in self._ask(query, key):
            return dict(zip(names, row, strict=True))
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
