"""The part of `limits` and `timeouts` that is about connections of clients, whatever they ask for."""

from __future__ import annotations

from pydantic import Field

from sidecar.settings.section import Section
from sidecar.settings.values import PositiveInt, Wait

__all__ = ["ConnectionLimits", "ConnectionTimeouts"]


class ConnectionLimits(Section):
    """How much of a connection is read, and how many there may be."""

    header_block: PositiveInt = Field(
        64 * 1024,
        description="Largest header block of a request, request line included, in bytes; above it 431.",
    )
    connections: PositiveInt = Field(
        10_000,
        description="How many connections of clients may be open, for each worker. Beyond that the oldest"
        " idle one is closed, and where none is idle the new one gets 503.",
    )
    websocket_message: PositiveInt = Field(
        16 * 1024 * 1024,
        description="Largest message of a WebSocket, in either direction, in bytes; a larger one ends it with"
        " 1009.",
    )


class ConnectionTimeouts(Section):
    """How long a client may take."""

    request_head: Wait = Field(
        15.0,
        description="How long a client may take for the header block of a request, from the connection or the"
        " block's first byte on, in seconds; then 408.",
    )
    request_body: Wait = Field(
        60.0,
        description="How long a client may pause between two pieces of a request's body, in seconds; then"
        " 408.",
    )
    keep_alive: Wait = Field(
        650.0,
        description="How long a connection of a client may be idle between two requests, in seconds. Longer"
        " than a proxy in front keeps it, which would else send a request just as it is closed.",
    )
