"""The items that a request refers to, in place of the references.

Rules: an item of an answer is found by its id, wherever its response is kept; any other in the conversation
in which the request goes on. Another tenant's is none, and neither is one of a deleted response,
or one that was taken out of its conversation. With its items a body is no longer than any other may be, and
no answer or message is read twice for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.identity import Identity, conversation_id
from sidecar.conversation.tree import Node
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.responses.as_items import Item, items_with
from sidecar.dialects.responses.ids import message_of, reference_of_item
from sidecar.dialects.responses.references import UnknownItems, filled
from sidecar.errors import BodyTooLarge, StoreUnavailable
from sidecar.proxy.again import Kept, kept_exchange, response_in
from sidecar.proxy.bodies import Held
from sidecar.proxy.services import Services
from sidecar.proxy.taken_out import gone_from
from sidecar.store import Store

__all__ = ["with_items"]

_LARGE = 256 << 10  # bytes of a body
_AT_ONCE = 8  # messages that are read at once, each of which may be as long as a body


async def with_items(
    services: Services, identity: Identity, unknown: UnknownItems, body: bytes, held: Held | None = None
) -> bytes:
    """The body with the items that it refers to. `held`: what it takes of the room for bodies, which is more
    with them. Raises `UnknownItems` for one that is not there, `BodyTooLarge`, `TooManyBodies`."""
    limit = services.settings.timeouts.store
    found = _Found(services.settings.limits.max_body, len(body))
    try:
        async with asyncio.timeout(limit):
            await _find(services.store, identity, unknown, found)
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error
    missing = [id for id in unknown.ids if id not in found.items]
    if missing:
        raise UnknownItems(missing, unknown.behind, unknown.of_conversation)
    if held is not None:
        await held.reach(found.size)
    if found.size > _LARGE:
        return await services.background.large_work.do("parse", partial(filled, body, found.items))
    return filled(body, found.items)


class _Found:
    """Items by their ids. `size`: bytes of the body with them, at most `largest`."""

    def __init__(self, largest: int, size: int) -> None:
        self.items: dict[str, Item] = {}
        self.size = size
        self._largest = largest

    def take(self, items: Iterable[Item]) -> None:
        """Raises `BodyTooLarge`."""
        for item in items:
            self.items[item["id"]] = item
            self.size += len(encode(item))
            if self.size > self._largest:
                raise BodyTooLarge(
                    "with the items that it refers to the body is larger than"
                    f" `limits.max_body` = {self._largest} bytes"
                )


async def _find(store: Store, identity: Identity, unknown: UnknownItems, found: _Found) -> None:
    of_answers: dict[Reference, set[str]] = {}
    of_messages: dict[bytes, set[str]] = {}
    for id in unknown.ids:
        if (where := reference_of_item(id)) is not None:
            of_answers.setdefault(where, set()).add(id)
        elif (node := message_of(id)) is not None:
            of_messages.setdefault(node, set()).add(id)
    gone = _Gone(store, identity.tenant)
    for where, ids in of_answers.items():
        ids -= await gone.of(where.conversation)
        kept = await kept_exchange(store, identity.tenant, where)
        if kept is not None:
            await asyncio.to_thread(_take_of_answer, found, kept, ids)
    conversation = await _conversation(store, identity, unknown) if of_messages else None
    if conversation is None:
        return
    taken_out = await gone.of(conversation)
    of_messages = {node: ids - taken_out for node, ids in of_messages.items()}
    wanted = list(of_messages)
    for at in range(0, len(wanted), _AT_ONCE):
        nodes = await store.messages(conversation, wanted[at : at + _AT_ONCE])
        await asyncio.to_thread(_take_of_messages, found, nodes, of_messages)


class _Gone:
    """The ids of what was taken out of conversations, each of which is asked for once."""

    def __init__(self, store: Store, tenant: bytes) -> None:
        self._store, self._tenant = store, tenant
        self._found: dict[str, frozenset[str]] = {}

    async def of(self, conversation: str) -> frozenset[str]:
        """Of that one."""
        if conversation not in self._found:
            self._found[conversation] = await gone_from(self._store, self._tenant, conversation)
        return self._found[conversation]


async def _conversation(store: Store, identity: Identity, unknown: UnknownItems) -> str | None:
    """The id of the one in which the request goes on."""
    name = unknown.of_conversation or identity.key
    ids = [unknown.behind.conversation] if unknown.behind is not None else []
    if name is not None:
        ids += [conversation_id(store.secret, identity.tenant, name), name]
    conversation = (await store.find(identity.tenant, ids, [])).conversation if ids else None
    return conversation.id if conversation is not None else None


def _take_of_answer(found: _Found, kept: Kept, ids: Collection[str]) -> None:
    found.take(item for item in response_in(kept)["output"] if item["id"] in ids)


def _take_of_messages(found: _Found, nodes: Iterable[Node], wanted: Mapping[bytes, Collection[str]]) -> None:
    for node in nodes:
        found.take(items_with(wanted[node.id], node.fields, node.id))
