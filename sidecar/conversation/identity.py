"""Who asks, about which conversation: the rules of identity and tenancy.

- The conversation id is a key and nothing else: taken as it is from the first header that holds one,
  never shortened, cleaned or mapped, so that two ids never become one. What a client sends that has
  none is no id, though: a template that nobody filled in (`{{CHAT_ID}}`), or a word such as `undefined`,
  is the same for all its chats, and would make them one.
- The tenant is a keyed hash of the credential and the user behind it. The same conversation id under
  another tenant is another conversation, and nothing tells its caller that the first exists.
- What goes upstream as a session id is the conversation's own id: stable over all its turns, different
  for two conversations, and not to be guessed from what a client knows.

The caller hands in header values; that is why nothing here knows of HTTP libraries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from hashlib import blake2b

import msgspec

from sidecar.conversation.tree import HASH_SIZE
from sidecar.errors import BadRequest

__all__ = [
    "Identity",
    "Kind",
    "can_be_key",
    "conversation_id",
    "first_value",
    "id_of_its_own",
    "is_named",
    "key_of",
    "key_of_agent",
    "kind_of",
    "slot_of",
    "tenant_of",
]

MAX_ID_LENGTH = 256
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")

Header = Callable[[str], str | None]


class Kind(Enum):
    """What sort of thing a conversation id names."""

    CHAT = "chat"
    #: A chat that must leave no trace on any disk.
    TEMPORARY = "temporary"
    #: Many threads, users and models under one id: recorded, never continued.
    CHANNEL = "channel"


class Identity(msgspec.Struct, frozen=True):
    """Who asks and what for. `key` is the client's conversation id, None if it sent none."""

    tenant: bytes
    key: str | None
    kind: Kind = Kind.CHAT
    #: Ids that the client gave to the reply to come, its newest user message, and the answer before that.
    message_id: str | None = None
    user_message_id: str | None = None
    parent_id: str | None = None
    #: A front end that is known to send its whole history with every request (Open WebUI).
    sends_history: bool = False
    #: A keyed hash of the credential alone, whoever the user behind it is.
    credential: bytes = b""
    #: The key came in a header that agents send by themselves: it may name a login that has many chats.
    by_agent: bool = False
    #: The id of the client's key by which it was let in, None where there is none.
    client: str | None = None


def first_value(header: Header, names: Iterable[str]) -> str | None:
    """The first header of `names` with a value; an empty value means that it is missing."""
    for name in names:
        if value := header(name):
            return value
    return None


def is_named(value: str | None, no_id: Collection[str]) -> bool:
    """Does the value of a header name anything? Neither a word of `no_id` nor an unfilled template does."""
    if not value or value in no_id:
        return False
    return "{{" not in value or not _TEMPLATE.search(value)


def key_of(header: Header, names: Iterable[str], no_id: Collection[str] = ()) -> str | None:
    """The client's conversation id, or None. Raises `BadRequest` if it cannot be a key."""
    for name in names:
        value = header(name)
        if value and is_named(value, no_id):
            if not can_be_key(value):
                raise BadRequest(
                    f"{name} has to be at most {MAX_ID_LENGTH} printable ASCII characters",
                    code="invalid_conversation_id",
                    param=name,
                )
            return value
    return None


def key_of_agent(header: Header, names: Iterable[str], no_id: Collection[str] = ()) -> str | None:
    """The first of `names` that can be a key; what cannot is passed over, since nobody set it on purpose."""
    for name in names:
        value = header(name)
        if value and is_named(value, no_id) and can_be_key(value):
            return value
    return None


def can_be_key(value: str) -> bool:
    """Can this be a client's id of a conversation?"""
    return len(value) <= MAX_ID_LENGTH and value.isascii() and value.isprintable()


def kind_of(key: str | None, *, temporary: Sequence[str], channel: Sequence[str]) -> Kind:
    """What the id names, by its prefix."""
    if key is None:
        return Kind.CHAT
    if key.startswith(tuple(temporary)):
        return Kind.TEMPORARY
    return Kind.CHANNEL if key.startswith(tuple(channel)) else Kind.CHAT


def tenant_of(secret: bytes, credential: str | None, user: str | None) -> bytes:
    """The tenant that these two are; both whole, for a shortened key would be somebody else's too."""
    return _hash(secret, b"tenant", _part(credential), _part(user))


@lru_cache(maxsize=4096)  # a chat asks again
def conversation_id(secret: bytes, tenant: bytes, key: str) -> str:
    """The id of the conversation that a client calls `key`: the same on every replica, with no look-up."""
    return "conv_" + _hash(secret, b"conversation", tenant, key.encode()).hex()


def id_of_its_own(secret: bytes, tenant: bytes, key: str, root: bytes) -> str:
    """The id of a chat that is not the first that a client calls `key`.

    `root`: the hash of its first message.
    No key has a line end in it, so that this is no other chat's.
    """
    return conversation_id(secret, tenant, f"{key}\n{root.hex()}")


def slot_of(session: str, slots: int) -> int:
    """One of so many slots, numbered from 0: where a conversation is put if it may choose."""
    return int.from_bytes(blake2b(session.encode(), digest_size=8).digest(), "big") % slots


def _part(value: str | None) -> bytes:
    return b"" if value is None else b"=" + value.encode("utf-8", "surrogateescape")


def _hash(secret: bytes, *parts: bytes) -> bytes:
    """A keyed hash of the parts and their lengths, so that no two lists of parts run together."""
    data = b"".join([len(part).to_bytes(8, "big") + part for part in parts])
    return blake2b(data, digest_size=HASH_SIZE, key=secret[:64], person=b"sidecar/1").digest()
