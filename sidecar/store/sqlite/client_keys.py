"""Keys of clients, in SQLite's table."""

from __future__ import annotations

import sqlite3
from functools import partial

from sidecar.store.base import Store
from sidecar.store.client_keys import KeyRow
from sidecar.store.sqlite.worker import Worker

__all__ = ["KeepingClientKeys"]

_FIND = "SELECT id, version, data, used FROM client_key WHERE id = ?"
_IDS = "SELECT id FROM client_key ORDER BY id"
_PUT = """
    INSERT INTO client_key (id, version, data, used) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, data = excluded.data,
        used = nullif(max(coalesce(used, -1), coalesce(excluded.used, -1)), -1)
    WHERE client_key.version < excluded.version"""
_HOLDS = "SELECT 1 FROM client_key WHERE id = ? AND version = ? AND data = ?"
_USE = "UPDATE client_key SET used = ? WHERE id = ? AND coalesce(used, -1) < ?"


class KeepingClientKeys(Store):
    """The part of `SQLiteStore` that keeps them."""

    _reader: Worker
    _writer: Worker

    async def client_key(self, id: str) -> KeyRow | None:
        row = await self._reader.do(lambda reader: reader.execute(_FIND, (id,)).fetchone())
        return KeyRow(*row) if row else None

    async def client_key_ids(self) -> list[str]:
        return [id for (id,) in await self._reader.do(lambda reader: reader.execute(_IDS).fetchall())]

    async def put_client_key(self, row: KeyRow) -> bool:
        return await self._writer.do(partial(_put, row))

    async def use_client_key(self, id: str, day: int) -> None:
        await self._writer.do(lambda writer: writer.execute(_USE, (day, id, day)))


def _put(row: KeyRow, connection: sqlite3.Connection) -> bool:
    connection.execute(_PUT, row)
    return connection.execute(_HOLDS, row[:3]).fetchone() is not None
