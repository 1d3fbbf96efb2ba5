"""Takes a store in a file back from schema 9 to schema 8, for a sidecar of before: nothing of it is lost.

Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then, with the Python in which the
newer sidecar is installed,

    python config/sqlite_schema_8.py sidecar.db

From a newer schema `sqlite-schema-12.sql` and those down to `sqlite-schema-9.sql` go first; from here
`sqlite_schema_7.py` goes on to schema 7. A newer sidecar brings it to its own schema again when it starts.
Needs room in the folder for all large parts of messages, such as images, as often as they were sent, twice.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from sidecar.store.parts import WITHOUT_PARTS
from sidecar.store.sqlite.bodies import stored_body
from sidecar.store.sqlite.parts import read_body

_AFTER = """
    SELECT number, conversation, body FROM message WHERE number > ? AND substr(body, 1, ?) = ?
    ORDER BY number LIMIT 1"""


def main(file: str) -> None:
    if not Path(file).is_file():
        sys.exit(f"{file} is no file")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != 9:
            sys.exit(f"{file} has schema {version}, and only schema 9 can be taken back to 8")
        last = 0
        while row := connection.execute(_AFTER, (last, len(WITHOUT_PARTS), WITHOUT_PARTS)).fetchone():
            last, conversation, stored = row
            body = stored_body(read_body(connection, conversation, stored))
            connection.execute("UPDATE message SET body = ? WHERE number = ?", (body, last))
        connection.execute("DROP TABLE part")
        connection.execute("PRAGMA user_version = 8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python config/sqlite_schema_8.py FILE")
    main(sys.argv[1])
