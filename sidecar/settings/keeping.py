"""The sections of the settings on what is kept in the store, for how long, and how."""

from __future__ import annotations

from pydantic import Field, SecretStr

from sidecar.settings.section import Section
from sidecar.settings.values import EncryptionKeys, Limit, Seconds

__all__ = ["Encryption", "Retention"]


class Retention(Section):
    """What is kept no longer. Whole conversations go, those first that were used least recently."""

    max_days: Limit = Field(
        None, description="Keep a conversation so many days after it was used last; `none` for ever."
    )
    max_conversations: Limit = Field(
        None, description="Keep so many conversations of each tenant, those used last; `none` for no limit."
    )
    max_bytes: Limit = Field(
        None, description="Keep so many bytes of messages of each tenant; `none` for no limit."
    )
    every: Seconds = Field(
        3600.0,
        description="How often the running server looks for what to delete, in seconds; 0 leaves it to"
        " `sidecar prune`.",
    )


class Encryption(Section):
    """What was said is encrypted in the store (AES-256-GCM); off without a key. The README says how to."""

    key: EncryptionKeys = Field(
        SecretStr(""),
        description="Key, 32 bytes in base64 as `openssl rand -base64 32` makes them; several with commas"
        " between them: the first one encrypts, all of them decrypt.",
    )
    key_file: str = Field(
        "", description="File with that key, or with one on each line, in place of `encryption.key`."
    )
