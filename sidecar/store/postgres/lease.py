"""Leases: which of the replicas that share a database may append to a conversation.

A row says which replica holds the lease, and until when by the database's clock. It is renewed while the
request runs; that of a replica that died, or hangs, expires. What a request records under a lease that it
has lost is refused in the very statement that would record it, so the next append never continues a history
without it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID, uuid4

from sidecar.errors import StoreUnavailable
from sidecar.store.postgres.database import Connection, Database
from sidecar.store.postgres.rows import number_of

__all__ = ["Lease", "Leases", "held"]

log = logging.getLogger("sidecar.store")

_TAKE = """
    INSERT INTO append_lease AS l (conversation, holder, ends)
    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
    ON CONFLICT (conversation) DO UPDATE SET holder = excluded.holder, ends = excluded.ends
    WHERE l.ends < clock_timestamp() OR l.holder = excluded.holder
    RETURNING true"""
_RENEW = """
    UPDATE append_lease SET ends = clock_timestamp() + $3 * interval '1 second'
    WHERE conversation = $1 AND holder = $2 RETURNING true"""
_RELEASE = "DELETE FROM append_lease WHERE conversation = $1 AND holder = $2"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two attempts to get a lease


@dataclass(slots=True)
class Lease:
    """A lease that is held until it is released. `holder` is unique to it."""

    conversation: UUID
    holder: UUID
    seconds: float
    is_over: bool = False


#: Under which lease the running request is served; its tasks inherit it.
held: ContextVar[Lease | None] = ContextVar("held", default=None)


class Leases:
    """The leases that this process holds or waits for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def hold(self, name: str, wait: float) -> AsyncIterator[bool]:
        """Hold the lease; gives whether another replica held it. Raises `TimeoutError` if one holds it for
        all of `wait` (seconds)."""
        lease = Lease(number_of(name), uuid4(), self._database.address.lease)
        was_held = await self._take(lease, wait)
        renewing = asyncio.get_running_loop().create_task(self._renew(lease))
        token = held.set(lease)
        try:
            yield was_held
        finally:
            held.reset(token)
            renewing.cancel()
            lease.is_over = True
            await self._release(lease)

    async def _take(self, lease: Lease, wait: float) -> bool:
        clock = asyncio.get_running_loop().time
        end, pause, was_held = clock() + wait, _FIRST_PAUSE, False
        try:
            while not await self._ask(_TAKE, lease):
                was_held = True
                if clock() >= end:
                    raise TimeoutError
                # With jitter, or those that wait together would retry in step for ever.
                spread = random.uniform(0.5, 1.0)  # noqa: S311 - nobody gains by guessing it
                await asyncio.sleep(min(pause * spread, max(0.0, end - clock())))
                pause = min(2 * pause, _LONGEST_PAUSE)
        except asyncio.CancelledError:
            await self._release(lease)  # it may have been taken just now
            raise
        return was_held

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(lease.seconds / 3)
            try:
                if not await self._ask(_RENEW, lease):
                    log.warning("lost an append lease: it was not renewed in time")
                    return
            except StoreUnavailable as error:
                log.warning("cannot renew an append lease", extra={"error": error.message})

    async def _release(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(lease.seconds):
                await asyncio.shield(self._database.run(_release_of(lease), patient=False))
        except (StoreUnavailable, TimeoutError):
            log.info("could not release an append lease; it will expire")

    async def _ask(self, query: str, lease: Lease) -> bool:
        async def ask(connection: Connection) -> bool:
            found = await connection.fetchval(query, lease.conversation, lease.holder, lease.seconds)
            return found is not None

        return await self._database.run(ask)


def _release_of(lease: Lease) -> Callable[[Connection], Awaitable[None]]:
    async def release(connection: Connection) -> None:
        await connection.execute(_RELEASE, lease.conversation, lease.holder)

    return release
