"""The sections of the settings on what is kept in the store, for how long, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from sidecar.settings.section import Section
from sidecar.settings.values import EncryptionKeys, Limit, Lower, PositiveInt, Seconds

__all__ = ["Encryption", "Inspector", "Retention", "Search"]


class Retention(Section):
    """What is deleted, and when. Whole conversations are deleted, the least recently used first."""

    max_days: Limit = Field(
        None, description="Days to keep a conversation after its last use; `none` keeps it forever."
    )
    max_conversations: Limit = Field(
        None,
        description="Number of conversations to keep per tenant, the most recently used; `none` for no"
        " limit.",
    )
    max_bytes: Limit = Field(
        None,
        description="Bytes of messages to keep per tenant, as large as they are in the store; `none` for no"
        " limit.",
    )
    every: Seconds = Field(
        3600.0,
        description="How often the running server deletes by these rules, in seconds; 0 leaves it to"
        " `sidecar prune`.",
    )


class Search(Section):
    """Search in what was said, on the pages of the inspector."""

    index: bool = Field(
        False,
        description="Keep an index of what was said, made in the background, which a search finds all by;"
        " without one it looks through a part at a time. Deleted when it is off again. An encrypted"
        " store has none.",
    )


class Inspector(Section):
    """What is kept for the inspector alone. Where it is served: `admin.inspector`."""

    keep_requests: Annotated[Literal["none", "last", "all"], Lower] = Field(
        "none",
        description="Which requests to keep as the client sent them, bodies without credentials, to be looked"
        " at byte by byte and sent again by hand: of each chat the `last` one, or `all` for which there is"
        " room. With `none` those that were kept before are deleted. Never those of temporary chats and"
        " tasks.",
    )
    request_bytes: PositiveInt = Field(
        4 * 1024 * 1024,
        description="Room for these requests in each chat, in bytes as they are packed; where they need more"
        " the oldest goes. Of one that needs more by itself the body is not kept.",
    )


class Encryption(Section):
    """Encryption of the stored content (AES-256-GCM); off without a key. See `config/guides/data.md`."""

    key: EncryptionKeys = Field(
        SecretStr(""),
        description="Key: 32 bytes in base64, as made by `openssl rand -base64 32`; or several, separated by"
        " commas: the first encrypts, all of them decrypt.",
    )
    key_file: str = Field(
        "", description="File with that key, or with one per line, instead of `encryption.key`."
    )
