"""In which words the client's copies of what is stored differ from that, where its request is kept.

Rule: a copy is compared with the message in whose place it stands; if that is not sure, none is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import text_of
from sidecar.conversation.overview import Stem
from sidecar.conversation.tree import Node

__all__ = ["Copy", "copies_of", "pair_of"]

_OF_UPSTREAM = ("assistant", "tool", "function")
_IN_FRONT = ("system", "developer")


class Copy(msgspec.Struct, frozen=True):
    """A message as the client sent it, and the stored one in whose place it stands; `number` from 1."""

    number: int
    stem: Stem
    sent: dict[str, Any]


def copies_of(exchange: Exchange, path: Sequence[Stem], body: bytes) -> list[Copy]:
    """What the client sent of answers and results that went in their stored form; `path`: the messages that
    the request ended with, `body`: of the request."""
    sent = exchange.detail.sent
    if sent is None or sent.rule != "restored":
        return []
    try:
        told = msgspec.json.decode(body)
        messages = told["messages"]
        own = [dict(each) for each in messages]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    while own and own[0].get("role") in _IN_FRONT:
        del own[0]
    first = len(path) - len(own)
    if first < 0 or [each.get("role") for each in own] != [stem.role for stem in path[first:]]:
        return []
    return [
        Copy(at, stem, each)
        for at, (stem, each) in enumerate(zip(path[first:], own, strict=True), first + 1)
        if stem.role in _OF_UPSTREAM
    ]


def pair_of(copy: Copy, node: Node) -> tuple[str, str] | None:
    """What both say, the client's first; where that is the same, all of them; None where nothing differs."""
    try:
        stored = node.fields
        texts = text_of(copy.sent), text_of(stored)
    except ValueError:  # one is no message
        return None
    if texts[0] != texts[1]:
        return texts
    if copy.sent == stored:
        return None
    own, kept = (_laid_out(each) for each in (copy.sent, stored))
    return (own, kept) if own != kept else None


def _laid_out(message: Mapping[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(dict(sorted(message.items()))), indent=1).decode()
