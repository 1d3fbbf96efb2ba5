"""What a `postgresql://` URL says.

Rule: what is PostgreSQL's own (hosts, user, TLS, everything that libpq knows) goes to the driver as it is, a
few parameters are the sidecar's, and no message ever shows more than user, hosts and database.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

__all__ = ["Address", "address_of", "is_postgres"]

_PREPARED = {"auto": None, "on": True, "off": False}
_SCHEMES = ("postgresql", "postgres")
_EXAMPLE = '"postgresql://USER:PASSWORD@HOST:5432/DATABASE"'


@dataclass(slots=True, frozen=True)
class Address:
    """Where a database is. `dsn` holds the password; `shown` is for people. Times are seconds."""

    dsn: str
    shown: str
    #: The most connections that one sidecar opens.
    connections: int = 10
    #: Keep prepared statements; None: unless a pooler stands in between. Of those that pool transactions a
    #: PgBouncer knows them from version 1.21 on, and an older one may run another client's in their place.
    prepared: bool | None = None
    #: How long to wait at the start for a database that is not there yet.
    start_wait: float = 60.0
    #: How long to try again what a lost connection has broken off.
    retry: float = 10.0
    #: How long a replica that died keeps its append lease.
    lease: float = 15.0


def is_postgres(text: str) -> bool:
    """Is this meant to be a PostgreSQL URL? Also one of SQLAlchemy's, which names a driver."""
    return text.partition(":")[0].partition("+")[0] in _SCHEMES


def address_of(text: str) -> Address:
    """Read a store URL. Raises ValueError with the cure, and without anything that may be a password."""
    parts = _parts(text)
    name, at, hosts = parts.netloc.rpartition("@")
    user = name.partition(":")[0]
    own = {"connections": "10", "prepared": "auto", "start_wait": "60", "retry": "10", "lease": "15"}
    others = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in own:
            own[key] = value
        else:
            others.append((key, value))
    connections = _number("connections", own["connections"], 1, 1000)
    if connections != int(connections):
        raise ValueError("has `connections`, which has to be a whole number from 1 to 1000")
    if own["prepared"] not in _PREPARED:
        raise ValueError("has `prepared`, which has to be auto, on or off")
    return Address(
        dsn=parts._replace(scheme="postgresql", query=urlencode(others)).geturl(),
        shown=f"postgresql://{user}{at}{hosts}{parts.path}",
        connections=int(connections),
        prepared=_PREPARED[own["prepared"]],
        start_wait=_number("start_wait", own["start_wait"], 0, 86400),
        retry=_number("retry", own["retry"], 0, 600),
        lease=_number("lease", own["lease"], 0.2, 600),
    )


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"is not a URL; give one such as {_EXAMPLE}") from None
    if "+" in parts.scheme:
        raise ValueError(f'must begin with "postgresql://", without a driver; give one such as {_EXAMPLE}')
    if not text.startswith(f"{parts.scheme}://"):
        raise ValueError(f"is not a URL; give one such as {_EXAMPLE}")
    # Else a part of the password would be taken for the host, and shown.
    name, _, hosts = parts.netloc.rpartition("@")
    if "#" in text or "@" in name + parts.path + parts.query:
        raise ValueError(
            "has a character in its password (or its user) that means something in a URL: write @ as %40,"
            " / as %2F, # as %23, ? as %3F"
        )
    if parts.path.count("/") != 1 or len(parts.path) == 1:
        raise ValueError(f"must name a database, and nothing after it but parameters: {_EXAMPLE}")
    if not all(_has_port_or_none(host) for host in hosts.split(",")):
        raise ValueError(f"has a port that is not a number from 1 to 65535; give one such as {_EXAMPLE}")
    return parts


def _has_port_or_none(host: str) -> bool:
    """Is what stands behind the host, which may be an IPv6 address in brackets, a port, if anything is?"""
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 1 << 16)


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise ValueError(f"has `{name}`, which has to be a number from {least:g} to {most:g}")
    return number
