"""The rings of slot files in the store: over restarts, and for all processes that share it.

Rule: a ring is changed by one process at a time, and what a change says is in the store before anything is
written to the file that it is about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sidecar.store import Store
from sidecar.upstream.slot_ring import Place, Ring, name_of, name_of_ring, packed, unpacked

__all__ = ["SlotTable"]

log = logging.getLogger("sidecar.proxy")

_LOCK = "sidecar-slot-files"
_LOCK_WAIT = 2.0  # seconds; a change takes milliseconds


class SlotTable:
    """Which file of which engine holds what. Raises `StoreUnavailable` and, for a change, `TimeoutError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = asyncio.Lock()

    def file(self, engine: str, position: int) -> str:
        """The name of a file."""
        return name_of(self._store.secret, engine, position)

    async def read(self, engine: str) -> Ring:
        """The ring as it is now; empty if there is none that can be read."""
        told = (await self._store.load_learned()).get(self._name(engine), b"")
        try:
            return unpacked(told)
        except ValueError:
            log.warning("what is kept of slot files cannot be read")
            return ()

    async def change(
        self, engine: str, to: Callable[[Ring], tuple[Ring, int] | None]
    ) -> tuple[Place, int] | None:
        """Change a place of the ring; gives the new one and its position, or None if `to` does."""
        async with self._changing, self._store.cross_process_lock(_LOCK, _LOCK_WAIT):
            changed = to(await self.read(engine))
            if changed is None:
                return None
            ring, at = changed
            await self._store.save_learned(self._name(engine), packed(ring))
            return ring[at], at

    async def gone(self, ring: Ring) -> set[str]:
        """Of the conversations of this ring those that the store does not have any more."""
        named = {place.conversation for place in ring if place.conversation}
        return {name for name in named if not await self._has(name)}

    async def _has(self, conversation: str) -> bool:
        async for each in self._store.conversations(conversation):
            if each.id == conversation:
                return True
        return False

    def _name(self, engine: str) -> str:
        return f"slots:{name_of_ring(self._store.secret, engine)}"
