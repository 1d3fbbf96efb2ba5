"""What went wrong with the upstream, in words of ours.

Rule: what a library says of a failure may quote bytes that the upstream sent, which may be another client's
answer, or name the upstream's address. So clients, the log and `/-/ready` get one of these sentences.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import aiohttp

from sidecar.errors import SidecarError, UpstreamTimeout, UpstreamUnreachable

__all__ = ["ProxyRefused", "cure_of", "failure_of", "is_about_tls", "kind_of"]


class ProxyRefused(Exception):
    """The proxy wants to know who asks (407)."""


# The first that fits; they are about the upstream.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((aiohttp.ConnectionTimeoutError,), "no connection came about in time"),
    ((aiohttp.ClientProxyConnectionError,), "its proxy cannot be reached"),
    ((ProxyRefused, aiohttp.ClientHttpProxyError), "its proxy refused the connection"),
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
    if (tls := _tls_problem(error)) is not None:
        return tls.said
    refused = isinstance(getattr(error, "os_error", None), ConnectionRefusedError)
    if refused and not isinstance(error, aiohttp.ClientProxyConnectionError):
        return "it refuses connections"
    found = next((said for kinds, said in _KINDS if isinstance(error, kinds)), None)
    if found is not None:
        return found
    return _NO_HTTP if isinstance(error, aiohttp.ClientError | ValueError) else type(error).__name__


def cure_of(error: BaseException, target: str, *, is_tls: bool) -> str | None:
    """Which setting of the target of this name to look at; for the log alone, None where nothing is known."""
    if (tls := _tls_problem(error)) is not None:
        return tls.cure
    if isinstance(error, ProxyRefused | aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        section = "target" if target == "default" else target
        return f"look at {section}.proxy, its user and its password, and at what that proxy lets through"
    if is_tls and isinstance(
        error, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError
    ):
        # Whether the alert is read before the connection ends is a matter of luck (RFC 8446, 4.4.2.4).
        return f"if it asks clients for a certificate: {_CLIENT.cure}"
    return None


def is_about_tls(error: BaseException) -> bool:
    """Is it about certificates, so that nothing changes by trying again?"""
    return _tls_problem(error) is not None


class _Problem(NamedTuple):
    said: str
    cure: str


_NOT_TRUSTED = _Problem(
    "its certificate is not trusted",
    "if a private authority issued it, name a file with that authority's certificate in target.ca_file",
)
# By the codes of OpenSSL's X509_verify_cert_error_string.
_UNTRUSTED = {
    9: _Problem("its certificate is not valid yet", "look at the clocks of both machines"),
    10: _Problem("its certificate has expired", "renew the certificate of the upstream"),
    62: _Problem(
        "its certificate is for another host name", "give the URL with the name that the certificate has"
    ),
    64: _Problem(
        "its certificate is for another host name", "give the URL with the name that the certificate has"
    ),
}
# How OpenSSL tells that the other side wants to know who is calling, or does not like the answer.
_CLIENT = _Problem(
    "it does not accept the TLS connection without a client certificate that it trusts",
    "set target.client_cert and target.client_key to a certificate that the upstream accepts",
)
_REFUSED = _Problem("it refused the TLS connection", f"if it asks clients for a certificate: {_CLIENT.cure}")
_MAX_CAUSES = 8  # causes of an error
_ALERTS = ("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_CERTIFICATE_UNKNOWN")


def _tls_problem(error: BaseException) -> _Problem | None:
    """What is wrong with a certificate, if that is it."""
    for found in _behind(error):
        # A certificate error of aiohttp's is an `ssl.CertificateError` by its type, without what that has.
        if isinstance(found, ssl.SSLCertVerificationError) and hasattr(found, "verify_code"):
            return _UNTRUSTED.get(found.verify_code, _NOT_TRUSTED)
        if isinstance(found, ssl.SSLError) and any(each in _reason(found) for each in _ALERTS):
            return _CLIENT
        if isinstance(found, ssl.SSLError) and "ALERT_HANDSHAKE_FAILURE" in _reason(found):
            return _REFUSED
    return None


def _reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "reason", ""))


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    found: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if found is None:
            return
        yield found
        found = getattr(found, "os_error", None) or found.__cause__


def failure_of(error: BaseException) -> SidecarError:
    """What the client is told, with the status that goes with it."""
    kind = UpstreamTimeout if isinstance(error, TimeoutError) else UpstreamUnreachable
    failure = kind(f"the upstream failed: {kind_of(error)}")
    failure.__cause__ = error
    return failure
