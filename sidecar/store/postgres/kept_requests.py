"""Requests as their clients sent them, in PostgreSQL's table: each written behind its exchange."""

from __future__ import annotations

from sidecar.store.kept_requests import superfluous
from sidecar.store.postgres.database import LONG, Connection, Database
from sidecar.store.postgres.rows import number_of
from sidecar.store.postgres.search import Searching

__all__ = ["KeepingRequests"]

# Locked, so that a deletion waits and then finds the new row, or has been before it.
_ADD = """
    INSERT INTO kept_request (conversation, born, id, bytes)
    SELECT c.number, c.born, e.id, $3 FROM conversation c
    JOIN exchange e ON e.conversation = c.number AND e.born = c.born AND e.id = $2
    WHERE c.number = $1 FOR KEY SHARE OF c
    ON CONFLICT (conversation, born, id) DO NOTHING RETURNING born"""
_HELD = """
    SELECT id, octet_length(bytes) FROM kept_request WHERE conversation = $1 AND born = $2 ORDER BY id DESC"""
_DELETE = "DELETE FROM kept_request WHERE conversation = $1 AND born = $2 AND id = ANY($3::bytea[])"
_FIND = """
    SELECT k.bytes FROM kept_request k JOIN conversation c ON c.number = k.conversation AND c.born = k.born
    WHERE c.number = $1 AND c.tenant = $2 AND k.id = $3"""
_DROP_SOME = """
    DELETE FROM kept_request k USING (SELECT conversation, born, id FROM kept_request LIMIT 200) old
    WHERE (k.conversation, k.born, k.id) = (old.conversation, old.born, old.id)"""


class KeepingRequests(Searching):
    """The part of `PostgresStore` that keeps them."""

    _database: Database

    async def keep_request(self, conversation: str, exchange: bytes, data: bytes, *, most: int) -> None:
        number = number_of(conversation)

        async def keep(connection: Connection) -> None:
            async with connection.transaction(isolation="read_committed"):
                born = await connection.fetchval(_ADD, number, exchange, data, timeout=LONG)
                if born is None:  # it is there already, or its exchange is not, since that was deleted
                    return
                held = await connection.fetch(_HELD, number, born, timeout=LONG)
                gone = superfluous([(each[0], each[1]) for each in held], most)
                if gone:
                    await connection.execute(_DELETE, number, born, gone, timeout=LONG)

        await self._database.run(keep)

    async def kept_request(self, tenant: bytes, conversation: str, exchange: bytes) -> bytes | None:
        values = (number_of(conversation), tenant, exchange)
        found: bytes | None = await self._database.run(
            lambda connection: connection.fetchval(_FIND, *values, timeout=LONG)
        )
        return found

    async def drop_requests(self) -> None:
        async def drop(connection: Connection) -> str:
            done: str = await connection.execute(_DROP_SOME, timeout=LONG)
            return done

        while await self._database.run(drop) != "DELETE 0":
            pass
