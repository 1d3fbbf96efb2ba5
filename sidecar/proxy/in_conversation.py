"""A request that names its conversation in its body: what it brings stands behind the newest message there.

Rules: the conversation is the one that a header of this name would mean, whatever API it was begun over; one
that is not there is an error, lest a wrong id be answered without its history. System messages that it begins
with belong to every request in it. What was taken out of it is put into no request, over no API; in the tree
it stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.conversation.find_by_history import key_of_name
from sidecar.conversation.message import SYSTEM_ROLES, visible_text
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Chain, Conversation, Node
from sidecar.dialects.responses.ids import item_id
from sidecar.dialects.responses.items import Leading
from sidecar.dialects.responses.kept import leading_in
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan, Thin, Whole
from sidecar.proxy.again import unknown_conversation
from sidecar.proxy.go_on import NEWEST, calls_made, calls_told, newest_behind, refuse_orphans, system_with
from sidecar.proxy.notes import notes_of
from sidecar.proxy.taken_out import Left, left_in
from sidecar.store import Store

__all__ = ["carried_in", "found_by_name", "in_conversation", "refuse_unheld"]


async def found_by_name(
    store: Store, tenant: bytes, conversation_id: str | None, name: str
) -> Conversation | None:
    """The tenant's conversation of this name: its client's id, also one that came later (`named_later`), or
    the one that it was told."""
    ids = [name] if conversation_id is None else [conversation_id, name]
    found = (await store.find(tenant, ids, [])).conversation
    if found is not None:
        return found
    known = await store.find_by_history(tenant, [key_of_name(Chain(tenant), name)])
    later = (await store.find(tenant, [known], [])).conversation if known is not None else None
    return later if later is not None and later.key == name else None


async def in_conversation(store: Store, call: ChatCall, name: str) -> Plan:
    """The plan for such a request. Raises `BadRequest` or `NotFound`."""
    conversation = await found_by_name(store, call.identity.tenant, call.conversation_id, name)
    if conversation is None or call.is_temporary:
        raise unknown_conversation(name)
    path: Sequence[Node] = []
    if conversation.tip is not None:
        path = await store.path(conversation.id, conversation.tip)
    gone = (await notes_of(store, conversation)).gone
    leading = _leading(path)
    stand = [node for node in path[:leading] if item_id("msg", node.id, 0) not in gone]
    texts, line = [visible_text(node.fields) for node in stand], path[leading:]
    if not line:
        new, system = call.chat.path.messages, system_with(call, texts)
        if not path:
            return Whole(Outcome.START, conversation, None, new, system=system)
        return Whole(Outcome.START, conversation, path[-1], new, system=system, root=path[0].id)
    carried = await carried_in(store, conversation, line)
    system = system_with(call, [*texts, *(text for _, text in carried)])
    left = await left_in(store, conversation, line, gone)
    again = _asked_again(call, line, left)
    if again is not None:
        parent, end = again
        before = left.of(line[:end])
        plan = Thin(Outcome.RETRY, conversation, parent, (), before, system)
    else:
        told = await calls_told(store, conversation, line[-1])
        plan = newest_behind(call, conversation, line, left, told, system)
    return replace(plan, carried=carried, root=path[0].id)


def _leading(line: Sequence[Node]) -> int:
    """So many system messages it begins with."""
    return next((at for at, node in enumerate(line) if node.role not in SYSTEM_ROLES), len(line))


async def carried_in(store: Store, conversation: Conversation, line: Sequence[Node]) -> tuple[Leading, ...]:
    """The system items of the requests before this one, as the newest response there knows them."""
    stands = {node.id for node in line}
    for each in await store.exchanges(conversation.tenant, conversation.id, limit=NEWEST):
        told = each.detail.told
        if told is not None and stands.intersection(each.detail.replies):
            return leading_in(told)
    return ()


async def refuse_unheld(store: Store, call: ChatCall, plan: Plan) -> None:
    """Raises `BadRequest` for a result of a call that is not in what goes before the request."""
    made: set[str] = set()
    if isinstance(plan, Thin) and plan.line:
        made = calls_made(plan.line) | set(await calls_told(store, plan.conversation, plan.line[-1]))
    refuse_orphans(call.chat.path.messages, made)


def _asked_again(call: ChatCall, line: Sequence[Node], left: Left) -> tuple[Node, int] | None:
    """Behind which message it was asked already, and how many stand before the answer: where it was not
    answered, or its client says that it sends it again. What was taken out since counts as never said."""
    new = [each.digest for each in call.chat.path.messages]
    at = len(line) - len(new)
    if new and at >= 0 and [node.digest for node in line[at:]] == new and left.has(line[at:]):
        return line[-1], len(line)
    is_answered = call.is_sent_again and at >= 1 and line[-1].role == "assistant"
    is_whole = is_answered and left.has(line[at - 1 : -1])
    if new and is_whole and [node.digest for node in line[at - 1 : -1]] == new:
        return line[-2], len(line) - 1
    return None
