"""What is left of a conversation without the items that its client has taken out of it.

Rules: what was taken out is told no more, put into no request, over no API, referred to by none, and answered
by none; in the tree it stays. The result of a call goes with the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

from msgspec.structs import replace

from sidecar.conversation.echo import Step
from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import encode
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation, Message, Node
from sidecar.dialects.responses.as_items import Item
from sidecar.dialects.responses.taken_out import without
from sidecar.exchange.plan import Thin
from sidecar.proxy.again import all_exchanges, items_in
from sidecar.proxy.notes import notes_of
from sidecar.store import Store

__all__ = ["Left", "gone_from", "items_left", "left_in", "left_of", "names_of", "steps_left"]


class Left:
    """The messages that are left of a line, and the ids of the calls that were taken out of it (`lost`)."""

    def __init__(self, nodes: Sequence[Node], lost: frozenset[str] = frozenset()) -> None:
        self.nodes, self.lost = nodes, lost

    def of(self, line: Iterable[Node]) -> tuple[Node, ...]:
        """What is left of a part of the line."""
        return tuple(self._by_id[node.id] for node in line if node.id in self._by_id)

    def has(self, nodes: Iterable[Node]) -> bool:
        """Are these whole in it?"""
        return all(self._by_id.get(node.id) is node for node in nodes)

    @cached_property
    def _by_id(self) -> dict[bytes, Node]:
        return {node.id: node for node in self.nodes}


async def gone_from(store: Store, tenant: bytes, conversation: str) -> frozenset[str]:
    """The ids of the items that were taken out of the conversation of this id."""
    found = (await store.find(tenant, [conversation], [])).conversation
    return frozenset((await notes_of(store, found)).gone) if found is not None else frozenset()


async def left_in(
    store: Store, conversation: Conversation, line: Sequence[Node], gone: Collection[str] | None = None
) -> Left:
    """What is left of a line of the conversation. `gone`: the ids of what was taken out, where known."""
    if gone is None:
        gone = (await notes_of(store, conversation)).gone
    if not gone:
        return Left(line)
    exchanges = await all_exchanges(store, conversation.tenant, conversation.id)
    return await asyncio.to_thread(_left, line, exchanges, frozenset(gone))


async def left_of(store: Store, plan: Thin, asked: tuple[Message, ...]) -> Thin:
    """The plan with what is left: of what is sent, not of where it stands. What was `asked` again is new
    where the question was taken out."""
    is_again = plan.outcome is Outcome.RETRY
    line = (*plan.line, plan.parent) if is_again else plan.line
    left = await left_in(store, plan.conversation, line)
    if left.nodes is line:
        return plan
    plan = replace(plan, line=left.of(plan.line))
    return (
        plan if not is_again or left.has([plan.parent]) else replace(plan, outcome=Outcome.APPEND, new=asked)
    )


async def steps_left(store: Store, conversation: Conversation, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """What is left of what may be restored. Where the end of an answer is gone, nothing is: what its client
    still sends goes as it came."""
    line = [node for step in steps for node in step]
    left = await left_in(store, conversation, line)
    if left.nodes is line:
        return steps
    return tuple(left.of(step) if left.has(step[-1:]) else () for step in steps)


def items_left(
    line: Sequence[Node], exchanges: Iterable[Exchange], gone: Collection[str]
) -> list[tuple[Node, Item]]:
    """The items that are left of a line, each with its message."""
    found = items_in(line, exchanges)
    dropped, _ = _dropped([item for _, item in found], gone)
    return [each for each in found if each[1]["id"] not in dropped]


def names_of(id: str, node: Node, exchanges: Iterable[Exchange]) -> list[str]:
    """The ids of an item of this message: by one it is known while its response is kept, by the other after
    that was deleted."""
    forms = [[item for _, item in items_in([node], known)] for known in (exchanges, ())]
    places = [_place(items, id) for items in forms]
    place = next((each for each in places if each is not None), None)
    found = [item["id"] for items in forms for item in items if _place(items, item["id"]) == place]
    return list(dict.fromkeys((id, *found)))


def _place(items: Sequence[Item], id: str) -> tuple[str, int] | None:
    """Where this one stands among those of its kind, calls or others of one type."""
    kinds = [item["type"] if "call_id" not in item else "call" for item in items]
    at = next((at for at, item in enumerate(items) if item["id"] == id), None)
    return (kinds[at], kinds[:at].count(kinds[at])) if at is not None else None


def _left(line: Sequence[Node], exchanges: Iterable[Exchange], gone: Collection[str]) -> Left:
    items: dict[bytes, list[Item]] = {}
    found = items_in(line, exchanges)
    for node, item in found:
        items.setdefault(node.id, []).append(item)
    dropped, lost = _dropped([item for _, item in found], gone)
    left: list[Node] = []
    for node in line:
        fields = without(node.fields, items.get(node.id, []), dropped)
        if fields is not None:
            left.append(node if fields is node.fields else replace(node, body=encode(dict(fields))))
    return Left(left, frozenset(lost))


def _dropped(items: Iterable[Item], gone: Collection[str]) -> tuple[set[str], set[str]]:
    """The ids of the items that go: those that are gone, and the results of calls that are; and of these the
    ids, but for those under which another call was made since."""
    dropped: set[str] = set()
    lost: set[str] = set()
    for item in items:
        call = item.get("call_id")  # of any kind, where a chat was kept that says so
        is_result = str(item["type"]).endswith("_output")
        is_lost = isinstance(call, str) and call in lost
        if item["id"] in gone or (is_result and is_lost):
            dropped.add(item["id"])
            if isinstance(call, str) and not is_result:
                lost.add(call)
        elif is_lost:
            lost.discard(str(call))
    return dropped, lost
