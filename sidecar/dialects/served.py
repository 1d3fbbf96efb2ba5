"""The APIs that are served wherever an upstream is asked, and which of them a path belongs to."""

from __future__ import annotations

from sidecar.dialects.base import Dialect
from sidecar.dialects.chat.dialect import CHAT

__all__ = ["DIALECTS", "dialect_of"]

#: Whatever the settings and the upstream. Responses is not among them: an upstream may serve it by itself.
DIALECTS: tuple[Dialect, ...] = (CHAT,)


def dialect_of(path: str) -> Dialect | None:
    """The API whose requests come to this path; None for any other path."""
    for dialect in DIALECTS:
        if path.endswith(dialect.path):
            return dialect
    return None
