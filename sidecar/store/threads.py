"""A thread as a row, in the same columns in every database.

Rules: names of tools are one piece of bytes, a JSON array; the rest are columns. What two stores know of one
root comes together in the order of their times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.conversation.records import Thread, joined
from sidecar.errors import StoreUnavailable

__all__ = ["THREAD", "row_of", "size_of", "thread_of", "together"]

#: In the order of the fields of `Thread`.
THREAD = ("root", "head", "system", "model", "tools", "is_answered", "is_thin", "is_whole", "updated_at")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, ...]).decode


def row_of(thread: Thread) -> tuple[Any, ...]:
    """Its values, in the order of `THREAD`."""
    return (
        thread.root,
        thread.head,
        thread.system,
        thread.model,
        _encode(thread.tools),
        thread.is_answered,
        thread.is_thin,
        thread.is_whole,
        thread.updated_at,
    )


def thread_of(conversation: str, row: Sequence[Any]) -> Thread:
    """The thread of such a row. Raises `StoreUnavailable` if its tools are damaged."""
    root, head, system, model, tools, is_answered, is_thin, is_whole, updated_at = row
    try:
        names = _decode(tools)
    except ValueError as error:
        raise StoreUnavailable(
            f"the thread of b2:{root.hex()} in conversation {conversation} is not what was written there"
        ) from error
    flags = bool(is_answered), bool(is_thin), bool(is_whole)
    return Thread(root, head, system, model, names, *flags, updated_at)


def size_of(thread: Thread) -> int:
    """How many bytes it takes up: its system messages and the names of its tools."""
    return len(thread.system or b"") + len(_encode(thread.tools))


def together(held: Thread | None, other: Thread) -> Thread:
    """What becomes of a root of which two stores know: as if both had been recorded in the order of their
    times; where these are the same, `other` last."""
    if held is not None and held.updated_at > other.updated_at:
        return joined(other, held)
    return joined(held, other)
