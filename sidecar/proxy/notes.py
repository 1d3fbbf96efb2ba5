"""What a client keeps with a conversation: its metadata, and which items it has taken out of it.

It is kept as an exchange of its own, which began when the conversation did: what it was made with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import OF_CONVERSATION, Detail, Exchange, exchange_id
from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import Conversation
from sidecar.errors import StoreUnavailable
from sidecar.store import Store

__all__ = ["Notes", "keep_notes", "notes_of"]


class Notes(msgspec.Struct, frozen=True, omit_defaults=True):
    """`gone`: the ids of the items that were taken out."""

    metadata: Mapping[str, str] = {}
    gone: tuple[str, ...] = ()


_read = msgspec.json.Decoder(Notes).decode
_write = msgspec.json.Encoder().encode


async def notes_of(store: Store, conversation: Conversation) -> Notes:
    """What is kept with it."""
    kept = await store.exchange(conversation.tenant, conversation.id, _id(conversation))
    try:
        return _read(kept.detail.told) if kept is not None and kept.detail.told is not None else Notes()
    except ValueError as error:
        raise StoreUnavailable(f"what is kept with conversation {conversation.id} is damaged") from error


async def keep_notes(store: Store, conversation: Conversation, notes: Notes) -> None:
    """Keep this in place of what is kept with it; make the conversation if there is none: whoever does
    not mean to has to hold it against who deletes it."""
    exchange = Exchange(
        _id(conversation),
        conversation.id,
        outcome=OF_CONVERSATION,
        status=200,
        detail=Detail(api="conversations", told=_write(notes)),
    )
    if await store.amend(conversation.tenant, exchange):
        return
    about = replace(conversation, tip=None, system=None, weights=None, updated_at=time.time())
    await store.record(ConversationUpdate(about, (), exchange=exchange))


def _id(conversation: Conversation) -> bytes:
    return exchange_id(round(conversation.created_at * 1000), b"conv")
