"""One thing to know about a set-up: what was found, what it means, what to set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding", "change", "hint"]


@dataclass(slots=True, frozen=True)
class Finding:
    """`level`: `change` is wrong as it is; `hint` works, and could be better. `code` is for programs."""

    code: str
    level: Literal["change", "hint"]
    found: str
    cure: str
    #: Is the cure to set the headers of the connection, which the report spells out?
    by_headers: bool = False

    def as_json(self) -> dict[str, Any]:
        """The finding as an object of the report."""
        return asdict(self)


def change(code: str, found: str, cure: str, *, by_headers: bool = False) -> Finding:
    """A finding that has to be acted on."""
    return Finding(code, "change", found, cure, by_headers)


def hint(code: str, found: str, cure: str, *, by_headers: bool = False) -> Finding:
    """A finding that may be left as it is."""
    return Finding(code, "hint", found, cure, by_headers)
