"""Keys of clients, in PostgreSQL's table."""

from __future__ import annotations

from sidecar.store.base import Store
from sidecar.store.client_keys import KeyRow
from sidecar.store.postgres.database import Connection, Database

__all__ = ["KeepingClientKeys"]

_FIND = "SELECT id, version, data, used FROM client_key WHERE id = $1"
_IDS = "SELECT id FROM client_key ORDER BY id"
_PUT = """
    INSERT INTO client_key (id, version, data, used) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, data = excluded.data,
        used = greatest(client_key.used, excluded.used)
    WHERE client_key.version < excluded.version"""
# Asked by itself, since a connection that was lost may have put it, and it is put again.
_HOLDS = "SELECT EXISTS (SELECT FROM client_key WHERE id = $1 AND version = $2 AND data = $3)"
_USE = "UPDATE client_key SET used = $2 WHERE id = $1 AND coalesce(used, -1) < $2"


class KeepingClientKeys(Store):
    """The part of `PostgresStore` that keeps them."""

    _database: Database

    async def client_key(self, id: str) -> KeyRow | None:
        row = await self._database.run(lambda connection: connection.fetchrow(_FIND, id))
        return KeyRow(*row) if row else None

    async def client_key_ids(self) -> list[str]:
        return [row[0] for row in await self._database.run(lambda connection: connection.fetch(_IDS))]

    async def put_client_key(self, row: KeyRow) -> bool:
        async def put(connection: Connection) -> bool:
            await connection.execute(_PUT, *row)
            return bool(await connection.fetchval(_HOLDS, *row[:3]))

        return await self._database.run(put)

    async def use_client_key(self, id: str, day: int) -> None:
        await self._database.run(lambda connection: connection.execute(_USE, id, day))
