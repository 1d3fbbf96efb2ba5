"""A chat forked at a message: a new conversation of the same tenant, which begins with the same words.

Rules: it has an id of its own, by which a client goes on in it; the first one stays as it is, and nothing
that happens in one is seen in the other. What was said comes along to the letter, with the summary of its
front; its exchanges do not, for they were the other's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from sidecar.conversation.identity import conversation_id
from sidecar.conversation.overview import Stem
from sidecar.conversation.records import ConversationUpdate, Thread
from sidecar.conversation.tree import HASH_SIZE, Conversation
from sidecar.errors import BadRequest, NotFound
from sidecar.inspector.shown import told
from sidecar.inspector.tree_shape import Shape
from sidecar.random_ids import token
from sidecar.store import Store

__all__ = ["ForkPage", "fork", "fork_page"]

_LARGEST = 32 << 20  # bytes, as they are stored
_STEP = 200
#: Roots of which it is looked for how they are known.
_ROOTS = 1000


class ForkPage(msgspec.Struct, frozen=True):
    """What would be forked: message number `number` of its path, from 1."""

    id: str
    key: str
    message: str
    number: int
    role: str
    source: str


async def fork_page(store: Store, id: str, name: bytes) -> ForkPage:
    """What would be forked."""
    about, path = await _path(store, id, name)
    at = path[-1]
    return ForkPage(id, told(about.key), at.id.hex(), len(path), told(at.role, 40), at.source)


async def fork(store: Store, id: str, name: bytes, now: float | None = None) -> Conversation:
    """Fork this conversation behind that message; gives the new one. `now`: Unix seconds."""
    now = time.time() if now is None else now
    about, path = await _path(store, id, name)
    key = f"fork-{token(12).hex()}"
    made = replace(
        about,
        id=conversation_id(store.secret, about.tenant, key),
        key=key,
        created_at=now,
        updated_at=now,
        tip=None,
        full=False,
        system=None,
        weights=None,
    )
    try:
        return await _filled(store, id, path, made, about.system)
    except BaseException:  # whatever it is: nobody knows the half of it by its name
        await store.delete(made.id)
        raise


async def _filled(
    store: Store, id: str, path: Sequence[Stem], made: Conversation, digest: bytes | None
) -> Conversation:
    """With what was said, in steps for which no request waits; the last one makes it whole."""
    system, threads = await store.system(id), await store.threads(id, _ROOTS)
    known = next((each for each in threads if each.root == path[0].id), None)
    for at in range(0, len(path), _STEP):
        wanted = path[at : at + _STEP]
        nodes = await store.messages(id, [stem.id for stem in wanted])
        if len(nodes) != len(wanted):
            raise NotFound("this conversation was deleted, or changed, just now")
        await store.record(ConversationUpdate(made, tuple(nodes), system=system[0] if system else None))
    summary = await store.find_summary(id, [stem.id[:HASH_SIZE] for stem in reversed(path)])
    if summary is not None:
        await store.add_summary(made.id, summary)
    last = path[-1]
    whole = replace(made, tip=last.id, system=digest)
    thread = _thread(known, path, system[1] if system and digest else None, made.created_at)
    node = await store.messages(id, [last.id])
    update = ConversationUpdate(whole, tuple(node), system=system[1] if system else None, thread=thread)
    await store.record(update)
    return whole


def _thread(known: Thread | None, path: Sequence[Stem], system: bytes | None, now: float) -> Thread:
    """Known by what its root was known by, and as one whose client sends only what is new."""
    models = (stem.model for stem in reversed(path) if stem.model)
    thread = known or Thread(path[0].id, system=system, model=next(models, None))
    return replace(
        thread,
        head=path[-1].id,
        is_answered=any(stem.source == "upstream" for stem in path),
        is_thin=True,
        is_whole=False,
        updated_at=now,
    )


async def _path(store: Store, id: str, name: bytes) -> tuple[Conversation, list[Stem]]:
    outline = await store.outline(id)
    if outline is None:
        raise NotFound("there is no such conversation: it was deleted, or never was here")
    return outline.conversation, await asyncio.to_thread(_path_to, outline.stems, name)


def _path_to(stems: Sequence[Stem], name: bytes) -> list[Stem]:
    """What was said up to this message: of a long chat it takes a while to find."""
    shape = Shape(stems)
    at = shape.find(name)
    if at is None:
        raise NotFound("there is no such message in this conversation; it may have been deleted")
    if at.state == "failed":
        raise BadRequest(
            "this answer broke off, and no upstream sees it again: fork at the message before it"
        )
    path = shape.path(at)
    size = sum(stem.size for stem in path)
    if size > _LARGEST:
        raise BadRequest(f"what was said up to there has {size:,} bytes, which is too much to fork")
    return path
