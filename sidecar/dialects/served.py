"""The APIs that are served, and which of them a path belongs to."""

from __future__ import annotations

from sidecar.dialects.base import Dialect
from sidecar.dialects.chat.dialect import CHAT

__all__ = ["DIALECTS", "dialect_of"]

#: Those that every upstream speaks by itself.
DIALECTS: tuple[Dialect, ...] = (CHAT,)


def dialect_of(path: str, dialects: tuple[Dialect, ...] = DIALECTS) -> Dialect | None:
    """The API whose requests come to this path; None for a path that is passed through."""
    for dialect in dialects:
        if path.endswith(dialect.path):
            return dialect
    return None
