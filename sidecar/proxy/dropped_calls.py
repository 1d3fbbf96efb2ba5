"""Which calls has a client dropped on purpose? Those that it once carried into a later turn.

A client that flattens an answer does so from the next turn on: its request for that turn is remembered, with
the hash of its own history up to the flattened answer. Where this hash is not known, but later turns are,
they were asked with the calls: what was dropped after that (context editing, hand-offs) stays away.

A client drops the oldest calls first. So the answers that are known as flattened are the last ones, and where
they begin is found with few look-ups: with one, where all are.
"""

from __future__ import annotations

from sidecar.conversation.echo import Step
from sidecar.conversation.tree import Conversation, Path
from sidecar.store import Store

__all__ = ["without_dropped"]


async def without_dropped(
    store: Store, conversation: Conversation, path: Path, steps: tuple[Step, ...]
) -> tuple[Step, ...]:
    """The steps, but for those whose calls the client does not want any more."""
    asked = [at for at, step in enumerate(steps) if step and step[0].role == "user"]
    flat = [at for at, step in enumerate(steps) if len(step) > 1 and asked and at < asked[-1]]
    first, end = 0, len(flat)
    while first < end:
        middle = (first + end) // 2 if first or end < len(flat) else 0
        found = await store.find(conversation.tenant, [conversation.id], [path.hashes[flat[middle]]])
        first, end = (first, middle) if found.nodes else (middle + 1, end)
    dropped = set(flat[:first])
    return tuple(() if at in dropped else step for at, step in enumerate(steps)) if dropped else steps
