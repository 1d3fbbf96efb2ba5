"""One conversation whole, to be taken away or to be deleted.

Rule: it is read in steps that no request waits for; what is deleted is gone from the store's file when that
is said.
"""

from __future__ import annotations

import asyncio

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.tree import Node
from sidecar.errors import BadRequest, NotFound
from sidecar.export import as_json, as_markdown
from sidecar.store import Store

__all__ = ["delete", "exported"]

_LARGEST = 32 << 20  # bytes, as they are stored
_STEP, _EXCHANGES = 200, 400


async def exported(store: Store, id: str, format: str) -> bytes:
    """The conversation as `sidecar export` gives it; `format`: `jsonl` or `md`."""
    outline = await store.outline(id)
    if outline is None:
        raise NotFound("there is no such conversation: it was deleted, or never was here")
    size = sum(stem.size for stem in outline.stems)
    if size > _LARGEST:
        raise BadRequest(f"this conversation of {size:,} bytes is too large here: use `sidecar export`")
    ids = [stem.id for stem in outline.stems]
    nodes: list[Node] = []
    for at in range(0, len(ids), _STEP):
        nodes += await store.messages(id, ids[at : at + _STEP])
    if format == "md":
        return (await asyncio.to_thread(as_markdown, outline.conversation, nodes)).encode()
    exchanges: list[Exchange] = []
    tenant, before = outline.conversation.tenant, None
    while some := await store.exchanges(tenant, id, limit=_EXCHANGES, before=before):
        exchanges += some
        before = some[-1].id
    threads = await store.threads(id, len(ids) or 1)
    line = await asyncio.to_thread(as_json, outline.conversation, nodes, threads, exchanges[::-1])
    return line.encode()


async def delete(store: Store, id: str) -> None:
    """Delete the conversation, and the last traces of it."""
    if not await store.delete(id):
        raise NotFound("there is no such conversation: it was deleted, or never was here")
    await store.purge(compact=False)
