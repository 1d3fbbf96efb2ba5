"""Numbered migrations: `sql/sqlite/NNNN_what.sql`, each applied once, in order, all of them or none.

One transaction: broken off, by a full disk or a kill, the database is what it was, and the next start begins
anew. None rewrites what was said; `config/sqlite-schema-9.sql` and those that it names go back.

The number of the last one applied is SQLite's `user_version`. An older database is migrated when it is
opened; a newer one is refused, since this version cannot know what its data means, and so is one that
another program made.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from importlib.resources import files

from sidecar.errors import StoreUnavailable

__all__ = ["migrate", "migrations"]

log = logging.getLogger("sidecar.store")

_LONG = 600_000  # milliseconds; a million messages take some seconds


def migrations(database: str = "sqlite") -> list[tuple[int, str]]:
    """(number, SQL) of every migration for this kind of database, in order."""
    folder = files("sidecar.store").joinpath("sql", database)
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in found)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring the database to the newest schema. `name` is what the message of an error calls it."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    if 0 < _version(connection) < migrations()[-1][0]:
        # Of two that start at once the second waits for the whole work of the first.
        connection.execute(f"PRAGMA busy_timeout = {_LONG}")
    # Freed pages hold hashes and no words, and are overwritten only where that takes no writing of its own.
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    # Locked before the version is read again: of two that start at once, one finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        _apply(connection, name)
    connection.execute(f"PRAGMA busy_timeout = {before}")


def _apply(connection: sqlite3.Connection, name: str) -> None:
    known, current = migrations(), _version(connection)
    newest = known[-1][0]
    if current > newest:
        raise StoreUnavailable(
            f"{name} has schema {current}, and this version knows schemas up to {newest}: "
            "use the newer sidecar that wrote it, or another `store`"
        )
    if not current and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise StoreUnavailable(f"{name} is a database of another program: set `store` to another file")
    if 0 < current < newest:
        log.warning("bringing the store to a newer schema", extra={"from": current, "to": newest})
    for number, sql in known:
        if number > current:
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(sql: str) -> Iterator[str]:
    """One by one, since `executescript` would commit what has been done so far."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():  # the last one may lack its semicolon
        yield statement
