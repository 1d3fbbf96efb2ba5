"""The members of targets whose name has several addresses (`resolve`), as they come and go.

Rules: a name is looked up at the start, and then again every `_EVERY` seconds; where that fails, what was
known counts. A member that is still there stays the same; one that is gone gets nothing new, and its
connections are dropped once its last request has ended.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sidecar.background.tasks import Spawn
from sidecar.upstream.addresses import addresses_of
from sidecar.upstream.pool import Member, Pool
from sidecar.upstream.router import Router

__all__ = ["TargetAddresses"]

log = logging.getLogger("sidecar.proxy")

_EVERY = 10.0  # seconds
_FIRST = 2.0  # seconds that the start waits for names


class TargetAddresses:
    """The job; `start` it, `stop` it."""

    def __init__(self, router: Router, spawn: Spawn) -> None:
        self._pools = [pool for pool in router.pools if pool.made_at is not None]
        self._spawn = spawn
        self._leaving: list[Member] = []
        self._ending = asyncio.Event()
        self._silent: set[str] = set()

    async def start(self) -> None:
        """Look the names up, and then again and again."""
        if not self._pools:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST):
                await self.look()
        self._spawn(self._run())

    def stop(self) -> None:
        """The process ends."""
        self._ending.set()

    async def look(self) -> None:
        """Look all names up once."""
        await asyncio.gather(*(self._look_up(pool) for pool in self._pools))
        for member in [each for each in self._leaving if not each.under_way]:
            self._leaving.remove(member)
            await member.target.close()

    async def _run(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._ending.wait()
                    break
            await self.look()
        for member in self._leaving:
            await member.target.close()

    async def _look_up(self, pool: Pool) -> None:
        assert pool.made_at is not None
        try:
            found = await addresses_of(pool.base)
        except OSError:
            if pool.name not in self._silent:
                log.warning("the name of a target has no address", extra={"target": pool.name})
                self._silent.add(pool.name)
            return
        self._silent.discard(pool.name)
        known = {each.key: each for each in pool.members}
        if list(known) == found:
            return
        pool.members = tuple(known.get(address) or pool.made_at(address) for address in found)
        self._leaving += [member for key, member in known.items() if key not in found]
        pool.wake()
        log.info("a target has other addresses", extra={"target": pool.name, "members": len(found)})
