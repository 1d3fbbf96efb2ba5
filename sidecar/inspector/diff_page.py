"""In which words a prompt differs from the one of the exchange before it, as far as these words are kept.

Rule: nothing is guessed. Two messages are compared where the paths of the two exchanges part; two system
prompts, where what is kept of them is what was sent, which their hashes tell.
"""

from __future__ import annotations

import asyncio

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import text_of
from sidecar.conversation.overview import Stem
from sidecar.conversation.tree import Node
from sidecar.errors import NotFound
from sidecar.exchange.client_request import body_of, request_of
from sidecar.inspector.limit import limit_of
from sidecar.inspector.restored import copies_of, pair_of
from sidecar.inspector.shown import told
from sidecar.inspector.system_diff import system_diff
from sidecar.inspector.tree_shape import Shape
from sidecar.inspector.wording import CAUSES, edited
from sidecar.inspector.words import Change, Compared, compared
from sidecar.printable import printable
from sidecar.settings.trimming import Trim
from sidecar.store import Store

__all__ = ["DiffPage", "DiffPart", "diff_page"]

#: Bytes of a message that is compared.
_LARGE = 1 << 20
#: Of the client's copies those that are compared, and those that are shown.
_COPIES, _RESTORED = 200, 5


class DiffPart(msgspec.Struct, frozen=True):
    """Two texts. `old`, `new`: the messages, if they are any; `note`: what to know of them."""

    title: str
    note: str
    old: str
    new: str
    changes: tuple[Change, ...]
    is_cut: bool


class DiffPage(msgspec.Struct, frozen=True):
    """The page; without parts nothing of what differs is kept. `limit`: why something was left out.
    `restored`: what the client sent, and what went in its place, as far as the request is kept."""

    conversation: str
    exchange: str
    before: str
    cause: str
    why: str
    parts: tuple[DiffPart, ...]
    limit: str = ""
    restored: tuple[DiffPart, ...] = ()


async def diff_page(store: Store, id: str, name: bytes, trim: Trim | None = None) -> DiffPage:
    """In which words this exchange differs from the one before it; `trim`: the settings that are in force."""
    outline = await store.outline(id)
    if outline is None:
        raise NotFound("there is no such conversation: it was deleted, or never was here")
    tenant = outline.conversation.tenant
    exchange = await store.exchange(tenant, id, name)
    if exchange is None:
        raise NotFound("there is no such exchange in this conversation; it may have been deleted")
    earlier = await store.exchanges(tenant, id, limit=1, before=name)
    shape = await asyncio.to_thread(Shape, outline.stems)
    restored = await _restored(store, id, tenant, shape, exchange)
    if not earlier and not restored:
        raise NotFound("there is no exchange before this one in its conversation")
    parts: list[DiffPart] = []
    for before in earlier:
        parts += await _system(store, tenant, before, exchange)
        parts += await _messages(store, id, shape, before, exchange)
    difference = exchange.detail.difference
    cause = difference.cause if difference else ""
    if cause == "edited" and earlier:
        cause = edited(exchange, earlier[0], shape.path(_at(shape, exchange)))
    return DiffPage(
        conversation=id,
        exchange=exchange.id.hex(),
        before=earlier[0].id.hex() if earlier else "",
        cause=told(cause),
        why=CAUSES.get(cause, ""),
        limit=limit_of(exchange, trim) if cause == "trimmed" else "",
        parts=tuple(parts),
        restored=tuple(restored),
    )


async def _system(store: Store, tenant: bytes, before: Exchange, now: Exchange) -> list[DiffPart]:
    """The two system prompts, where both are kept; else the first and the last of the conversation."""
    found = await system_diff(store, tenant, before, now)
    if found is None:
        return []
    return [DiffPart("The system prompt", found.note, "", "", found.changes, found.is_cut)]


async def _messages(store: Store, id: str, shape: Shape, before: Exchange, now: Exchange) -> list[DiffPart]:
    """The two messages where the paths of what was asked part."""
    old, new = (shape.path(_at(shape, each)) for each in (before, now))
    at = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a.id != b.id), None)
    if at is None:
        return []
    pair = old[at], new[at]
    title = f"Message {at + 1}"
    if max(stem.size for stem in pair) > _LARGE:
        return [await _of(title, "One of the two is too large to be compared.", pair, "", "")]
    nodes = {node.id: node for node in await store.messages(id, [stem.id for stem in pair])}
    if len(nodes) < 2:
        raise NotFound("this conversation was deleted, or changed, just now")
    texts = _texts(nodes[pair[0].id], nodes[pair[1].id])
    return [await _of(title, f"{told(pair[0].role, 40)}, then {told(pair[1].role, 40)}.", pair, *texts)]


async def _restored(store: Store, id: str, tenant: bytes, shape: Shape, now: Exchange) -> list[DiffPart]:
    """The newest answers and results of which the client's copies read otherwise than what is stored."""
    if not now.detail.restored or (kept := await store.kept_request(tenant, id, now.id)) is None:
        return []
    path = shape.path(_at(shape, now))
    try:
        copies = await asyncio.to_thread(lambda: copies_of(now, path, body_of(request_of(kept)) or b""))
    except ValueError:  # damaged, as the page of the exchange says
        return []
    copies = [each for each in copies[-_COPIES:] if each.stem.size <= _LARGE]
    nodes = {node.id: node for node in await store.messages(id, [each.stem.id for each in copies])}
    parts: list[DiffPart] = []
    for each in reversed(copies):
        node = nodes.get(each.stem.id)
        pair = pair_of(each, node) if node is not None else None
        if pair is not None and len(parts) < _RESTORED:
            note = "As the client sent it, and as it is stored: of that is made what went upstream."
            parts.append(await _part(f"Message {each.number}: {told(each.stem.role, 40)}", note, *pair))
    return parts


def _at(shape: Shape, exchange: Exchange) -> Stem | None:
    return shape.find(exchange.parent) if exchange.parent is not None else None


def _texts(old: Node, new: Node) -> tuple[str, str]:
    """What they say; where that is the same, what is stored of them."""
    try:
        texts = text_of(old.fields), text_of(new.fields)
    except ValueError:  # one is no message
        texts = "", ""
    if texts[0] != texts[1]:
        return texts
    return old.body.decode("utf-8", "replace"), new.body.decode("utf-8", "replace")


async def _of(title: str, note: str, pair: tuple[Stem, Stem], old: str, new: str) -> DiffPart:
    part = await _part(title, note, old, new)
    return msgspec.structs.replace(part, old=pair[0].id.hex(), new=pair[1].id.hex())


async def _part(title: str, note: str, old: str, new: str) -> DiffPart:
    found = await asyncio.to_thread(_compared, old, new)
    return DiffPart(title, note, "", "", found.changes, found.is_cut)


def _compared(old: str, new: str) -> Compared:
    return compared(printable(old, lines=True), printable(new, lines=True))
