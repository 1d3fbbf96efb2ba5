"""The section `limits`: sizes of requests and replies, and the memory they may take together."""

from __future__ import annotations

from pydantic import Field

from sidecar.settings.connections import ConnectionLimits
from sidecar.settings.values import PositiveInt, Seconds


class Limits(ConnectionLimits):
    """Limits of size, number and memory."""

    max_body: PositiveInt = Field(
        64 * 1024 * 1024,
        description="Maximum body of a chat request, in bytes; above it 413. Other paths have no limit.",
    )
    max_messages: PositiveInt = Field(
        20_000,
        description="Maximum number of messages in a chat request; more get 400. A body may hold 16 times as"
        " many strings, lists and objects.",
    )
    max_escapes: PositiveInt = Field(
        4_000_000,
        description="Maximum number of backslashes in a chat request of more than a MiB; more get 400. While"
        " the characters that they escape are read, nobody else is served.",
    )
    recognition_messages: PositiveInt = Field(
        50_000,
        description="Maximum number of stored messages to compare with a request that is not stored word for"
        " word, to find where it continues; beyond that it becomes a branch of its own.",
    )
    recognition_bytes: PositiveInt = Field(
        16 * 1024 * 1024,
        description="The same in bytes of their text; a message that is only read counts a quarter.",
    )
    bodies_in_flight: PositiveInt = Field(
        192 * 1024 * 1024,
        description="Maximum total size of the bodies of all chat requests in flight in one process, in"
        " bytes. Bodies above a MiB may take half of it, or `limits.max_body`.",
    )
    body_wait: Seconds = Field(
        5.0, description="How long a request waits for room for its body, in seconds; then 503."
    )
    unpack_ratio: PositiveInt = Field(
        100,
        description="Maximum compression ratio of a body that decompresses to more than a MiB; above it 413.",
    )
    max_reply: PositiveInt = Field(
        16 * 1024 * 1024,
        description="Maximum size of a recorded reply, in bytes; of a stream little more than its words"
        " counts. A longer reply reaches the client whole; its beginning is recorded, as `partial`.",
    )
    replies_in_flight: PositiveInt = Field(
        128 * 1024 * 1024,
        description="Maximum memory for all replies being relayed in one process, in bytes, besides the first"
        " MiB of each. Beyond it only the beginning of a reply is recorded.",
    )
    background_responses: PositiveInt = Field(
        64,
        description="Maximum number of responses that one process makes in the background at once; above it"
        " 429.",
    )
    background_events: PositiveInt = Field(
        16 * 1024 * 1024,
        description="Maximum size of the events that are kept of each of them, to be followed, in bytes. One"
        " that has more is made all the same, and can be asked for once it is over.",
    )
