"""Responses and items, made again of what is kept.

Rules: an answer that was told over this API is the same here, byte for byte, under the same ids; any other
message has ids of its own, and its calls are of the kinds that the tools of the conversation's requests have.
Another tenant's is not there, like one that never was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.conversation.exchange_record import Exchange, Reference
from sidecar.conversation.tree import Node
from sidecar.dialects.responses.as_items import Item, in_phase, items_of, kinds_of, of_their_kinds
from sidecar.dialects.responses.ids import item_id, reference_of, stem_of
from sidecar.dialects.responses.kept import (
    Said,
    leading_in,
    other_tools_in,
    output_again,
    response_again,
)
from sidecar.dialects.responses.tools import Tool
from sidecar.errors import NotFound
from sidecar.store import Store

__all__ = [
    "Kept",
    "all_exchanges",
    "items_in",
    "kept_exchange",
    "kept_response",
    "leading_items",
    "response_in",
    "unknown_conversation",
]

_PAGE = 500  # exchanges
_LEADING = 0xF000  # behind the places of all that an answer says


class Kept(NamedTuple):
    """A response that is kept: its exchange, and its reply, if it has one."""

    exchange: Exchange
    reply: Node | None


async def kept_response(store: Store, tenant: bytes, id: str) -> Kept | None:
    """The response of this id; None if there is none for this tenant."""
    reference = reference_of(id)
    return await kept_exchange(store, tenant, reference) if reference is not None else None


async def kept_exchange(store: Store, tenant: bytes, reference: Reference) -> Kept | None:
    """The response that is this exchange; None if there is none for this tenant."""
    exchange = await store.exchange(tenant, reference.conversation, reference.exchange)
    if exchange is None or exchange.detail.told is None:
        return None
    nodes = await store.messages(reference.conversation, exchange.detail.replies[:1])
    return Kept(exchange, nodes[0] if nodes else None)


def response_in(kept: Kept) -> dict[str, Any]:
    """The response, as it was told."""
    exchange = kept.exchange
    assert exchange.detail.told is not None
    return response_again(exchange.detail.told, _said(kept.reply), _where(exchange), exchange.when // 1000)


def leading_items(exchange: Exchange) -> list[Item]:
    """The system items before all that a response answered."""
    told, stem = exchange.detail.told, stem_of(_where(exchange))
    leading = leading_in(told) if told is not None else ()
    return [
        {
            "id": item_id("msg", stem, _LEADING + at),
            "type": "message",
            "status": "completed",
            "role": role,
            "content": [{"type": "input_text", "text": text}],
        }
        for at, (role, text) in enumerate(leading)
    ]


async def all_exchanges(store: Store, tenant: bytes, conversation: str) -> list[Exchange]:
    """Those of this conversation that hold a response, or a phase."""
    found: list[Exchange] = []
    before: bytes | None = None
    while True:
        some = await store.exchanges(tenant, conversation, limit=_PAGE, before=before)
        found += [each for each in some if each.detail.told is not None or each.detail.phases]
        if len(some) < _PAGE:
            return found
        before = some[-1].id


def items_in(nodes: Sequence[Node], exchanges: Iterable[Exchange]) -> list[tuple[Node, Item]]:
    """The items of these messages, each with its message."""
    known = list(exchanges)
    told = {each.detail.replies[0]: each for each in known if each.detail.replies and each.detail.told}
    phases = dict(phase for each in known for phase in each.detail.phases)
    kinds: dict[str, str] = {}
    brought = _Brought(known)
    found: list[tuple[Node, Item]] = []
    for node in nodes:
        items = _items(node, told, kinds)
        kinds.update(kinds_of(items))
        if (phase := phases.get(node.id)) is not None:
            items = in_phase(items, phase)
        found += [(node, item) for item in (items if node.id in told else brought.told(items))]
    return found


class _Brought:
    """What no response of these tells, by the tools that they were asked with; a newer one counts more."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._tools: dict[str, Tool] | None = None
        self._made: dict[str, str] = {}

    def told(self, items: list[Item]) -> list[Item]:
        """These items of a message."""
        if not any("call_id" in item for item in items):
            return items
        if self._tools is None:
            self._tools = {}
            for told in (each.detail.told for each in reversed(self._exchanges)):
                self._tools |= other_tools_in(told) if told is not None else {}
        return of_their_kinds(items, self._tools, self._made)


def unknown_conversation(id: str) -> NotFound:
    """The error for a conversation that is none of the tenant's."""
    message = f"Conversation with id '{id[:100]}' not found."
    return NotFound(message, code="conversation_not_found", param="conversation")


def _items(node: Node, told: Mapping[bytes, Exchange], kinds: Mapping[str, str]) -> list[Item]:
    exchange = told.get(node.id)
    if exchange is not None and exchange.detail.told is not None:
        return output_again(exchange.detail.told, _said(node), _where(exchange))
    return items_of(node.fields, node.id, kinds)


def _said(reply: Node | None) -> Said:
    return Said(reply.fields, reply.usage) if reply is not None else Said()


def _where(exchange: Exchange) -> Reference:
    return Reference(exchange.conversation, exchange.id)
