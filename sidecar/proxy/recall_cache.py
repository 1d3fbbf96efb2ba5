"""The indexes of what was dropped from the conversations that are under way (`prompt/recall_index.py`).

Bounded by the memory that they take, as they tell it; the one that was longest out of use goes first, and
whichever nobody asked for in ten minutes. An index is found by the hashes that name the fronts of a path, so
a branch never gets what was said on another, and who names a path has all of it in his own request. Only the
fronts at which a cut has stood are kept, and only those of a path are looked at that an index does not have
yet: a long chat costs no more than a short one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sidecar.prompt.recall_index import RecallIndex
from sidecar.prompt.summary import Front

__all__ = ["LineIndex", "RecallCache"]

_PER_FRONT = 150  # bytes of memory
_SILENCE = 600.0  # seconds


@dataclass(slots=True)
class LineIndex:
    """The index of a line, and where the fronts of the path end up to which it was read, by their hashes."""

    index: RecallIndex = field(default_factory=RecallIndex)
    ends: dict[bytes, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes, about."""
        return self.index.size + len(self.ends) * _PER_FRONT

    def is_of(self, cut: Front, before: Iterable[Front]) -> bool:
        """Is it of a line with this front, or of a beginning of it?

        `before`: those in front of it, the longest first.
        """
        if self.ends.get(cut.hash) == cut.end:
            return True
        read = self.index.messages
        last = next((each for each in before if each.end <= read), None)
        return last is not None and last.end == read == self.ends.get(last.hash)


class RecallCache:
    """Indexes by a key that all branches of a line share; at most `room` bytes of memory."""

    def __init__(self, room: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._clock = clock
        self._taken = 0
        #: Each with its size, and when it was put there; the oldest first.
        self._held: OrderedDict[bytes, tuple[LineIndex, int, float]] = OrderedDict()

    def take(self, key: bytes, cut: Front, before: Iterable[Front]) -> LineIndex:
        """The index of a line with this front, or of a beginning of it; an empty one if none is held.

        It is held no longer: who took it may extend it, and puts it back.
        """
        held = self._pop(key)
        return held if held is not None and held.is_of(cut, before) else LineIndex()

    def put(self, key: bytes, cut: Front, line: LineIndex) -> None:
        """Hold an index of a line that was read up to this front at least, if there is room for it."""
        line.ends[cut.hash] = cut.end
        self._pop(key)  # another request may have put its own there meanwhile
        if line.size > self._room:
            return
        self._held[key] = (line, line.size, self._clock())
        self._taken += line.size
        while self._taken > self._room:
            self._pop(next(iter(self._held)))

    def forget_silent(self) -> None:
        """Hold no longer what nobody asked for in a while."""
        end = self._clock() - _SILENCE
        while self._held and self._held[key := next(iter(self._held))][2] < end:
            self._pop(key)

    def _pop(self, key: bytes) -> LineIndex | None:
        held, size, _at = self._held.pop(key, (None, 0, 0.0))
        self._taken -= size
        return held
