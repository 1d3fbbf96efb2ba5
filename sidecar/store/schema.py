"""Numbered migrations: `sql/NNNN_what.sql`, each applied once, in order, in a transaction of its own.

The number of the last one applied is SQLite's `user_version`. An older database is migrated when it is
opened; a newer one is refused, since this version cannot know what its data means.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from sidecar.errors import StoreUnavailable

__all__ = ["migrate", "migrations"]


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    found = [
        entry for entry in files("sidecar.store").joinpath("sql").iterdir() if entry.name.endswith(".sql")
    ]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in found)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring the database to the newest schema. `name` is what the message of an error calls it."""
    known = migrations()
    current = connection.execute("PRAGMA user_version").fetchone()[0]
    newest = known[-1][0]
    if current > newest:
        raise StoreUnavailable(
            f"{name} has schema {current}, and this version knows schemas up to {newest}: "
            "use the newer sidecar that wrote it, or another `store`"
        )
    for number, sql in known:
        if number > current:
            connection.executescript(f"BEGIN IMMEDIATE; {sql} PRAGMA user_version = {number}; COMMIT;")
