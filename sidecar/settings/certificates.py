"""Files with certificates and keys for TLS connections to upstreams.

Rule: what is wrong with a file is said when the settings are read, with the cure and without its content. The
certificate authorities of a file are trusted beside the system's own.
"""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["certificate_file", "tls_context", "trust", "with_client_certificate"]


def certificate_file(path: str) -> str:
    """The path of a file that can be read, or nothing. Raises ValueError with the cure."""
    if not path:
        return path
    try:
        Path(path).read_bytes()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it is no path"
        raise ValueError(f"cannot be read ({problem}); name a file that this user can read") from None
    return path


def trust(context: ssl.SSLContext, ca_file: str) -> None:
    """Trust the authorities of a file as well. Raises ValueError with the cure."""
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise ValueError(
            "holds no certificate; give a PEM file that has a line -----BEGIN CERTIFICATE----- for each one"
        ) from None


def with_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Show a certificate to servers that ask for one. Raises ValueError with the cure."""
    try:
        # Without a password given here, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(certificate, key or None, password="")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise ValueError(
            "no certificate with its private key, as PEM and without a password, can be read from this; give"
            " target.client_cert, and target.client_key where the key is in a file of its own"
        ) from None


def tls_context(ca_file: str, certificate: str, key: str) -> ssl.SSLContext | None:
    """How servers are verified; None if that is as usual. Raises ValueError with the cure."""
    if not ca_file and not certificate:
        return None
    context = ssl.create_default_context()
    if ca_file:
        trust(context, ca_file)
        # Python 3.13 refuses authorities without a key usage, which `openssl req -x509` makes by default. One
        # that is named here is meant, and as good on every Python.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate:
        with_client_certificate(context, certificate, key)
    return context
