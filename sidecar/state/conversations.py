"""One conversation, and its items.

Rules: a conversation is the tree that a header of its id would name, whatever API it was begun over, and its
items are the messages up to the newest one. What is added stands behind that. An item that is taken out is
told no more and put into no request, but in the tree, where nothing is rewritten, it
stays until the conversation is deleted; that deletes all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

from msgspec.structs import replace

from sidecar.background.large_work import are_large
from sidecar.conversation.exchange_record import OF_CONVERSATION, Detail, Exchange, exchange_id
from sidecar.conversation.identity import can_be_key, conversation_id
from sidecar.conversation.message import encode
from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import Chain, Conversation, Node
from sidecar.dialects.responses.as_items import Item
from sidecar.dialects.responses.items import messages_to_keep
from sidecar.dialects.responses.metadata import metadata_in
from sidecar.dialects.responses.refusal import list_of_objects
from sidecar.dialects.responses.tools import Tools
from sidecar.errors import BadRequest, NotFound
from sidecar.exchange.new_nodes import client_nodes
from sidecar.proxy.again import all_exchanges, items_in, unknown_conversation
from sidecar.proxy.append_lock import line_of
from sidecar.proxy.go_on import calls_made, refuse_orphans
from sidecar.proxy.in_conversation import found_by_name
from sidecar.proxy.notes import Notes, keep_notes, notes_of
from sidecar.proxy.services import Services
from sidecar.proxy.taken_out import items_left, left_in, names_of
from sidecar.random_ids import token
from sidecar.state.paging import Page, paged

__all__ = ["Conversations"]

_MOST = 20  # items that are added at once, as at OpenAI

Told = dict[str, Any]
_Phases = tuple[tuple[bytes, str], ...]


class Conversations:
    """Those of one tenant, for one request. Every method may raise `NotFound`, and `BadRequest` for what its
    body says. `tools`: know what of the items that it brings is kept nowhere."""

    def __init__(self, services: Services, tenant: bytes) -> None:
        self._services, self._store, self._tenant = services, services.store, tenant
        self.tools = Tools()

    async def create(self, body: Told) -> Told:
        """A new one, with these items and this metadata."""
        metadata, items = metadata_in(body), _items_in(body)
        key, now = "conv_" + token(16).hex(), int(time.time() * 1000) / 1000
        id = conversation_id(self._store.secret, self._tenant, key)
        conversation, notes = Conversation(id, self._tenant, key, now, now), Notes(metadata)
        new, phases = _nodes(Chain(self._tenant), [], items, self.tools)
        await keep_notes(self._store, conversation, notes)
        if new:
            await self._add(conversation, new, phases)
        return _told(key, conversation, notes)

    async def get(self, name: str) -> Told:
        """The conversation."""
        conversation = await self._found(name)
        return _told(name, conversation, await notes_of(self._store, conversation))

    async def update(self, name: str, body: Told) -> Told:
        """Replace its metadata."""
        id = (await self._found(name)).id
        if body.get("metadata") is None:
            raise BadRequest("`metadata` is missing", code="missing_required_parameter", param="metadata")
        metadata = metadata_in(body)
        async with self._notes_held(id):
            conversation = await self._found(name)
            notes = replace(await notes_of(self._store, conversation), metadata=metadata)
            await keep_notes(self._store, conversation, notes)
        return _told(name, conversation, notes)

    async def delete(self, name: str) -> Told:
        """Delete it, and all that was said in it."""
        id = (await self._found(name)).id
        async with self._notes_held(id):
            await self._store.delete(id)
        return {"id": name, "object": "conversation.deleted", "deleted": True}

    async def items(self, name: str, page: Page) -> Told:
        """A page of its items."""
        return paged([item for _, item in await self._items(await self._found(name))], page)

    async def item(self, name: str, id: str) -> Item:
        """One of its items."""
        found = next(
            (item for _, item in await self._items(await self._found(name)) if item["id"] == id), None
        )
        if found is None:
            raise _unknown_item(name, id)
        return found

    async def add(self, name: str, body: Told) -> Told:
        """Add items behind the newest one."""
        items = _items_in(body)
        if not items:
            raise BadRequest("`items` is missing", code="missing_required_parameter", param="items")
        async with AsyncExitStack() as waits:
            conversation, line = await self._in_line(name, waits)
            left = await left_in(self._store, conversation, line)
            new, phases = _nodes(Chain(self._tenant), line, items, self.tools, left.lost)
            exchange = await self._add(conversation, new, phases)
        added = {node.id for node in new}
        told = [item for node, item in items_in([*line, *new], exchange) if node.id in added]
        return paged(told, Page(len(told) or 1, newest_first=False))

    async def remove(self, name: str, id: str) -> Told:
        """Take out one of its items."""
        conversation = await self._found(name)
        node = next((node for node, item in await self._items(conversation) if item["id"] == id), None)
        if node is None:
            raise _unknown_item(name, id)
        exchanges = await all_exchanges(self._store, self._tenant, conversation.id)
        names = names_of(id, node, exchanges)
        async with self._notes_held(conversation.id):
            conversation = await self._found(name)
            notes = await notes_of(self._store, conversation)
            notes = replace(notes, gone=tuple(dict.fromkeys((*notes.gone, *names))))
            await keep_notes(self._store, conversation, notes)
        return _told(name, conversation, notes)

    def _notes_held(self, id: str) -> AbstractAsyncContextManager[float]:
        """What is kept with the conversation of this id is read and written by one at a time, and by nobody
        once it is deleted: look for it again within, lest it be made anew."""
        return self._services.requests.append_locks.hold(f"{id}-notes")

    async def _found(self, name: str) -> Conversation:
        if not can_be_key(name):
            raise unknown_conversation(name)
        id = conversation_id(self._store.secret, self._tenant, name)
        found = await found_by_name(self._store, self._tenant, id, name)
        if found is None:
            raise unknown_conversation(name)
        return found

    async def _line(self, conversation: Conversation) -> list[Node]:
        if conversation.tip is None:
            return []
        return await self._store.path(conversation.id, conversation.tip)

    async def _in_line(self, name: str, waits: AsyncExitStack) -> tuple[Conversation, list[Node]]:
        """It and its messages, once nobody else goes on in it."""
        held: set[str] = set()
        while True:
            conversation = await self._found(name)  # what was said meanwhile counts
            line = await self._line(conversation)
            where = line_of(conversation.id, line[0].id if line else None)
            if where in held:
                return conversation, line
            await waits.enter_async_context(self._services.requests.append_locks.hold(where))
            held.add(where)

    async def _items(self, conversation: Conversation) -> list[tuple[Node, Item]]:
        line = await self._line(conversation)
        exchanges = await all_exchanges(self._store, self._tenant, conversation.id)
        gone = frozenset((await notes_of(self._store, conversation)).gone)
        work = partial(items_left, line, exchanges, gone)
        return await asyncio.to_thread(work) if are_large(line) else work()

    async def _add(self, conversation: Conversation, new: Sequence[Node], phases: _Phases) -> list[Exchange]:
        """Gives what is kept beside them, if anything is."""
        about = replace(
            conversation, updated_at=time.time(), tip=new[-1].id, system=None, weights=None, full=False
        )
        beside = [_beside(about, new[-1], phases)] if phases else []
        await self._store.record(ConversationUpdate(about, tuple(new), exchange=next(iter(beside), None)))
        return beside


def _beside(conversation: Conversation, newest: Node, phases: _Phases) -> Exchange:
    return Exchange(
        exchange_id(int(conversation.updated_at * 1000), token(4)),
        conversation.id,
        newest.id,
        OF_CONVERSATION,
        status=200,
        detail=Detail(api="conversations", phases=phases),
    )


def _told(name: str, conversation: Conversation, notes: Notes) -> Told:
    created = int(conversation.created_at)
    return {"id": name, "object": "conversation", "created_at": created, "metadata": dict(notes.metadata)}


def _items_in(body: Told) -> list[Item]:
    items = list_of_objects(body.get("items"), "items")
    if len(items) > _MOST:
        raise BadRequest(
            f"`items` has at most {_MOST} at once, and here are {len(items)}",
            code="array_above_max_length",
            param="items",
        )
    return items


def _nodes(
    chain: Chain, line: Sequence[Node], items: list[Item], tools: Tools, lost: frozenset[str] = frozenset()
) -> tuple[list[Node], _Phases]:
    """These items as messages behind that line, and their phases. `lost`: the ids of the calls that
    were taken out of it."""
    try:
        told = messages_to_keep(items, "items", tools)
        messages = [chain.new_message(encode(each)) for each, _ in told]
    except ValueError as error:  # nested beyond reason
        raise BadRequest("`items` cannot be kept", code="invalid_value", param="items") from error
    refuse_orphans(messages, calls_made(line) - lost)
    nodes = client_nodes(chain, line[-1] if line else None, messages, time.time())
    if not nodes and items:
        raise BadRequest(
            "`items` say nothing by themselves: reasoning belongs to a message",
            code="invalid_value",
            param="items",
        )
    phases = tuple((node.id, phase) for node, (_, phase) in zip(nodes, told, strict=True) if phase)
    return nodes, phases


def _unknown_item(name: str, id: str) -> NotFound:
    return NotFound(
        f"Item with id '{id[:100]}' not found in conversation '{name[:100]}'.",
        code="item_not_found",
        param="item",
    )
