"""A store with as many conversations as wanted, written straight into its file: a million in a minute.

They are of strangers: two messages each, hashes by chance. What a look-up passes by on its way has to be
there; it need not make sense.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.store import make_store

__all__ = ["fill"]

_PASS = 100_000  # conversations in one transaction

_CONVERSATIONS = """
    WITH RECURSIVE many (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM many WHERE n + 1 < ?)
    INSERT INTO conversation (number, id, tenant, "key", tip, "full", created_at, updated_at)
    SELECT n, 'conv_' || lower(hex(randomblob(16))), randomblob(16), 'chat-of-a-stranger-' || n,
        randomblob(24), n % 2, n, n FROM many"""
_MESSAGES = """
    INSERT INTO message
        (conversation, id, parent, digest, exact, role, body, source, state, model, finish_reason, created_at)
    SELECT number, :id, :parent, randomblob(16), randomblob(16), :role,
        CAST(json_object('role', :role, 'content', 'said by ' || id) AS BLOB),
        :source, 'complete', :model, :finish, created_at
    FROM conversation WHERE number >= :first AND number < :end"""


async def fill(file: Path, conversations: int) -> None:
    """Add so many to a new or empty store."""
    store = make_store(str(file))
    await store.open()
    await store.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = -200000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        # Sorted once at the end, an index costs a tenth of what it costs row by row.
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL"
        )
        kept = [(name, sql) for name, sql in indexes]
        for name, _sql in kept:
            connection.execute(f"DROP INDEX {name}")
        for first in range(1, conversations + 1, _PASS):
            _add(connection, first, min(first + _PASS, conversations + 1))
        for _name, sql in kept:
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()


def _add(connection: sqlite3.Connection, first: int, end: int) -> None:
    where = {"first": first, "end": end}
    connection.execute("BEGIN")
    connection.execute(_CONVERSATIONS, (first, end))
    asked = "CAST(substr(tip, 9) || substr(tip, 1, 8) AS BLOB)"
    for id, parent, about in (
        (asked, "NULL", ("user", "client", None, None)),
        ("tip", asked, ("assistant", "upstream", "m", "stop")),
    ):
        sql = _MESSAGES.replace(":id", id).replace(":parent", parent)
        connection.execute(sql, where | dict(zip(("role", "source", "model", "finish"), about, strict=True)))
    connection.execute("COMMIT")
