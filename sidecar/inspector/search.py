"""What was said, looked for in one conversation after the other, for as long as a page may take.

Rule: the newest come first; it says how far it came, and goes on from there. There is no index, so nothing is
written for it, and what is deleted or encrypted leaves no trace in one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import msgspec

from sidecar.conversation.message import text_of
from sidecar.conversation.overview import Overview, Overviews
from sidecar.conversation.tree import Node
from sidecar.errors import StoreUnavailable
from sidecar.inspector.conversation_list import ConversationRow, list_of
from sidecar.inspector.query import Query, holds, of_exchanges, passes, query_of
from sidecar.inspector.shown import told
from sidecar.store import Store

__all__ = ["Hit", "SearchPage", "search"]

_SECONDS = 1.0
_HITS, _PAGE, _CHUNK = 50, 50, 200
#: Bytes of a message that is looked through, and of a chunk of messages.
_LARGE, _ROOM = 1 << 20, 8 << 20
#: Exchanges of one conversation that are looked at.
_EXCHANGES = 2000
_AROUND = 60


class Hit(msgspec.Struct, frozen=True):
    """A conversation that was found; `message`: the newest message that was, `words`: the place in it."""

    row: ConversationRow
    message: str
    words: str


class SearchPage(msgspec.Struct, frozen=True):
    """`looked`: how many conversations were looked through on this page, of `total`; `next`: where to go on;
    `since`: as far back as that, `limit`: no further back than that (Unix seconds). `partly`: of how many the
    newest exchanges alone were looked at."""

    query: str
    unknown: tuple[str, ...]
    total: int
    looked: int
    unreadable: int
    partly: int
    since: float | None
    limit: float | None
    next: str | None
    hits: tuple[Hit, ...]


class _InPart(Exception):
    """It has more exchanges than are looked at."""


async def search(store: Store, text: str, before: tuple[float, str] | None) -> SearchPage:
    """The conversations in which it is found, from this place of the list on."""
    query, end = query_of(text), time.monotonic() + _SECONDS
    hits: list[Hit] = []
    looked, unreadable, partly, at, is_over, total = 0, 0, 0, before, False, 0
    while not is_over and len(hits) < _HITS and time.monotonic() < end:
        found = await store.overviews(limit=_PAGE, before=at)
        total, is_over = found.total, len(found.conversations) < _PAGE
        for each in found.conversations:
            if query.since is not None and each.updated_at < query.since:
                is_over = True  # all that follow were used earlier
                break
            try:
                hit = await _look(store, query, each)
            except StoreUnavailable:  # what is damaged in one hides no other; how many are is said
                unreadable, hit = unreadable + 1, None
            except _InPart:
                partly, hit = partly + 1, None
            hits += [hit] if hit is not None else []
            looked, at = looked + 1, (each.updated_at, each.id)
            if len(hits) >= _HITS or time.monotonic() > end:
                is_over = is_over and each is found.conversations[-1]
                break
    return SearchPage(
        query=told(text, 500),
        unknown=query.unknown,
        total=total,
        looked=looked,
        unreadable=unreadable,
        partly=partly,
        since=at[0] if at else None,
        limit=query.since,
        next=None if is_over or at is None else f"{at[0]!r}~{at[1]}",
        hits=tuple(hits),
    )


async def _look(store: Store, query: Query, each: Overview) -> Hit | None:
    if not passes(query, each) or not await _has_exchanges(store, query, each):
        return None
    row = list_of(Overviews(1, (each,)), None).rows[0]
    name = f"{each.id} {each.key or ''}".casefold()
    if all(word in name for word in query.words):
        return Hit(row, "", "")
    outline = await store.outline(each.id)
    wanted: list[bytes] = []
    room = _ROOM
    for stem in reversed(outline.stems if outline else ()):
        if stem.size > _LARGE:
            continue
        if len(wanted) == _CHUNK or stem.size > room:
            if (hit := await _in(store, query, row, wanted)) is not None:
                return hit
            wanted, room = [], _ROOM
        wanted.append(stem.id)
        room -= stem.size
    return await _in(store, query, row, wanted)


async def _has_exchanges(store: Store, query: Query, each: Overview) -> bool:
    """Is all true of its exchanges that is asked for? Raises `_InPart` where that is not found out."""
    rules = of_exchanges(query)
    some = [each.last] if each.last is not None else []
    for _ in range(_EXCHANGES // _CHUNK + 1):
        for at in reversed(holds(rules, some)):
            del rules[at]
        if not rules or not some:
            return not rules
        some = await store.exchanges(each.tenant, each.id, limit=_CHUNK, before=some[-1].id)
    raise _InPart


async def _in(store: Store, query: Query, row: ConversationRow, wanted: list[bytes]) -> Hit | None:
    nodes = await store.messages(row.id, wanted)
    found = await asyncio.to_thread(_first, query.words, reversed(nodes))
    return Hit(row, *found) if found is not None else None


def _first(words: tuple[str, ...], nodes: Iterable[Node]) -> tuple[str, str] | None:
    for node in nodes:
        try:
            text = text_of(node.fields)
        except ValueError:  # it is no message, and says nothing
            continue
        folded = text.casefold()
        if all(word in folded for word in words):
            at = max(0, folded.find(words[0]) - _AROUND)
            return node.id.hex(), ("…" if at else "") + told(text[at : at + 4 * _AROUND], 3 * _AROUND)
    return None
