"""Which member of a target gets a request: pure, so the same on every sidecar.

Rules: a chat goes to the member that comes first by a hash of its session and the member's name (rendezvous
hashing), so that it stays where its prompt is cached, without a memory, and a member that leaves moves its
own chats alone. It stays there as long as the member has room for it, where it is known how many requests a
member answers at once. Where that is not known, or none has room, a member that has more requests than a
quarter above the mean is passed over, for a cache is not worth a queue. What belongs to no chat goes to the
one that has least to do. A new chat goes by its hash as well, though others have more room: what was chosen
by the load of a moment no other sidecar could tell, nor this one after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

__all__ = ["bound", "by_hash", "in_order"]

# A member may have so much more than the mean, and so many requests in any case.
_SPREAD = 1.25
_LEAST = 2


def by_hash(session: str, members: Iterable[str]) -> list[str]:
    """The members in the order in which this session prefers them."""
    key = blake2b(session.encode(), digest_size=32).digest()
    ranks = {each: blake2b(each.encode(), key=key, digest_size=8).digest() for each in members}
    return sorted(ranks, key=ranks.__getitem__, reverse=True)


def bound(under_way: int, members: int) -> int:
    """How many requests one of so many members may have, with one more than are under way now."""
    return max(_LEAST, -int(-_SPREAD * (under_way + 1) // members))


def in_order(session: str | None, loads: Mapping[str, int], room: int | None = None) -> list[str]:
    """The members in the order in which a request is to be tried there; `loads`: what each has under way,
    `room`: how many requests each of them answers at once, if that is known."""
    if session is None:
        return sorted(loads, key=loads.__getitem__)
    order = by_hash(session, loads)
    under_way = loads.values()
    most = room if room is not None and min(under_way) < room else bound(sum(under_way), len(loads))
    if max(under_way) < most:  # as mostly
        return order
    return sorted(order, key=lambda member: loads[member] >= most)
