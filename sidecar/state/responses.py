"""One response: as it was told, deleted, and what it answered.

Rules: a deleted one is gone, also as one to go on from; what was said stays in its chat, where others may
build on it, until that is deleted. What a response answered is all that stood before it, be it sent with it
or not, but for what was taken out of its conversation since.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from sidecar.errors import NotFound
from sidecar.proxy.again import (
    Kept,
    all_exchanges,
    kept_response,
    leading_items,
    response_in,
)
from sidecar.proxy.taken_out import gone_from, items_left
from sidecar.state.paging import Page, paged
from sidecar.store import Store

__all__ = ["delete", "get", "input_items"]


async def get(store: Store, tenant: bytes, id: str) -> dict[str, Any]:
    """The response. Raises `NotFound`."""
    return await asyncio.to_thread(response_in, await _kept(store, tenant, id))


async def delete(store: Store, tenant: bytes, id: str) -> dict[str, Any]:
    """Delete it. Raises `NotFound`."""
    exchange = (await _kept(store, tenant, id)).exchange
    if not await store.amend(tenant, replace(exchange, detail=replace(exchange.detail, told=None))):
        raise _unknown(id)  # its chat was deleted meanwhile
    return {"id": id, "object": "response", "deleted": True}


async def input_items(store: Store, tenant: bytes, id: str, page: Page) -> dict[str, Any]:
    """A page of what it answered. Raises `NotFound`."""
    exchange = (await _kept(store, tenant, id)).exchange
    conversation = exchange.conversation
    nodes = await store.path(conversation, exchange.parent) if exchange.parent is not None else []
    others = await all_exchanges(store, tenant, conversation)
    gone = await gone_from(store, tenant, conversation)
    found = await asyncio.to_thread(items_left, nodes, others, gone)
    return paged([*leading_items(exchange), *(item for _, item in found)], page)


async def _kept(store: Store, tenant: bytes, id: str) -> Kept:
    found = await kept_response(store, tenant, id)
    if found is None:
        raise _unknown(id)
    return found


def _unknown(id: str) -> NotFound:
    return NotFound(f"Response with id '{id[:100]}' not found.", code="response_not_found")
