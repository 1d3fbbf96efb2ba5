"""The values of pages, read from a store: for the pages and for the terminal.

Rule: what takes milliseconds is done in a thread; what is damaged is told where it stands, and hides nothing
else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange, exchange_id
from sidecar.conversation.overview import Outline, Stem
from sidecar.conversation.tree import Node
from sidecar.doctor.outages import Missing
from sidecar.errors import NotFound, StoreUnavailable
from sidecar.exchange.client_request import body_of, request_of
from sidecar.exchange.threads import prompt_text
from sidecar.inspector import conversation_list
from sidecar.inspector.between import between, chat_links
from sidecar.inspector.called import called_in
from sidecar.inspector.client_view import ClientView, client_view_of, why_not_kept
from sidecar.inspector.conversation_list import ConversationList, LostRow, list_of, lost_row, version_of
from sidecar.inspector.conversation_page import ConversationPage, page_of, window_of
from sidecar.inspector.exchange_facts import Around, ExchangePage
from sidecar.inspector.exchange_page import exchange_page_of, sampled
from sidecar.inspector.marks import RECENT
from sidecar.inspector.message_page import MessagePage, message_page_of
from sidecar.inspector.noticed import is_cache_lost
from sidecar.inspector.stray_results import stray_results
from sidecar.inspector.sums import sums_of
from sidecar.inspector.system_diff import system_diff
from sidecar.inspector.system_prompts import kept_prompts, leading_of
from sidecar.inspector.tree_shape import Shape
from sidecar.inspector.went import Verdict, groups_of, quoted_of
from sidecar.settings import Settings
from sidecar.store import Store

__all__ = [
    "client_bytes",
    "conversation_list_page",
    "conversation_page",
    "exchange_page",
    "list_version",
    "lost_rows",
    "message_page",
]

#: Exchanges of one page of messages: more than one for each message are retries and errors.
_EXCHANGES = 400
#: Exchanges before one that are looked at, and milliseconds after it in which the next one is looked for.
_EARLIER, _SPANS = 20, (60_000, 600_000, 3_600_000, 86_400_000, 0)
#: Messages with calls of tools that are looked at.
_CALLS = 5
_DAMAGED = "It is kept, and cannot be read: it is damaged, or was encrypted with another key."
#: Conversations that are named of those of which something is missing.
_LOST = 20
#: Bytes of a message that is told in a few words, and of one that is shown whole.
_FEW, _WHOLE = 256 << 10, 16 << 20
#: The same of those with which branches begin, of which there may be many.
_BEGINNING = 64 << 10


async def conversation_list_page(
    store: Store, before: tuple[float, str] | None, lost: Mapping[str, Missing]
) -> ConversationList:
    """The conversations used last, or those before that place; `lost`: as for `list_of`."""
    found = await store.overviews(limit=conversation_list.PAGE, before=before, recent=RECENT)
    return await asyncio.to_thread(list_of, found, before, lost)


async def lost_rows(store: Store, lost: Mapping[str, Missing]) -> tuple[LostRow, ...]:
    """The conversations of which something is missing, the first of them, each with where it is, if it is."""
    rows = []
    for each in list({one.id: one for one in lost.values()}.values())[:_LOST]:
        names = [each.id, each.key] if each.key else [each.id]
        found = [await store.overview(name) for name in names]
        is_at = next((name for name, one in zip(names, found, strict=True) if one and one.id == name), None)
        rows.append(lost_row(each, is_at))
    return tuple(rows)


async def list_version(store: Store) -> str:
    """The `version` of the first page, at less than what the page takes."""
    return version_of(await store.overviews(limit=1))


async def conversation_page(
    store: Store, id: str, at: bytes | None = None, start: int | None = None
) -> ConversationPage:
    """One conversation; `at`, `start`: as in `window_of`."""
    outline = await _outline(store, id)
    try:
        window = await asyncio.to_thread(window_of, outline, at, start)
    except KeyError as error:
        raise NotFound("there is no such message in this conversation; it may have been deleted") from error
    first = [stem.id for stem in window.path[:1] if stem.size <= _FEW]  # of which the title is made
    begins = [stem.id for stem in window.beginnings if stem.size <= _BEGINNING]
    nodes, problems = await _messages(store, id, dict.fromkeys((*window.readable, *first, *begins)))
    exchanges = await _exchanges(store, outline, window.shown)
    system, sums = await store.system(id), await sums_of(store, outline.conversation)
    page = await asyncio.to_thread(
        page_of, outline.conversation, window, nodes, problems, exchanges, system[1] if system else None
    )
    return replace(page, sums=sums)


async def message_page(store: Store, id: str, name: bytes, part: int) -> MessagePage:
    """One message of a conversation, whole."""
    outline = await _outline(store, id)
    shape = await asyncio.to_thread(Shape, outline.stems)
    stem = shape.find(name)
    if stem is None:
        raise NotFound("there is no such message in this conversation; it may have been deleted")
    if stem.size > _WHOLE:
        raise NotFound(f"this message of {stem.size:,} bytes is too large for a page: see `sidecar export`")
    found = await store.messages(id, [stem.id])
    if not found:
        raise NotFound("this message was deleted just now")
    number = len(shape.path(stem))
    return await asyncio.to_thread(message_page_of, id, stem, number, found[0], part)


async def exchange_page(
    store: Store,
    id: str,
    name: bytes,
    settings: Settings | None = None,
    commits: Iterable[tuple[bytes, float]] = (),
) -> ExchangePage:
    """One exchange of a conversation; `settings`: those in force, as far as they are known; `commits`: how
    many seconds the store took to keep which exchanges."""
    outline = await _outline(store, id)
    tenant = outline.conversation.tenant
    exchange = await store.exchange(tenant, id, name)
    if exchange is None:
        raise NotFound("there is no such exchange in this conversation; it may have been deleted")
    earlier = await store.exchanges(tenant, id, limit=_EARLIER, before=name)
    path, groups = await asyncio.to_thread(_grouped, outline, exchange)
    before = earlier[0] if earlier else None
    calls = _calls(path) if before is not None and before.detail.tools != exchange.detail.tools else []
    places = dict.fromkeys((*sampled(groups), *quoted_of(exchange, path), *calls))
    wanted = [path[at].id for at in places if path[at].size <= _FEW]
    nodes, _problems = await _messages(store, id, wanted)
    summary = exchange.detail.summary
    found = await store.find_summary(id, [summary]) if summary is not None else None
    prompts = await kept_prompts(store, id, tenant)
    put_in = prompts.get(exchange.detail.system) if exchange.detail.system_put_in else None

    async def read(stems: Sequence[Stem]) -> dict[bytes, Node]:
        try:
            return (await _messages(store, id, [each.id for each in stems]))[0]
        except StoreUnavailable:  # damaged, as is said where they stand
            return {}

    is_lost = before is not None and is_cache_lost(exchange, before)
    meanwhile = await between(store, before, exchange) if before is not None and is_lost else None
    differs = await system_diff(store, tenant, before, exchange) if before is not None else None
    around = Around(
        earlier,
        await _after(store, exchange, tenant),
        leading_of(exchange, prompts),
        settings.trim if settings else None,
        *await _client(store, exchange, tenant, settings),
        next((int(1000 * took) for each, took in commits if each == name), None),
        meanwhile,
        differs.short() if differs is not None else None,
        prompt_text(put_in),
        called_in([nodes[path[at].id] for at in calls if path[at].id in nodes]),
        await chat_links(store, meanwhile) if meanwhile is not None else (),
        await stray_results(path, read) if exchange.detail.api == "chat" else (),
    )
    make = partial(exchange_page_of, exchange, before, path, groups, nodes, found, around)
    return await asyncio.to_thread(make)


async def client_bytes(store: Store, id: str, name: bytes) -> bytes:
    """The body of the request of this exchange, as its client sent it."""
    about = (await _outline(store, id)).conversation
    kept = await store.kept_request(about.tenant, id, name)
    try:
        body = await asyncio.to_thread(lambda: body_of(request_of(kept)) if kept is not None else None)
    except ValueError as error:
        raise StoreUnavailable(_DAMAGED) from error
    if body is None:
        raise NotFound("the bytes of this request are not kept (inspector.keep_requests)")
    return body


async def _client(
    store: Store, exchange: Exchange, tenant: bytes, settings: Settings | None
) -> tuple[ClientView | None, str]:
    """The request as its client sent it, or why there is none."""
    try:
        kept = await store.kept_request(tenant, exchange.conversation, exchange.id)
        if kept is None:
            return None, why_not_kept(settings.inspector.keep_requests if settings else "none")
        address = settings.address if settings else ""
        return await asyncio.to_thread(
            lambda: client_view_of(request_of(kept), exchange.id.hex(), address)
        ), ""
    except (ValueError, StoreUnavailable):
        return None, _DAMAGED


async def _after(store: Store, exchange: Exchange, tenant: bytes) -> bytes | None:
    """The exchange that began next in this conversation, if it is found among the few that are looked at."""
    for span in _SPANS:
        end = exchange_id(exchange.when + span, b"") if span else None
        found = await store.exchanges(tenant, exchange.conversation, limit=_EARLIER, before=end)
        ids = [each.id for each in found]
        if exchange.id not in ids:
            return None
        if at := ids.index(exchange.id):
            return ids[at - 1]
    return None


def _calls(path: Sequence[Stem]) -> list[int]:
    """Where the last calls of tools stand: before their results."""
    results = ("tool", "function")
    ends = [at for at, each in enumerate(path) if at and each.role in results]
    return [at - 1 for at in ends if path[at - 1].role not in results][-_CALLS:]


def _grouped(outline: Outline, exchange: Exchange) -> tuple[list[Stem], list[tuple[Verdict, list[int]]]]:
    shape = Shape(outline.stems)
    path = shape.path(shape.find(exchange.parent)) if exchange.parent is not None else []
    return path, groups_of(exchange, path)


async def _outline(store: Store, id: str) -> Outline:
    outline = await store.outline(id)
    if outline is None:
        raise NotFound("there is no such conversation: it was deleted, or never was here")
    return outline


async def _messages(
    store: Store, id: str, wanted: Iterable[bytes]
) -> tuple[dict[bytes, Node], dict[bytes, str]]:
    """These messages by id; and why some cannot be read, where the store itself can."""
    ids = list(wanted)
    try:
        return {node.id: node for node in await store.messages(id, ids)}, {}
    except StoreUnavailable:
        if not ids:
            raise
    nodes: dict[bytes, Node] = {}
    problems: dict[bytes, str] = {}
    for each in ids:
        try:
            nodes |= {node.id: node for node in await store.messages(id, [each])}
        except StoreUnavailable as error:
            problems[each] = error.message
    if not nodes and len(ids) > 1 and len(set(problems.values())) == 1:
        raise StoreUnavailable(problems[ids[0]])
    return nodes, problems


async def _exchanges(store: Store, outline: Outline, shown: Iterable[Stem]) -> list[Exchange]:
    """Those whose replies, or last questions, are among these messages, and others of that time."""
    times = [each.created_at for each in shown]
    if not times:
        return []
    about = outline.conversation
    # A failed one is told where its question stands, to which it may come much later.
    latest = max(times) + 1
    before = exchange_id(int(latest * 1000), b"") if latest < about.updated_at else None
    return await store.exchanges(about.tenant, about.id, limit=_EXCHANGES, before=before)
