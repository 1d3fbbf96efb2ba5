"""Which conversations are kept no longer: by age, and by number and size for each tenant.

Rules: of a tenant's conversations those used last are kept; the newest one stays whatever its size, unless
it is too old. One that is used meanwhile stays as well. The work is done in small steps, with pauses where a
server does it beside its requests.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from sidecar.conversation.records import ConversationStats
from sidecar.settings import Retention
from sidecar.store import Store

__all__ = ["deleted", "expired", "prune"]

_DAY = 86400.0
_DELETE_BATCH = 64  # conversations deleted together
_BATCH, _COUNTED_BATCH = 500, 10  # conversations looked at between two pauses


@dataclass(slots=True)
class _Tenant:
    """What a tenant may keep so far, the one used least recently first."""

    kept: list[tuple[float, str, int]] = field(default_factory=list)
    size: int = 0


async def prune(
    store: Store,
    rules: Retention,
    now: float,
    seen: Callable[[ConversationStats], None] = lambda _: None,
    *,
    pause: float = 0.0,
) -> int:
    """Delete what is kept no longer; returns how many conversations that were.

    `seen` is told of each that is looked at; `pause`: seconds between two steps.
    """
    found = expired(store, rules, now, seen, pause=pause)
    count = await deleted(store, found, at_once=1 if pause else _DELETE_BATCH)
    if count:
        await store.purge(compact=False)
    return count


async def deleted(
    store: Store,
    found: AsyncIterator[tuple[str, float | None]],
    done: Callable[[int], None] = lambda _: None,
    *,
    at_once: int = _DELETE_BATCH,
) -> int:
    """Delete these, several at a time, since a store writes together what comes together; returns how many.

    With each the time after which it stays, None for never.
    """
    count = 0
    batch: list[tuple[str, float | None]] = []

    async def delete() -> int:
        gone = await asyncio.gather(*(store.delete(id, unless_after=time) for id, time in batch))
        done(len(batch))
        batch.clear()
        return sum(gone)

    async for each in found:
        batch.append(each)
        if len(batch) == at_once:
            count += await delete()
    return count + await delete()


async def expired(
    store: Store,
    rules: Retention,
    now: float,
    seen: Callable[[ConversationStats], None] = lambda _: None,
    *,
    pause: float = 0.0,
) -> AsyncIterator[tuple[str, float | None]]:
    """The conversations that are kept no longer, and when each was used last."""
    if rules.max_days is None and rules.max_conversations is None and rules.max_bytes is None:
        return
    tenants: dict[bytes, _Tenant] = {}
    sized = rules.max_bytes is not None
    step = _COUNTED_BATCH if sized else _BATCH
    number = 0
    async for each in store.conversation_stats(sized=sized):
        seen(each)
        if rules.max_days is not None and each.updated_at < now - rules.max_days * _DAY:
            yield each.id, each.updated_at
        elif rules.max_conversations is not None or sized:
            for id, updated_at in _too_many(tenants.setdefault(each.tenant, _Tenant()), each, rules):
                yield id, updated_at
        number += 1
        if number % step == 0:
            await asyncio.sleep(pause)


def _too_many(tenant: _Tenant, each: ConversationStats, rules: Retention) -> Iterator[tuple[str, float]]:
    """With this one more, which of the tenant's are too many?"""
    most = rules.max_conversations or float("inf")
    size = rules.max_bytes or float("inf")
    heapq.heappush(tenant.kept, (each.updated_at, each.id, each.size))
    tenant.size += each.size
    while len(tenant.kept) > most or (tenant.size > size and len(tenant.kept) > 1):
        updated_at, id, gone = heapq.heappop(tenant.kept)
        tenant.size -= gone
        yield id, updated_at
