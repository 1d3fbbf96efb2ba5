"""Under which hashes a turn is found again, beside those of its own messages: where the client's chain has
left ours, and where a chat names itself by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.conversation.find_by_history import hash_of_text, hash_of_user, key_of_branch
from sidecar.conversation.tree import Node
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import other_ends
from sidecar.exchange.plan import RecordedPlan, Thin, Whole

__all__ = ["Echo", "echoes_of"]

#: A hash, and the id of the message that it names.
Echo = tuple[bytes, bytes]


def echoes_of(
    call: ChatCall, plan: RecordedPlan, asked: Sequence[Node], replies: Sequence[Node]
) -> tuple[Echo, ...]:
    """Under which hashes the client will name these nodes, where they are not their own."""
    path, chain = call.chat.path, call.chain
    if isinstance(plan, Thin) or not path.hashes:
        return ()
    nodes = [plan.parent, *asked] if plan.parent else [*asked]
    echoes: list[Echo] = []
    if nodes and nodes[-1].hash != path.hashes[-1]:  # the last hash covers all those above
        known = zip(reversed(path.hashes), reversed(nodes), strict=False)
        echoes = [(hash, node.id) for hash, node in known if hash != node.hash]
        echoes += [(chain.hash(path.hashes[-1], reply.digest), reply.id) for reply in replies]
    for end in other_ends(call, plan):
        echoes += [(chain.hash(end, reply.digest), reply.id) for reply in replies]
    if call.chat.user is not None and call.identity.key is None:
        named = [(node.hash, node.id) for node in (*asked, *replies)]
        echoes += _by_user(call, call.chat.user, [*echoes, *named])
    return (*echoes, *_by_session(call, plan, asked, replies), *_by_text(call, replies))


def _by_user(call: ChatCall, user: str, told: Sequence[Echo]) -> list[Echo]:
    """By what alone a chat without an id is found whose requests name a user."""
    chain, last = call.chain, [id for _hash, id in told[-1:]]
    marks = [(hash_of_user(chain, each), id) for each in (user, None) for id in last]
    return [(hash_of_user(chain, user, hash), id) for hash, id in told] + marks


def _by_text(call: ChatCall, replies: Sequence[Node]) -> list[Echo]:
    """A chat that names itself by nothing may be known by its answers alone, however they are spelled."""
    if call.identity.key is not None:
        return []
    return [(hash_of_text(call.chain, node.fields), node.id) for node in replies]


def _by_session(
    call: ChatCall, plan: RecordedPlan, asked: Sequence[Node], replies: Sequence[Node]
) -> list[Echo]:
    """By what is found in which branch with a session of its own a message stands."""
    branch = plan.branch if isinstance(plan, Whole) else None
    if branch is None:
        return []
    stands = [b"", *(node.id for node in (*asked, *replies))]
    return [(key_of_branch(call.chain, each), branch) for each in stands]
