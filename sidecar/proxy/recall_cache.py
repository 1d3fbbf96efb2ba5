"""The indexes of what was dropped from the conversations that are under way (`prompt/recall_index.py`).

Bounded by the memory that they take, as they tell it; the one that was longest out of use goes first. An
index is found by the hashes that name the fronts of a path, so a branch never gets what was said on another,
and who names a path has all of it in his own request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sidecar.prompt.recall_index import RecallIndex
from sidecar.prompt.summary import Front

__all__ = ["LineIndex", "RecallCache"]

_PER_FRONT = 150  # bytes of memory


@dataclass(slots=True)
class LineIndex:
    """The index of a line, and where each front of the path ends that it holds."""

    index: RecallIndex = field(default_factory=RecallIndex)
    ends: dict[bytes, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes, about."""
        return self.index.size + len(self.ends) * _PER_FRONT

    def is_of(self, found: Sequence[Front]) -> bool:
        """Is it of a line with these fronts, of its beginning, or of one that goes on from there?"""
        if self.ends.get(found[-1].hash) == found[-1].end:
            return True
        shared = next((each for each in reversed(found) if each.hash in self.ends), None)
        return shared is not None and shared.end == self.ends[shared.hash] == self.index.messages


class RecallCache:
    """Indexes by the first front of their line; at most `room` bytes of memory."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._taken = 0
        self._held: OrderedDict[bytes, tuple[LineIndex, int]] = OrderedDict()

    def take(self, found: Sequence[Front]) -> LineIndex:
        """The index of a line with these fronts, or of its beginning; an empty one if none is held.

        It is held no longer: who took it may extend it, and puts it back.
        """
        held, size = self._held.pop(found[0].hash, (LineIndex(), 0))
        self._taken -= size
        return held if held.is_of(found) else LineIndex()

    def put(self, found: Sequence[Front], line: LineIndex) -> None:
        """Hold an index that is of a line with these fronts now, if there is room for it."""
        line.ends.update((each.hash, each.end) for each in found)
        self.take(found[:1])  # another request may have put its own there meanwhile
        if line.size > self._room:
            return
        self._held[found[0].hash] = (line, line.size)
        self._taken += line.size
        while self._taken > self._room:
            _, (_, size) = self._held.popitem(last=False)
            self._taken -= size
