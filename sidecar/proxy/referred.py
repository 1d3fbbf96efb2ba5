"""The items that a request refers to, in place of the references.

Rule: an item of an answer is found by its id, wherever its response is kept; any other in the conversation in
which the request goes on. Another tenant's is none, and one of a deleted response neither.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sidecar.conversation.identity import Identity, conversation_id
from sidecar.conversation.records import Reference
from sidecar.dialects.responses.as_items import Item
from sidecar.dialects.responses.ids import message_of, reference_of_item
from sidecar.dialects.responses.references import UnknownItems, filled
from sidecar.errors import StoreUnavailable
from sidecar.proxy.again import all_exchanges, items_in, kept_exchange, response_in
from sidecar.proxy.services import Services
from sidecar.store import Store

__all__ = ["with_items"]

_LARGE = 256 << 10  # bytes of a body


async def with_items(services: Services, identity: Identity, unknown: UnknownItems, body: bytes) -> bytes:
    """The body with the items that it refers to. Raises `UnknownItems` for one that is not there."""
    limit = services.settings.timeouts.store
    try:
        async with asyncio.timeout(limit):
            found = await _found(services, identity, unknown)
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error
    missing = [id for id in unknown.ids if id not in found]
    if missing:
        raise UnknownItems(missing, unknown.behind, unknown.of_conversation)
    if len(body) > _LARGE:
        return await services.background.large_work.do("parse", partial(filled, body, found))
    return filled(body, found)


async def _found(services: Services, identity: Identity, unknown: UnknownItems) -> dict[str, Item]:
    store, found = services.store, dict[str, Item]()
    answers = dict.fromkeys(where for id in unknown.ids if (where := reference_of_item(id)) is not None)
    for where in answers:
        found |= await _of_answer(store, identity.tenant, where)
    others = [node for id in unknown.ids if id not in found and (node := message_of(id)) is not None]
    if others:
        name = unknown.of_conversation or identity.key
        ids = [unknown.behind.conversation] if unknown.behind is not None else []
        if name is not None:
            ids += [conversation_id(store.secret, identity.tenant, name), name]
        for node in dict.fromkeys(others):
            found |= await _of_message(store, identity.tenant, ids, node)
    return found


async def _of_answer(store: Store, tenant: bytes, where: Reference) -> dict[str, Item]:
    kept = await kept_exchange(store, tenant, where)
    return {item["id"]: item for item in response_in(kept)["output"]} if kept is not None else {}


async def _of_message(store: Store, tenant: bytes, ids: list[str], node: bytes) -> dict[str, Item]:
    conversation = (await store.find(tenant, ids, [])).conversation if ids else None
    if conversation is None:
        return {}
    line = await store.path(conversation.id, node)
    exchanges = await all_exchanges(store, tenant, conversation.id)
    told = await asyncio.to_thread(items_in, line, exchanges)
    return {item["id"]: item for each, item in told if each.id == node}
