"""Numbered migrations: `sql/sqlite/NNNN_what.sql`, each applied once, in order, all of them or none.

One transaction: broken off, by a full disk or a kill, the database is what it was, and the next start begins
anew. It takes a few megabytes of memory, and room on the disk, without which it does not begin (`_room`).
None rewrites what was said; `config/sqlite-schema-12.sql` and those that it names go back.

The number of the last one applied is SQLite's `user_version`. An older database is migrated when it is
opened; a newer one is refused, since this version cannot know what its data means, and so is one that
another program made.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from sidecar.errors import StoreUnavailable

__all__ = ["migrate", "migrations"]

log = logging.getLogger("sidecar.store")

_FIRST_WITHOUT_WORK = 7  # from this schema on nothing is done but to make a table
_LONG = 600_000  # milliseconds; a million messages take some seconds


def migrations(database: str = "sqlite") -> list[tuple[int, str]]:
    """(number, SQL) of every migration for this kind of database, in order."""
    folder = files("sidecar.store").joinpath("sql", database)
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in found)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring the database to the newest schema. `name` is what the message of an error calls it.

    Raises `StoreUnavailable` for a database that is newer, another program's, or too large for the disk.
    """
    if not 0 < _version(connection) < migrations()[-1][0]:
        _migrate(connection, name)
        return
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    (stored,) = connection.execute("PRAGMA temp_store").fetchone()
    # Of two that start at once the second waits for the whole work of the first.
    connection.execute(f"PRAGMA busy_timeout = {_LONG}")
    try:
        with _sorting_beside(connection):
            _migrate(connection, name)
    finally:
        connection.execute(f"PRAGMA temp_store = {stored}")
        connection.execute(f"PRAGMA busy_timeout = {before}")


@contextmanager
def _sorting_beside(connection: sqlite3.Connection) -> Iterator[None]:
    """What is sorted for an index goes into a file beside the database: in memory it would take a hundred
    bytes for each message, and nowhere else can a file surely be made."""
    folder = os.path.dirname(_file(connection))
    connection.execute("PRAGMA temp_store = FILE")
    connection.execute("PRAGMA temp_store_directory = '{}'".format(folder.replace("'", "''")))
    try:
        yield
    finally:
        connection.execute("PRAGMA temp_store_directory = ''")


def _migrate(connection: sqlite3.Connection, name: str) -> None:
    # Freed pages hold hashes and no words, and are overwritten only where that takes no writing of its own.
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    # Locked before the version is read again: of two that start at once, one finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        _apply(connection, name)


def _file(connection: sqlite3.Connection) -> str:
    file: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return file


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
        _refuse_full_disk(connection, current, name)
        log.warning("bringing the store to a newer schema", extra={"from": current, "to": newest})
    for number, sql in known:
        if number > current:
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _refuse_full_disk(connection: sqlite3.Connection, current: int, name: str) -> None:
    """Raise `StoreUnavailable` if the folder has not the room that it takes to get from this schema on."""
    folder, needed = os.path.dirname(_file(connection)), _room(connection, current)
    place = os.statvfs(folder)
    free = place.f_bavail * place.f_frsize
    if place.f_blocks and free < needed:  # not every file system tells
        raise StoreUnavailable(
            f"{name} has schema {current}: to bring it to a newer one takes up to {_mb(needed)} MB of room in"
            f" {folder} for a while, and {_mb(free)} MB are free. Nothing has been changed: make room there,"
            " or put the store on a larger disk"
        )


def _room(connection: sqlite3.Connection, current: int) -> int:
    """Bytes that it takes at most, in the log and for sorting, as measured with messages of 200 bytes."""
    if current >= _FIRST_WITHOUT_WORK:
        return 0
    size: int = connection.execute("PRAGMA page_count").fetchone()[0]
    size *= connection.execute("PRAGMA page_size").fetchone()[0]
    if current == 1:
        return size // 2
    is_known_by = connection.execute('SELECT 1 FROM conversation WHERE "key" IS NULL LIMIT 1').fetchone()
    return size // 3 if is_known_by else size // 20


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


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
