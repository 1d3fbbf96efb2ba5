"""Results at the end of a request that answer no call of its path.

Rule: that is told only where it is sure, so only where all that may have called them could be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from sidecar.conversation.overview import Stem
from sidecar.conversation.tree import Node

__all__ = ["stray_results"]

#: So many messages, and so many bytes of them, are read for it at most.
_MOST, _BYTES = 128, 8 << 20

Read = Callable[[Sequence[Stem]], Awaitable[Mapping[bytes, Node]]]


async def stray_results(path: Sequence[Stem], read: Read) -> list[int]:
    """The places of those results with which the path ends and which answer no call; `read`: gives messages
    by their ids, as far as they can be read."""
    end = len(path)
    while end and path[end - 1].role == "tool":
        end -= 1
    callers = [stem for stem in path[:end] if stem.role == "assistant"]
    if end == len(path) or len(callers) > _MOST or sum(each.size for each in path[end:]) > _BYTES:
        return []
    nodes = await read(path[end:])
    told = {at: _result_of(nodes.get(path[at].id)) for at in range(end, len(path))}
    if None in told.values():
        return []
    for some in (callers[-1:], callers[:-1]):  # mostly the answer right before them called them all
        if not told or sum(each.size for each in some) > _BYTES:
            return []
        nodes = await read(some)
        made = _made_by(nodes.get(each.id) for each in some)
        if made is None:
            return []
        told = {at: id for at, id in told.items() if id not in made}
    return list(told)


def _result_of(node: Node | None) -> str | None:
    """The id of the call that it answers; None if it could not be read."""
    try:
        return str(node.fields.get("tool_call_id")) if node is not None else None
    except ValueError:  # it is no message
        return None


def _made_by(nodes: Iterable[Node | None]) -> set[str] | None:
    """The ids of their calls; None where one could not be read, or has a call without an id, for which
    clients make one up."""
    made: set[str] = set()
    for node in nodes:
        try:
            calls = node.fields.get("tool_calls") if node is not None else None
        except ValueError:  # it is no message
            return None
        if node is None:
            return None
        for call in calls if isinstance(calls, list) else ():
            id = call.get("id") if isinstance(call, dict) else None
            if not id:
                return None
            made.add(str(id))
    return made
