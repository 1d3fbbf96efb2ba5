"""Where a request may go, by its model, and in which order.

Rules: the targets that serve its model, by their priority, and among equals as they stand in the settings; a
model that none of them serves goes to the default target, and no other model does. Who is out of health
comes last: where all are, it is tried all the same, for it may be well again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.upstream.pool import Member, Pool

__all__ = ["Router"]

# Names whose targets are known at once: anybody can make up more of them, and longer ones.
_MOST_MODELS, _LONGEST_NAME = 1000, 200


class Router:
    """The default target and those of `targets`."""

    def __init__(self, default: Pool, pools: Sequence[Pool]) -> None:
        self.default = default
        self._pools = tuple(sorted(pools, key=lambda pool: pool.priority))
        #: All of them, in the order of their priority; the default one comes first.
        self.pools = (default, *self._pools)
        self._of_models: dict[str, tuple[Pool, ...]] = {}

    def pools_of(self, model: str | None) -> tuple[Pool, ...]:
        """The targets for a model, the first to be tried first."""
        name = model or ""
        found = self._of_models.get(name)
        if found is None:
            found = tuple(each for each in self._pools if each.serves(name)) or (self.default,)
            if len(self._of_models) < _MOST_MODELS and len(name) <= _LONGEST_NAME:
                self._of_models[name] = found
        return found

    def candidates(self, model: str | None, session: str | None) -> list[Member]:
        """Who may get a request, the first to be tried first. `session`: None for what belongs to no chat."""
        pools = self.pools_of(model)
        found = pools[0].in_order(session)
        for pool in pools[1:]:
            found += pool.in_order(session)
        for member in found:
            if member.health.out_until is not None:
                return sorted(found, key=lambda each: each.health.is_out)
        return found

    def count(self, model: str | None) -> int:
        """How many may get a request for this model."""
        pools = self.pools_of(model)
        return len(pools[0].members) if len(pools) == 1 else sum(len(pool.members) for pool in pools)

    async def room(self, members: Sequence[Member], timeout: float) -> bool:
        """Wait until a request at one of them has ended; False if none has within so many seconds."""
        if timeout <= 0:
            return False
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for pool in {member.pool: None for member in members}:
            pool.wait(ended)
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            return ended.done() and not ended.cancelled()
        except asyncio.CancelledError:
            if ended.done() and not ended.cancelled():
                for pool in {member.pool: None for member in members}:
                    pool.wake()  # it was this one's turn, and it does not take it
            raise
        return True
