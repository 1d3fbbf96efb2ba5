"""One response: as it was told, deleted, and what it answered.

Rules: a deleted one is gone, also as one to go on from; what was said stays in its chat, where others may
build on it, until that is deleted. What a response answered is all that stood before it, be it sent with it
or not, but for what was taken out of its conversation since.

One that is made in the background is told as it stands by any process, and ended by the one that makes it.
Who cancels it, or deletes it, waits for that end: what was said until then is kept in its chat, as of any
answer that was broken off.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.responses.ids import reference_of
from sidecar.dialects.responses.in_background import as_it_stands
from sidecar.errors import BadRequest, NotFound
from sidecar.proxy.again import (
    Kept,
    all_exchanges,
    kept_response,
    leading_items,
    response_in,
)
from sidecar.proxy.follow import settled
from sidecar.proxy.services import Services
from sidecar.proxy.taken_out import gone_from, items_left
from sidecar.state.paging import Page, paged
from sidecar.store import Store

__all__ = ["cancel", "delete", "get", "input_items"]

_LOOK = 0.05  # seconds between two looks whether it is over
_MOST_LOOKS = 100

Told = dict[str, Any]


async def get(services: Services, tenant: bytes, id: str) -> Told:
    """The response. Raises `NotFound`."""
    kept = await kept_response(services.store, tenant, id)
    if kept is not None:
        return await asyncio.to_thread(response_in, kept)
    where = reference_of(id)
    found = await settled(services, tenant, where) if where is not None else None
    if found is None or not found.told:
        # It may have come into the tree just now.
        return await asyncio.to_thread(response_in, await _kept(services.store, tenant, id))
    run = services.runs.find(found.where)
    last = run.last if run is not None else found.last  # not all that came is written yet
    return as_it_stands(found.told, last, is_over=found.ended is not None)


async def cancel(services: Services, tenant: bytes, id: str) -> Told:
    """Have it end, if it is made in the background; gives it as it is then, and as it was if it was over.
    Raises `NotFound`, and `BadRequest` for one that was made while its client waited."""
    where = reference_of(id)
    if where is not None:
        await _stop(services, tenant, where)
    response = await get(services, tenant, id)
    if not response["background"]:
        raise BadRequest(
            "Only a response that was made with `background: true` can be cancelled: to end another one,"
            " close its connection.",
            code="invalid_request",
            param="response_id",
        )
    return response


async def delete(services: Services, tenant: bytes, id: str) -> Told:
    """Delete it; one that is being made ends before. Raises `NotFound`."""
    store, where = services.store, reference_of(id)
    if where is None:
        raise _unknown(id)
    await _stop(services, tenant, where)
    kept = await kept_response(store, tenant, id)
    is_gone = await store.forget_response(tenant, where)
    if kept is not None:
        detail = replace(kept.exchange.detail, told=None)
        is_gone = await store.amend(tenant, replace(kept.exchange, detail=detail)) or is_gone
    if not is_gone:  # there was none, or its chat was deleted meanwhile
        raise _unknown(id)
    return {"id": id, "object": "response", "deleted": True}


async def input_items(store: Store, tenant: bytes, id: str, page: Page) -> Told:
    """A page of what it answered. Raises `NotFound`, also for one that is being made."""
    exchange = (await _kept(store, tenant, id)).exchange
    conversation = exchange.conversation
    nodes = await store.path(conversation, exchange.parent) if exchange.parent is not None else []
    others = await all_exchanges(store, tenant, conversation)
    gone = await gone_from(store, tenant, conversation)
    found = await asyncio.to_thread(items_left, nodes, others, gone)
    return paged([*leading_items(exchange), *(item for _, item in found)], page)


async def _stop(services: Services, tenant: bytes, where: Reference) -> None:
    """Have it end if it is being made, and wait for that, unless it takes too long."""
    for looks in range(_MOST_LOOKS):
        found = await settled(services, tenant, where)
        if found is None or found.ended is not None:
            return
        if not looks:
            await services.store.cancel_response(tenant, where)
            if (run := services.runs.find(where)) is not None:
                run.stop(is_cancelled=True)
        await asyncio.sleep(_LOOK)


async def _kept(store: Store, tenant: bytes, id: str) -> Kept:
    found = await kept_response(store, tenant, id)
    if found is None:
        raise _unknown(id)
    return found


def _unknown(id: str) -> NotFound:
    return NotFound(f"Response with id '{id[:100]}' not found.", code="response_not_found")
