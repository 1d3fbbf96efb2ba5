"""What went wrong with the upstream, in words of ours.

Rule: what a library says of a failure may quote bytes that the upstream sent, which may be another client's
answer, or name the upstream's address. So clients, the log and `/-/ready` get one of these sentences.
"""

from __future__ import annotations

import socket
import ssl

import aiohttp

from sidecar.errors import SidecarError, UpstreamTimeout, UpstreamUnreachable

__all__ = ["failure_of", "kind_of"]

# The first that fits; they are about the upstream.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((aiohttp.ConnectionTimeoutError,), "no connection came about in time"),
    ((aiohttp.ClientConnectorDNSError, socket.gaierror), "its host name has no address"),
    (
        (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError),
        "its certificate is not trusted",
    ),
    ((aiohttp.ClientConnectorSSLError, ssl.SSLError), "a TLS connection could not be made"),
    ((aiohttp.ClientConnectorError,), "no connection could be made"),
    ((TimeoutError,), "it did not answer in time"),
    ((aiohttp.ClientPayloadError, RuntimeError), "its answer broke off"),
    ((aiohttp.ServerDisconnectedError, OSError), "it closed the connection"),
)
_NO_HTTP = "what it sent is no HTTP"


def kind_of(error: BaseException) -> str:
    """The end of a sentence about the upstream; of an error of ours, its own message."""
    if isinstance(error, SidecarError):
        return error.message
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "it refuses connections"
    found = next((said for kinds, said in _KINDS if isinstance(error, kinds)), None)
    if found is not None:
        return found
    return _NO_HTTP if isinstance(error, aiohttp.ClientError | ValueError) else type(error).__name__


def failure_of(error: BaseException) -> SidecarError:
    """What the client is told, with the status that goes with it."""
    kind = UpstreamTimeout if isinstance(error, TimeoutError) else UpstreamUnreachable
    failure = kind(f"the upstream failed: {kind_of(error)}")
    failure.__cause__ = error
    return failure
