"""What a search of a store looks at, what it finds, and how far it came: values for all stores."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from sidecar.conversation.tree import Node
from sidecar.prompt.search_words import Sought
from sidecar.store.postings import breathe, text_with

__all__ = ["EVERYWHERE", "Indexed", "Looked", "Where", "looked_through"]


class Where(msgspec.Struct, frozen=True):
    """Where to look, and for how long: in this tenant's conversations or all, before a place that another
    search came to (`Looked.before`), until so many are found, and for so many seconds."""

    tenant: bytes | None = None
    before: int | None = None
    limit: int = 50
    seconds: float = 1.0


EVERYWHERE = Where()


class Looked(msgspec.Struct, frozen=True):
    """Messages that have all the words, the newest first: the conversation, the id, and what it says.

    `before`: where to go on, None at the end; `unreadable`: how many could not be read.
    """

    found: tuple[tuple[str, bytes, str], ...]
    before: int | None
    unreadable: int = 0


class Indexed(msgspec.Struct, frozen=True):
    """How much of what was said is in the index: `segments` of `full` ones, in so many bytes,
    if they were counted."""

    segments: int
    full: int
    size: int | None


def looked_through(said: Iterable[tuple[int, str, Node]], sought: Sought, where: Where) -> Looked:
    """Look through these messages, each with its number and its conversation, without an index."""
    found: list[tuple[str, bytes, str]] = []
    begun = time.monotonic()
    end = begun + where.seconds
    for number, id, node in sorted(said, key=lambda each: each[0], reverse=True):
        if where.before is not None and number >= where.before:
            continue
        if (text := text_with(sought, node.body)) is not None:
            found.append((id, node.id, text))
        if len(found) == where.limit or time.monotonic() > end:
            return Looked(tuple(found), number)
        begun = breathe(begun)
    return Looked(tuple(found), None)
