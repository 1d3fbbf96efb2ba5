"""What was said, looked for in one conversation after the other while a page may take that, or by an index.

Rule: the newest come first; it says how far it came, and goes on from there. Without an index these are the
conversations that were used last, and parts of words are found; with one, the messages that came last, and
words are found by how they begin (`sidecar/prompt/search_words.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import text_of
from sidecar.conversation.overview import Overview, Overviews
from sidecar.conversation.tree import Node
from sidecar.doctor.outages import Missing
from sidecar.errors import StoreUnavailable
from sidecar.inspector.conversation_list import ConversationRow, LostRow, before_of, list_of
from sidecar.inspector.marks import RECENT
from sidecar.inspector.query import Query, holds, is_said, of_exchanges, passes, query_of
from sidecar.inspector.shown import told
from sidecar.prompt.search_words import Sought
from sidecar.store import Store
from sidecar.store.searched import Indexed, Where

__all__ = ["Hit", "SearchPage", "find", "search"]

_SECONDS = 1.0
_HITS, _PAGE, _CHUNK = 50, 50, 200
#: Bytes of a message that is looked through, and of a chunk of messages.
_LARGE, _ROOM = 1 << 20, 8 << 20
#: Exchanges of one conversation that are looked at.
_EXCHANGES = 2000
_AROUND = 60
Lost = Mapping[str, Missing]
_NONE_LOST: Lost = {}


class Hit(msgspec.Struct, frozen=True):
    """A conversation that was found; `message`: the newest message that was, `words`: the place in it;
    `lost`: when the store failed for it, and that something of it is missing since."""

    row: ConversationRow
    message: str
    words: str
    lost: tuple[str, ...] = ()


class SearchPage(msgspec.Struct, frozen=True):
    """`looked`: how many conversations were looked through on this page, of `total`; `next`: where to go on;
    `since`: as far back as that, `limit`: no further back than that (Unix seconds). `partly`: of how many the
    newest exchanges alone were looked at. `index`: by what it was found, if there is one; then `looked` and
    `since` say nothing. `outages`, `lost_of`: as in the list, where what is looked for may be missing."""

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
    index: Indexed | None = None
    outages: tuple[str, ...] = ()
    lost_of: tuple[LostRow, ...] = ()


class _InPart(Exception):
    """It has more exchanges than are looked at."""


async def find(
    store: Store, text: str, before: str, *, by_index: bool, lost: Lost = _NONE_LOST
) -> SearchPage:
    """What is found, from where `SearchPage.next` says; by the index, if there is one and words are given.
    `lost`: of which conversations something is missing since the store failed, and what to say of each."""
    sought = Sought(" ".join(query_of(text).words))
    if not by_index or not store.may_index or not sought.pieces:
        return await search(store, text, before_of(before), lost)
    number = before.removeprefix("said~")
    is_place = number.isascii() and number.isdigit() and len(number) < 16
    return await _by_index(store, text, sought, int(number) if is_place else None, lost)


async def _by_index(store: Store, text: str, sought: Sought, before: int | None, lost: Lost) -> SearchPage:
    query, end = query_of(text), time.monotonic() + _SECONDS
    hits: dict[str, Hit | None] = {}
    partly = unreadable = 0
    named = await store.overview(query.words[0]) if before is None and len(query.words) == 1 else None
    if named is not None:
        hits[named.id] = Hit(await _row(store, named, lost), "", "", _said_of(lost, named.id))
    at, is_over = before, False
    while not is_over and (wanted := _HITS - sum(map(bool, hits.values()))) > 0:
        if (left := end - time.monotonic()) <= 0:
            break
        looked = await store.look_for(sought, Where(before=at, limit=wanted, seconds=left))
        unreadable += looked.unreadable
        for id, message, said in looked.found:
            if id in hits or (query.phrases and not is_said(query.phrases, said)):
                continue
            each = await store.overview(id)
            try:
                is_it = each is not None and _is_since(query, each) and _passes(query, each, lost)
                is_it = is_it and each is not None and await _has_exchanges(store, query, each, lost)
            except _InPart:
                partly, is_it = partly + 1, False
            row = await _row(store, each, lost) if is_it and each is not None else None
            # Where it stands takes milliseconds to find in a long message.
            place = await asyncio.to_thread(sought.place_in, said) if row else 0
            hits[id] = Hit(row, message.hex(), _around(said, place), _said_of(lost, id)) if row else None
        at, is_over = looked.before, looked.before is None
    return SearchPage(
        query=told(text, 500),
        unknown=query.unknown,
        total=(await store.overviews(limit=1)).total,
        looked=len(hits),
        unreadable=unreadable,
        partly=partly,
        since=None,
        limit=query.since,
        next=None if at is None else f"said~{at}",
        hits=tuple(each for each in hits.values() if each is not None),
        index=await store.indexed(sized=False),
    )


def _said_of(lost: Lost, id: str) -> tuple[str, ...]:
    return lost[id].said if id in lost else ()


def _passes(query: Query, each: Overview, lost: Lost) -> bool:
    return passes(query, each, is_refused=each.id in lost and lost[each.id].refused > 0)


def _is_since(query: Query, each: Overview) -> bool:
    return query.since is None or each.updated_at >= query.since


def _around(text: str, at: int) -> str:
    """The words around this place."""
    at = max(0, at - _AROUND)
    return ("…" if at else "") + told(text[at : at + 4 * _AROUND], 3 * _AROUND)


async def search(
    store: Store, text: str, before: tuple[float, str] | None, lost: Lost = _NONE_LOST
) -> SearchPage:
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
                hit = await _look(store, query, each, lost)
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


async def _row(store: Store, each: Overview, lost: Lost) -> ConversationRow:
    """As it stands in the list: its newest exchanges are read for what is found alone."""
    try:
        recent = await store.exchanges(each.tenant, each.id, limit=RECENT) if each.exchanges > 1 else []
    except StoreUnavailable:  # what is damaged hides nothing else
        recent = []
    earlier = tuple(one for one in recent if each.last is not None and one.id != each.last.id)
    return list_of(Overviews(1, (replace(each, earlier=earlier),)), None, lost).rows[0]


async def _look(store: Store, query: Query, each: Overview, lost: Lost) -> Hit | None:
    if not _passes(query, each, lost) or not await _has_exchanges(store, query, each, lost):
        return None
    found = await _said(store, query, each)
    if found is None:
        return None
    return Hit(await _row(store, each, lost), *found, _said_of(lost, each.id))


async def _said(store: Store, query: Query, each: Overview) -> tuple[str, str] | None:
    """The newest message in which the words stand, and where in it; both empty where its name has them."""
    name = f"{each.id} {each.key or ''}".casefold()
    if all(word in name for word in query.words):
        return "", ""
    outline = await store.outline(each.id)
    wanted: list[bytes] = []
    room = _ROOM
    for stem in reversed(outline.stems if outline else ()):
        if stem.size > _LARGE:
            continue
        if len(wanted) == _CHUNK or stem.size > room:
            if (hit := await _in(store, query, each.id, wanted)) is not None:
                return hit
            wanted, room = [], _ROOM
        wanted.append(stem.id)
        room -= stem.size
    return await _in(store, query, each.id, wanted)


async def _has_exchanges(store: Store, query: Query, each: Overview, lost: Lost) -> bool:
    """Is all true of its exchanges that is asked for? Raises `_InPart` where that is not found out."""
    rules = of_exchanges(query, is_lost=each.id in lost)
    some = [each.last] if each.last is not None else []
    waiting: list[Exchange] = []  # the one that is still to be compared with one before it
    for _ in range(_EXCHANGES // _CHUNK + 1):
        looked = [*waiting, *some]
        for at in reversed(holds(rules, looked)):
            del rules[at]
        if not rules or not some:
            return not rules
        waiting = [one for one in looked if one.detail.replies][-1:]
        some = await store.exchanges(each.tenant, each.id, limit=_CHUNK, before=some[-1].id)
    raise _InPart


async def _in(store: Store, query: Query, id: str, wanted: list[bytes]) -> tuple[str, str] | None:
    nodes = await store.messages(id, wanted)
    return await asyncio.to_thread(_first, query.words, reversed(nodes))


def _first(words: tuple[str, ...], nodes: Iterable[Node]) -> tuple[str, str] | None:
    for node in nodes:
        try:
            text = text_of(node.fields)
        except ValueError:  # it is no message, and says nothing
            continue
        if is_said(words, text):
            return node.id.hex(), _around(text, max(0, _place(text, text.casefold(), words[0])))
    return None


def _place(text: str, folded: str, word: str) -> int:
    """Where a word of the folded text stands in the text, whose characters may fold to more than one."""
    at = folded.find(word)
    if len(folded) == len(text):
        return at
    for place, each in enumerate(text):
        at -= len(each.casefold())
        if at < 0:
            return place
    return 0
