"""The shape of a tree: the path to a message, what stands beside it, and the runs between its branches.

Rule: all of it is found without recursion and in one walk over the tree, which may have 100,000 messages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.conversation.overview import Stem
from sidecar.inspector.shown import told

__all__ = ["MAX_POINTS", "MAX_RUNS", "Beside", "BranchPoint", "Run", "Shape"]

#: Runs that are told; of more it is said how many there are.
MAX_RUNS = 200
#: The same of branch points.
MAX_POINTS = 50


class Run(msgspec.Struct, frozen=True):
    """Messages of which each is followed by one alone. `first`, `at`: the ids of the first and of the last of
    them, `words`: how they begin; `depth`: how many branches lie above; `is_shown`: they are part of the path
    that is shown. Times in Unix seconds."""

    first: str
    at: str
    depth: int
    messages: int
    began: float
    ended: float
    role: str
    state: str
    is_shown: bool
    is_end: bool
    words: str = ""


class Beside(msgspec.Struct, frozen=True):
    """Where a message stands among those that follow the same one: `number` of `of`, from 1, the oldest
    first; and the ids of the one before and of the one after."""

    number: int
    of: int
    before: str | None
    after: str | None


class BranchPoint(msgspec.Struct, frozen=True):
    """A message of a path beside which there are others; `number` on the path, from 1."""

    number: int
    id: str
    role: str
    beside: Beside


class Shape:
    """The tree of these stems, in the order of recording."""

    def __init__(self, stems: Sequence[Stem]) -> None:
        self.stems = stems
        self._place = {stem.id: at for at, stem in enumerate(stems)}
        self._children: dict[bytes | None, list[Stem]] = {}
        for stem in stems:
            self._children.setdefault(self._parent(stem), []).append(stem)

    def _parent(self, stem: Stem) -> bytes | None:
        return stem.parent if stem.parent in self._place else None

    def find(self, id: bytes) -> Stem | None:
        """The message with this id, or the newest whose id begins with this hash."""
        place = self._place.get(id)
        if place is not None:
            return self.stems[place]
        return next((each for each in reversed(self.stems) if id and each.id.startswith(id)), None)

    def path(self, at: Stem | None) -> list[Stem]:
        """From the root to this one, both included."""
        line: list[Stem] = []
        while at is not None:
            line.append(at)
            parent = self._parent(at)
            at = self.stems[self._place[parent]] if parent is not None else None
        return line[::-1]

    def end(self, at: Stem) -> Stem:
        """Where the newest branch below this one ends."""
        while children := self._children.get(at.id):
            at = children[-1]
        return at

    def beside(self, stem: Stem) -> Beside | None:
        """Its place among its siblings; None where it has none."""
        siblings = self._children[self._parent(stem)]
        if len(siblings) == 1:
            return None
        at = siblings.index(stem)
        return Beside(
            number=at + 1,
            of=len(siblings),
            before=siblings[at - 1].id.hex() if at else None,
            after=siblings[at + 1].id.hex() if at + 1 < len(siblings) else None,
        )

    def branch_points(self, path: Sequence[Stem]) -> tuple[tuple[BranchPoint, ...], int]:
        """Where this path has others beside it, the last ones, and how many there are."""
        places = [at for at, each in enumerate(path) if len(self._children[self._parent(each)]) > 1]
        points = []
        for at in places[-MAX_POINTS:]:
            if (beside := self.beside(path[at])) is not None:
                points.append(BranchPoint(at + 1, path[at].id.hex(), told(path[at].role, 40), beside))
        return tuple(points), len(places)

    def runs(self, shown: Sequence[Stem]) -> tuple[tuple[Run, ...], int]:
        """The runs, each under the one that it branches off, and how many there are; of too many those that
        are shown, and the first of the others."""
        on_path = {stem.id for stem in shown}
        told: list[Run] = []
        count, hidden = 0, MAX_RUNS
        todo = [(root, 0) for root in reversed(self._children.get(None, []))]
        while todo:
            first, depth = todo.pop()
            last, messages = first, 1
            while len(children := self._children.get(last.id, [])) == 1:
                last, messages = children[0], messages + 1
            todo += [(child, depth + 1) for child in reversed(children)]
            count += 1
            is_shown = first.id in on_path
            hidden -= not is_shown
            if hidden >= 0 or is_shown:
                told.append(_run(first, last, depth, messages, is_shown, not children))
        return tuple(told[: 2 * MAX_RUNS]), count


def _run(first: Stem, last: Stem, depth: int, messages: int, is_shown: bool, is_end: bool) -> Run:
    return Run(
        first=first.id.hex(),
        at=last.id.hex(),
        depth=depth,
        messages=messages,
        began=first.created_at,
        ended=last.created_at,
        role=told(last.role, 40),
        state=last.state,
        is_shown=is_shown,
        is_end=is_end,
    )
