"""The new messages of a request as nodes: what is stored of it beside the reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import is_

from sidecar.conversation.message import SYSTEM_ROLES
from sidecar.conversation.tree import Chain, Message, Node
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import RecordedPlan

__all__ = ["client_nodes", "new_nodes", "other_ends", "phases_of"]


def new_nodes(call: ChatCall, plan: RecordedPlan, arrived: float) -> list[Node]:
    """The request's new messages, as nodes under the place where the request continues.

    `arrived`: when the request did, in Unix seconds. Their ids do not depend on it: those of a request that
    is sent again are the same.
    """
    nodes: list[Node] = []
    parent, chain, path = plan.parent, call.chain, call.chat.path
    at = len(path) - len(plan.new)
    hashes, exacts = _told(call, plan, at)
    for number, message in enumerate(plan.new):
        newest = message is path.messages[-1]
        parent = Node(
            chain.message_id(parent, message.digest, hashes[number] if hashes else None),
            parent.id if parent else None,
            message.digest,
            exacts[number] if exacts else chain.exact(parent.exact if parent else b"", message),
            message.role,
            message.raw,
            source="client",
            state="complete",
            created_at=arrived,
            message_id=call.identity.user_message_id if newest and message.role == "user" else None,
        )
        nodes.append(parent)
    return nodes


def client_nodes(
    chain: Chain, parent: Node | None, messages: Iterable[Message], arrived: float
) -> list[Node]:
    """Messages of a client as nodes behind `parent`, where no request tells their hashes. `arrived`: in Unix
    seconds."""
    nodes: list[Node] = []
    for message in messages:
        parent = Node(
            chain.message_id(parent, message.digest),
            parent.id if parent else None,
            message.digest,
            chain.exact(parent.exact if parent else b"", message),
            message.role,
            message.raw,
            source="client",
            state="complete",
            created_at=arrived,
        )
        nodes.append(parent)
    return nodes


def phases_of(call: ChatCall, plan: RecordedPlan, nodes: Sequence[Node]) -> tuple[tuple[bytes, str], ...]:
    """The phases of those of the request's new messages that have one, by what they became."""
    chat = call.chat
    if not chat.phases:
        return ()
    at = len(chat.system) + len(chat.path) - len(plan.new)
    return tuple(
        (node.id, phase) for place, node in enumerate(nodes, at) if (phase := chat.phases.get(place))
    )


def _told(call: ChatCall, plan: RecordedPlan, at: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The hashes of the new messages, chain and exact chain, where the client has told them: as far
    as its path is the stored one up to their place. Nothing of a chain that is not."""
    path, parent = call.chat.path, plan.parent
    if not all(map(is_, plan.new, path.messages[at:])):
        return (), ()
    hash, exact = (path.hashes[at - 1], path.exacts[at - 1]) if at else (b"", b"")
    known_hash, known_exact = (parent.hash, parent.exact) if parent else (b"", b"")
    return (
        path.hashes[at:] if hash == known_hash else (),
        path.exacts[at:] if exact == known_exact else (),
    )


def other_ends(call: ChatCall, plan: RecordedPlan) -> list[bytes]:
    """By which hashes a client may go on from this request, beside that of its path: with the system messages
    behind its newest question where they are, and without any that stand amid the others."""
    chat, chain, hash = call.chat, call.chain, None
    ends: list[bytes] = []
    if chat.tail and chat.path.hashes:
        hash = chat.path.hashes[-1]
        for each in chat.tail:
            hash = chain.hash(hash, each.digest)
        ends.append(hash)
    if any(each.role in SYSTEM_ROLES for each in plan.new):
        hash = None
        for each in chat.path.messages:
            hash = hash if each.role in SYSTEM_ROLES else chain.hash(hash, each.digest)
        ends.append(hash or b"")  # the first of a path is none of them
    return ends
