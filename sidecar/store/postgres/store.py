"""The store in PostgreSQL, for several sidecars at once.

What `record` has returned for is committed, and as durable as the server makes its commits: with
`synchronous_commit` off it says so at the start. Whatever it is asked, it may be asked twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.records import ConversationUpdate, Found, Summary, Thread
from sidecar.conversation.tree import Node
from sidecar.errors import StoreUnavailable
from sidecar.store.base import MAX_LEARNED
from sidecar.store.encrypted.cipher import refuse_encrypted
from sidecar.store.exchanges import LAST_EXCHANGE, exchange_from_row
from sidecar.store.postgres import statements as sql
from sidecar.store.postgres.database import Connection, Database
from sidecar.store.postgres.lease import Lease, Leases, held
from sidecar.store.postgres.maintenance import Maintenance, add_parts
from sidecar.store.postgres.rows import (
    CONVERSATION,
    NO_EXCHANGE,
    NO_THREAD,
    Parts,
    arrays_of,
    conversation_of,
    exchange_row,
    keys_of,
    nodes_of,
    number_of,
    text,
    thread_row,
    tree_of,
    without_parts,
)
from sidecar.store.postgres.schema import migrate
from sidecar.store.threads import thread_of
from sidecar.store.url import Address

__all__ = ["PostgresStore"]

log = logging.getLogger("sidecar.store")

_LONG = 1 << 20  # bytes of messages
_HASH, _IS_TIP, _NODE = len(CONVERSATION), len(CONVERSATION) + 1, len(CONVERSATION) + 2
_SAVE_LEARNED = """
    INSERT INTO learned (name, value, number) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, number = excluded.number"""
_DROP_OLDEST_LEARNED = """
    DELETE FROM learned
    WHERE number <= (SELECT number FROM learned ORDER BY number DESC LIMIT 1 OFFSET $1)"""
_LOAD_LEARNED = "SELECT name, value FROM learned ORDER BY number"


class PostgresStore(Maintenance):
    """A store in the database at `address`; missing tables are created. `upgrades`: an older schema too is
    brought to the newest, not refused."""

    def __init__(self, address: Address, *, secret: str = "", upgrades: bool = False) -> None:
        super().__init__()
        self._upgrades = upgrades
        self.secret = secret.encode()
        self._database = Database(address)
        self._leases = Leases(self._database)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._newest = 0

    async def open(self) -> None:
        await self._database.open(self._prepare)

    async def close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._database.close()

    async def probe(self) -> None:
        await self._database.run(lambda connection: connection.execute(sql.PROBE), patient=False)

    def cross_process_lock(self, name: str, wait: float) -> AbstractAsyncContextManager[bool]:
        return self._leases.hold(name, wait)

    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        rows = await self._fetch(sql.FIND, [number_of(each) for each in ids], tenant, list(hashes))
        if not rows:
            return Found()
        conversation, hash = conversation_of(rows[0]), rows[0][_HASH]
        if hash is None:
            return Found(conversation)
        return Found(conversation, {hash: await nodes_of(rows, _NODE)}, rows[-1][_IS_TIP])

    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        rows = await self._fetch(sql.FIND_BY_HISTORY, tenant, list(hashes))
        return rows[0][0] if rows else None

    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        return dict(await self._fetch(sql.CANDIDATES, tenant, [*hashes, *digests]))

    async def path(self, conversation: str, node: bytes) -> list[Node]:
        return await nodes_of(await self._fetch(sql.PATH, number_of(conversation), node))

    async def tree(self, conversation: str) -> list[Node]:
        return await tree_of(await self._fetch(sql.TREE, number_of(conversation)))

    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        rows = await self._fetch(sql.SYSTEM, number_of(conversation))
        return (rows[0][0], rows[0][1]) if rows else None

    async def threads(self, conversation: str, limit: int = 64) -> list[Thread]:
        rows = await self._fetch(sql.THREADS, number_of(conversation), limit)
        return [thread_of(conversation, row) for row in rows]

    async def record(self, update: ConversationUpdate) -> None:
        # Recorded all the same where the caller is cancelled.
        if not await self._to_its_end(self._record(update, held.get())):
            raise StoreUnavailable(
                "the append lease was lost: another replica has taken it over, since this one could not"
                " renew it in time; send the message again"
            )
        if self.new is not None:
            self.recorded(update.conversation.id)

    async def _record(self, update: ConversationUpdate, lease: Lease | None) -> bool:
        nodes, parts = await self._apart(update.nodes)
        update = replace(update, nodes=tuple(nodes))

        async def record(connection: Connection) -> bool:
            if not parts.named:
                return await rows(connection)
            async with connection.transaction(isolation="read_committed"):
                is_done = await rows(connection)
                if is_done:
                    await add_parts(connection, number_of(update.conversation.id), parts)
                return is_done

        async def rows(connection: Connection) -> bool:
            if lease is not None and not lease.is_over:
                query, values = recording(update, lease)
                if await connection.fetchval(query, *values):
                    return True
                if not lease.is_over:
                    return False
            # Work that outlives its request holds no lease.
            query, values = recording(update, None)
            return bool(await connection.fetchval(query, *values))

        return await self._database.run(record)

    async def _apart(self, nodes: Sequence[Node]) -> tuple[Sequence[Node], Parts]:
        """These messages as they are kept, and their large parts; of long ones in a thread."""
        if not self.shares_parts:
            return nodes, Parts({}, [])
        if sum([len(each.body) for each in nodes]) > _LONG:
            return await asyncio.to_thread(without_parts, nodes)
        return without_parts(nodes)

    async def exchanges(
        self, tenant: bytes, conversation: str, *, limit: int = 100, before: bytes | None = None
    ) -> list[Exchange]:
        values = (number_of(conversation), tenant, before or LAST_EXCHANGE, limit)
        return [exchange_from_row(conversation, row) for row in await self._fetch(sql.EXCHANGES, *values)]

    async def exchange(self, tenant: bytes, conversation: str, id: bytes) -> Exchange | None:
        rows = await self._fetch(sql.ONE_EXCHANGE, number_of(conversation), tenant, id)
        return exchange_from_row(conversation, rows[0]) if rows else None

    async def find_summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        rows = await self._fetch(sql.SUMMARY, number_of(conversation), list(hashes))
        return Summary(*rows[0]) if rows else None

    async def add_summary(self, conversation: str, summary: Summary) -> None:
        values = (summary.hash, text(summary.text), text(summary.model), summary.created_at)
        await self._execute(sql.ADD_SUMMARY, number_of(conversation), *values)

    async def save_learned(self, name: str, value: bytes) -> None:
        # By this process's clock, and at the call: statements on several connections overtake each other.
        self._newest = number = max(self._newest + 1, time.time_ns() // 1000)

        async def remember(connection: Connection) -> None:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(_SAVE_LEARNED, text(name), value, number)
                await connection.execute(_DROP_OLDEST_LEARNED, MAX_LEARNED)

        await self._database.run(remember)

    async def load_learned(self) -> dict[str, bytes]:
        return dict(await self._fetch(_LOAD_LEARNED))

    async def _prepare(self, connection: Connection) -> None:
        name = f"the store {self._database.address.shown}"
        check = self.check_secret or partial(refuse_encrypted, name=name)
        kept, self.shares_parts = await migrate(connection, name, check, upgrades=self._upgrades)
        self.secret = self.secret or kept
        if await connection.fetchval("SHOW synchronous_commit") == "off":
            log.warning(
                "the database does not wait for the disk (synchronous_commit = off): the last replies are"
                " lost with it",
                extra={"store": self._database.address.shown},
            )

    async def _fetch(self, query: str, *values: object) -> Any:
        return await self._database.run(lambda connection: connection.fetch(query, *values))

    async def _to_its_end(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; that nobody does is no news


def recording(update: ConversationUpdate, lease: Lease | None) -> tuple[str, list[Any]]:
    """The statement that records this update, as long as the lease is held, and its values."""
    each, echoes = update.conversation, dict(update.echoes)
    values: list[Any] = [number_of(each.id), each.updated_at, each.tip, each.full, each.system, each.weights]
    is_known_by = each.key is None
    keys = keys_of(
        update.nodes if is_known_by else (), echoes if is_known_by or update.is_found_by_echo else ()
    )
    values += [*arrays_of(update.nodes), keys, list(echoes), list(echoes.values())]
    values += [update.system, *((lease.conversation, lease.holder, lease.seconds) if lease else (None,) * 3)]
    values += exchange_row(update.exchange) if update.exchange is not None else NO_EXCHANGE
    values += thread_row(update.thread) if update.thread is not None else NO_THREAD
    if update.after is not None:
        statement = sql.RECORD_NAMED if update.is_found_by_echo else sql.RECORD_UNDER
        return statement, [*values, update.after, text(each.key)]
    return sql.RECORD_BEGINNING, [*values, each.id, each.tenant, text(each.key), each.created_at]
