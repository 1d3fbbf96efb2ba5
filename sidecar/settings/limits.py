"""How large things may be, and how much memory they may take together: the section `limits`."""

from __future__ import annotations

from pydantic import Field

from sidecar.settings.connections import ConnectionLimits
from sidecar.settings.values import Seconds, Snapshot


class Limits(ConnectionLimits):
    """How large things may be."""

    max_body: Snapshot = Field(
        64 * 1024 * 1024,
        description="Largest body of a chat request, in bytes; above it 413. Other paths: no limit.",
    )
    max_messages: Snapshot = Field(
        20_000,
        description="Most messages of a chat request; above it 400. A body may hold 16 times as many strings,"
        " lists and objects.",
    )
    recognition_messages: Snapshot = Field(
        50_000,
        description="To find where a request goes on that is not stored word for word, at most so many stored"
        " messages are compared with it; then it is kept as a branch of its own.",
    )
    recognition_bytes: Snapshot = Field(
        16 * 1024 * 1024,
        description="The same in bytes of their text; a message that is only read counts a quarter.",
    )
    bodies_in_flight: Snapshot = Field(
        192 * 1024 * 1024,
        description="How many bytes the bodies of all chat requests under way may have in one process, in"
        " bytes. Bodies above a MiB may take half of it, or `limits.max_body`.",
    )
    body_wait: Seconds = Field(
        5.0, description="How long a request waits for room for its body, in seconds; then 503."
    )
    unpack_ratio: Snapshot = Field(
        100,
        description="How many times its own size a compressed body may unpack to, above a MiB; above it 413.",
    )
    max_reply: Snapshot = Field(
        16 * 1024 * 1024,
        description="How much of one reply is recorded, in bytes; of a stream its words count, and little"
        " else. A longer one reaches the client whole; its beginning is recorded, as `partial`.",
    )
    replies_in_flight: Snapshot = Field(
        128 * 1024 * 1024,
        description="How much memory all replies being relayed may take in one process, in bytes, beside the"
        " first MiB of each. Beyond it only the beginning of a reply is recorded.",
    )
