"""Takes a store in a file back from schema 8 to schema 7, for a sidecar of before: nothing of it is lost.

Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then, with the Python in which the
newer sidecar is installed,

    python config/sqlite_schema_7.py sidecar.db

From there `sqlite-schema-6.sql` goes on to schema 6. A newer sidecar brings it to schema 8 again when it
starts. Needs room in the file's folder for all large messages, as they were before they were packed, twice.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from sidecar.store.sqlite.bodies import PACKED, body_of

_AFTER = (
    "SELECT number, body FROM message WHERE number > ? AND substr(body, 1, ?) = ? ORDER BY number LIMIT 1"
)


def main(file: str) -> None:
    if not Path(file).is_file():
        sys.exit(f"{file} is no file")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != 8:
            sys.exit(f"{file} has schema {version}, and only schema 8 can be taken back to 7")
        last = 0
        while row := connection.execute(_AFTER, (last, len(PACKED), PACKED)).fetchone():
            last, stored = row
            connection.execute("UPDATE message SET body = ? WHERE number = ?", (body_of(stored), last))
        connection.execute("PRAGMA user_version = 7")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python config/sqlite_schema_7.py FILE")
    main(sys.argv[1])
