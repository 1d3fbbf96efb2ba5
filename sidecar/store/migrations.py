"""Numbered migrations: `sql/sqlite/NNNN_what.sql`, each applied once, in order, all of them or none.

One transaction: broken off, by a full disk or a kill, the database is what it was, and the next start begins
anew. It takes a few megabytes of memory, and room on the disk, without which it does not begin (`_room`).
None rewrites what was said; `config/sqlite-schema-12.sql` and those that it names go back.

The number of the last one applied is SQLite's `user_version`. An older database is migrated by whoever opens
it to upgrade it, and refused to everybody else (`OlderSchema`). A newer one is refused, since this version
cannot know what its data means, and so is one that another program made.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from sidecar.errors import StoreUnavailable

__all__ = [
    "OlderSchema",
    "migrate",
    "migrations",
    "newest_schema",
    "refuse_older",
    "upgrade_begins",
    "upgrade_ended",
]

log = logging.getLogger("sidecar.store")

_FIRST_WITHOUT_WORK = 7  # from this schema on nothing is done but to make a table
# Bytes, measured from every schema, with chats of 2 to 60 messages, with and without ids.
_BASE = 1 << 18
_LISTED = 85  # for each row that is listed as a tip, or as what a chat without an id is known by
_INDEXED = 100  # for each message, where a first schema's index is made anew
_COUNTED = """
    SELECT (SELECT count(*) FROM message),
        (SELECT count(*) FROM (SELECT DISTINCT conversation, parent FROM message INDEXED BY message_by_parent
            WHERE parent IS NOT NULL)),
        (SELECT count(*) FROM conversation c CROSS JOIN message m ON m.conversation = c.number
            WHERE c."key" IS NULL),
        (SELECT count(*) FROM conversation c CROSS JOIN echo e ON e.conversation = c.number
            WHERE c."key" IS NULL)"""
_LONG = 600_000  # milliseconds; a million messages take some seconds


class OlderSchema(StoreUnavailable):
    """The store of this name has this schema, which only an upgrade may change."""

    def __init__(self, name: str, schema: int, newest: int) -> None:
        super().__init__(
            f"{name} has schema {schema}, and this version needs {newest}. Nothing has been changed:"
            " make a backup, then start `sidecar serve` once or run `sidecar upgrade`, or use the version"
            " that wrote it"
        )
        self.schema, self.newest = schema, newest


def migrations(database: str = "sqlite") -> list[tuple[int, str]]:
    """(number, SQL) of every migration for this kind of database, in order."""
    folder = files("sidecar.store").joinpath("sql", database)
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in found)


def newest_schema(database: str = "sqlite") -> int:
    """The schema that this version needs in this kind of database."""
    return migrations(database)[-1][0]


def refuse_older(name: str, current: int, newest: int) -> None:
    """Raise `OlderSchema` unless the database is new, or of the newest schema."""
    if 0 < current < newest:
        raise OlderSchema(name, current, newest)


def upgrade_begins(current: int, newest: int) -> None:
    """Log it."""
    log.warning("bringing the store to a newer schema", extra={"from": current, "to": newest})


def upgrade_ended(current: int, newest: int, seconds: float) -> None:
    """Log it: whoever waits for a large store wants to know that it is done."""
    about = {"from": current, "to": newest, "seconds": round(seconds, 3)}
    log.warning("the store has the newer schema", extra=about)


def migrate(connection: sqlite3.Connection, name: str, *, upgrades: bool = True) -> None:
    """Bring the database to the newest schema; an older one only if this `upgrades`. `name` is what the
    message of an error calls it.

    Raises `StoreUnavailable` for a database that is newer, another program's, or too large for the disk.
    """
    if not upgrades or not 0 < _version(connection) < migrations()[-1][0]:
        _migrate(connection, name, upgrades=upgrades)
        return
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    (stored,) = connection.execute("PRAGMA temp_store").fetchone()
    # Of two that start at once the second waits for the whole work of the first.
    connection.execute(f"PRAGMA busy_timeout = {_LONG}")
    try:
        with _sorting_beside(connection):
            _migrate(connection, name, upgrades=True)
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


def _migrate(connection: sqlite3.Connection, name: str, *, upgrades: bool) -> None:
    # Freed pages hold hashes and no words, and are overwritten only where that takes no writing of its own.
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    # Locked before the version is read again: of two that start at once, one finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        _apply(connection, name, upgrades=upgrades)


def _file(connection: sqlite3.Connection) -> str:
    file: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return file


def _apply(connection: sqlite3.Connection, name: str, *, upgrades: bool) -> None:
    known, current = migrations(), _version(connection)
    newest = known[-1][0]
    if current > newest:
        raise StoreUnavailable(
            f"{name} has schema {current}, and this version knows schemas up to {newest}: "
            "use the newer sidecar that wrote it, or another `store`"
        )
    if not current and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise StoreUnavailable(f"{name} is a database of another program: set `store` to another file")
    if not upgrades:
        refuse_older(name, current, newest)
    if 0 < current < newest:
        _refuse_full_disk(connection, current, name)
        upgrade_begins(current, newest)
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
    """Bytes that it takes at most: what is new, in the log and in the file, and what is sorted for it.

    By rows, since messages themselves, however large, are not touched.
    """
    if current >= _FIRST_WITHOUT_WORK:
        return 0
    messages, followed, nameless, echoes = connection.execute(_COUNTED).fetchone()
    tips = messages - followed
    # A reply is listed twice, by its path and by itself.
    needed = _BASE + _LISTED * (2 * nameless + echoes + tips)
    return int(needed + _INDEXED * messages if current == 1 else needed)


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
