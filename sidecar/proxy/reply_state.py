"""Whether a reply is whole: by its finish reason, else by how its response ended."""

from __future__ import annotations

from sidecar.conversation.tree import State
from sidecar.dialects.base import Assembled, Reply

__all__ = ["EndsTold", "state_of"]

_MOST = 1000  # upstreams, each with each of its models


class EndsTold:
    """Which upstreams say themselves where a reply ends; there are some that never do."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def note(self, target: str, model: str, assembled: Assembled) -> None:
        """This is what has come of one reply."""
        if len(self._known) < _MOST and (
            assembled.done or any(each.finish_reason for each in assembled.replies)
        ):
            self._known.add((target, model))

    def would(self, target: str, model: str) -> bool:
        """Would it have said so of a reply that was whole?"""
        return (target, model) in self._known


def state_of(reply: Reply, assembled: Assembled, ended: State, *, is_end_told: bool) -> State:
    """A reply with its finish reason is whole, whatever became of the connection after that, unless the
    upstream told of an error, or went on after the reason. Without one the end of the response decides; of a
    stream that was not ended by its own rules, and held what is no JSON or would have had its end told, that
    was no clean end."""
    if reply.failed or assembled.error is not None:
        return "failed"
    if reply.settled:
        return "complete"
    is_odd = (assembled.ignored or is_end_told) and not assembled.done and reply.finish_reason is None
    return "failed" if is_odd and ended == "complete" else ended
