"""Two first messages that a user sends at once: both are said, one exchange after the other.

Each began a root of its own, for neither held the other. Once the user goes on, what stands under the later
one is put behind the earlier one, where all that follows goes: as copies, whose ids do not depend on who
makes them, so that it is done once on however many replicas.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.conversation.records import Thread
from sidecar.conversation.tree import HASH_SIZE, Chain, Node, Tree

__all__ = ["moved_behind", "sent_at_once"]

_TWO = 2


def sent_at_once(group: Sequence[Thread], tree: Tree) -> tuple[Thread, Sequence[Node]] | None:
    """Of exactly two roots, if one began while the other was running: the earlier one, and the line that has
    yet to stand behind it."""
    lines = [(tree.line(each.head), each) for each in group if each.head is not None]
    begun = sorted(
        ((line, each) for line, each in lines if line and line[0].id == each.root),
        key=lambda each: each[0][0].created_at,
    )
    if len(begun) != _TWO or len(group) != _TWO:
        return None
    (line, first), (after, _second) = begun
    ends = [each.created_at for each in tree.children(line[0]) if each.source == "upstream"]
    if after[0].created_at >= min(ends, default=first.updated_at):
        return None
    is_moved = any((each.digest, each.created_at) == (after[0].digest, after[0].created_at) for each in line)
    return first, () if is_moved else after


def moved_behind(chain: Chain, head: Node, line: Sequence[Node]) -> tuple[Node, ...]:
    """Copies of this line behind another node."""
    moved: list[Node] = []
    for each in line:
        told = chain.message(each.body)
        id = (
            chain.message_id(head, told.digest)
            if each.source == "client"
            else chain.reply_id(head, told.digest, each.id[HASH_SIZE:])
        )
        exact = chain.exact(head.exact, told)
        head = replace(each, id=id, parent=head.id, exact=exact, message_id=None)
        moved.append(head)
    return tuple(moved)
