"""Which peers may say who the user is.

Rules: a peer is the other end of the connection, whatever it says of others behind it. Of one that may not,
a request that names a user is refused. To pass over the name would make one tenant of all whose front end
was forgotten in `identity.trusted`; so nothing is mixed, and it shows. A signed token needs no trust in
whoever brings it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from functools import lru_cache

from sidecar.errors import Forbidden
from sidecar.settings import Settings

__all__ = ["Peers"]


class Peers:
    """Those of the settings."""

    def __init__(self, settings: Settings) -> None:
        tenant = settings.tenant
        unsigned = tenant.mode.endswith("user") and not tenant.user_jwt_secret.get_secret_value()
        self._names = frozenset(name.lower() for name in tenant.user_headers) if unsigned else frozenset()
        self._trusted = tuple(ipaddress.ip_network(each) for each in settings.identity.trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._looked_up)

    def look(self, headers: Mapping[str, str], peer: str | None) -> None:
        """Raises `Forbidden` for a request that names a user and comes from elsewhere. `peer`: where from."""
        if not self._trusted or (name := self._user_in(headers)) is None:
            return
        if peer is None or not self._is_trusted(peer):
            raise Forbidden(
                f"{name} says who the user is, and may not come from here: see `identity.trusted`",
                code="untrusted_peer",
                param=name,
            )

    def _user_in(self, headers: Mapping[str, str]) -> str | None:
        return next(_named(headers, self._names), None)

    def _looked_up(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)


def _named(headers: Mapping[str, str], names: frozenset[str]) -> Iterator[str]:
    """The headers of these names that have a value, also as CGI and its successors spell them."""
    for name, value in headers.items():
        lowered = name.lower()
        if value and (lowered in names or lowered.replace("_", "-") in names):
            yield name
