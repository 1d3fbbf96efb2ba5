"""Migrations of PostgreSQL: `sql/postgres/NNNN_what.sql`, all that are missing in one transaction.

Of two replicas that start together one migrates, and the other waits and finds the work done. A newer schema
is refused, so are tables of another program, and so is an older schema unless it is opened to upgrade it. An
older sidecar may still run against a newer schema until it is replaced, so a migration only adds, and what an
older one could not read is written only into a database that none has opened.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from sidecar.errors import StoreUnavailable
from sidecar.store.migrations import migrations, refuse_older, upgrade_begins, upgrade_ended
from sidecar.store.postgres.database import LONG, Connection

__all__ = ["migrate"]

# Held until the transaction ends; the number means this work, in this database.
_LOCK = "SELECT pg_advisory_xact_lock(7311437)"
_IS_OURS = "SELECT to_regclass(quote_ident(current_schema()) || '.sidecar_schema') IS NOT NULL"
_OTHERS = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    LIMIT 1"""
_SHARES_PARTS = "SELECT coalesce((to_jsonb(s) ->> 'shares_parts')::boolean, false) FROM sidecar_schema s"
_NO_SCHEMA = "{} has no schema to make tables in: CREATE SCHEMA, or name another as `search_path`"


async def migrate(
    connection: Connection, name: str, check: Callable[[bytes], object], *, upgrades: bool
) -> tuple[bytes, bool]:
    """Bring the database to the newest schema, an older one only if this `upgrades`: the secret kept there,
    and whether messages share large parts. `name` is for people; `check` raises for the secret of a store
    that cannot be opened, which then stays as it is."""
    known, begun = migrations("postgres"), time.monotonic()
    newest = known[-1][0]
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_LOCK, timeout=LONG)
        if await connection.fetchval("SELECT current_schema()") is None:
            raise StoreUnavailable(_NO_SCHEMA.format(name))
        current = await _version(connection, name, newest)
        is_older = 0 < current < newest
        if not upgrades:
            refuse_older(name, current, newest)
        if is_older:
            upgrade_begins(current, newest)
        for number, sql in known:
            if number > current:
                await connection.execute(sql, timeout=LONG)
                await connection.execute(f"UPDATE sidecar_schema SET version = {number}")
        found = await _secret(connection), await connection.fetchval(_SHARES_PARTS)
        check(found[0])
    if is_older:
        upgrade_ended(current, newest, time.monotonic() - begun)
    return found


async def _version(connection: Connection, name: str, newest: int) -> int:
    if not await connection.fetchval(_IS_OURS):
        other = await connection.fetchval(_OTHERS)
        if other is not None:
            raise StoreUnavailable(
                f"{name} holds tables of another program ({other}): name an empty database in `store`, or an"
                " empty schema of it as `search_path`"
            )
        await connection.execute("CREATE TABLE sidecar_schema (version integer NOT NULL)")
        await connection.execute("INSERT INTO sidecar_schema VALUES (0)")
    current: int = await connection.fetchval("SELECT version FROM sidecar_schema")
    if current > newest:
        raise StoreUnavailable(
            f"{name} has schema {current}, and this version knows schemas up to {newest}: "
            "use the newer sidecar that wrote it, or another `store`"
        )
    return current


async def _secret(connection: Connection) -> bytes:
    kept: bytes | None = await connection.fetchval("SELECT value FROM secret")
    if kept is None:
        kept = secrets.token_bytes(32)
        await connection.execute("INSERT INTO secret (value) VALUES ($1)", kept)
    return kept
