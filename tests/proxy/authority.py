"""A private certificate authority, made for one test."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """Its own certificate is the file `ca`; others are written beside it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"Test authority {name}")
        made = (
            _builder(self._name, self._name, self._key, -DAY, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        since: datetime.timedelta = -DAY,
        until: datetime.timedelta = DAY,
        password: bytes = b"",
    ) -> tuple[Path, Path]:
        """Files with a certificate and its key; times are counted from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            known: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            known = x509.DNSName(host)
        made = (
            _builder(_named(name), self._name, key, since, until)
            .add_extension(x509.SubjectAlternativeName([known]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        private.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        )
        return certificate, private

    def server(self, name: str = "server", *, asks_clients: bool = False, **issued) -> ssl.SSLContext:
        """What a server needs to be known by a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, **issued))
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject, issuer, key, since, until) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
    )


@asynccontextmanager
async def refusing_strangers(tls: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL of a server that shakes hands with one client, by blocking calls: asyncio sends no alert."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    work = asyncio.create_task(asyncio.to_thread(_shake_hands, listening, tls))
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        await work
    finally:
        listening.close()


def _shake_hands(listening: socket.socket, tls: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    connection.settimeout(5)
    with connection.dup() as raw:
        raw.settimeout(5)
        with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secure:
            with suppress(ssl.SSLError):
                secure.do_handshake()
            raw.shutdown(socket.SHUT_WR)  # and read on, lest a reset overtake the alert
            with suppress(OSError):
                while raw.recv(1 << 14):
                    pass
