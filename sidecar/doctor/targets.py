"""How each of several targets is, and each of its members."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOT_REACHABLE", "OUT", "REACHABLE", "TargetState"]

#: `OUT`: its last answers were failures, and it rests for a while.
REACHABLE, NOT_REACHABLE, OUT = "reachable", "not reachable", "out"


class TargetState(NamedTuple):
    """`members`: the state of each of its URLs, in their order."""

    name: str
    state: str
    members: tuple[tuple[str, str], ...]

    @property
    def missing(self) -> list[str]:
        """The members that serve nobody now."""
        return [key for key, state in self.members if state != REACHABLE]
