"""The tenant that a user or a credential is: what a request with these headers would get.

Rule: the store knows tenants by keyed hashes alone. So whoever looks for a user's conversations has to give
what the client sends, as far as `tenant.mode` counts it, and nothing is guessed: a user without the
credential that belongs to him would be another tenant.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import CIMultiDict

from sidecar.access.places import credential_of, places_of
from sidecar.access.tenancy import needs, tenant_by
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store.encrypted.cipher import TENANT_SIZE

__all__ = ["Who", "headers_of"]

_ASK = "-"


@dataclass(slots=True, frozen=True)
class Who:
    """As the flags say it. `credentials`: keys, or headers such as `api-key: …`; `-` is asked for."""

    user: str | None = None
    credentials: Sequence[str] = ()
    no_credential: bool = False
    tenant: str | None = None

    @property
    def is_anybody(self) -> bool:
        """Is nobody named?"""
        return not (self.user or self.credentials or self.no_credential) and self.tenant is None

    def in_store(self, settings: Settings, secret: bytes) -> bytes:
        """The tenant. Raises `SidecarError` if that cannot be told from what was given."""
        if self.tenant is not None:
            return _from_hex(self.tenant)
        return tenant_by(settings, secret, self.credential(settings), self.checked_user(settings))

    def checked_user(self, settings: Settings) -> str | None:
        """The user, as far as the settings tell users apart."""
        _, by_user = needs(settings, user=self.user is not None)
        if self.user is not None and not by_user:
            raise SidecarError(
                f"with tenant.mode = {settings.tenant.mode!r} users are not told apart; leave --user out"
            )
        return self.user

    def credential(self, settings: Settings) -> str | None:
        """What a request's credential would be. Asks for one that is needed, on a terminal."""
        by_credential, _ = needs(settings, user=self.user is not None)
        if not by_credential or self.no_credential:
            return None
        given = [_asked() if each == _ASK else each for each in self.credentials]
        if not given:
            raise SidecarError(
                f"with tenant.mode = {settings.tenant.mode!r} the tenant hangs on the credential that the"
                " client sends: give --credential (`-` asks for it), or --no-credential if it sends none"
            )
        headers = headers_of(given)
        unknown = [name for name in headers if name not in map(str.lower, settings.tenant.credential_headers)]
        if unknown:
            raise SidecarError(f"{unknown[0]} is none of tenant.credential_headers, so it tells no tenant")
        return credential_of(places_of(settings), CIMultiDict(headers), list(headers))


def headers_of(credentials: Sequence[str]) -> dict[str, str]:
    """The request headers, in lower case, that these credentials are sent in."""
    headers = {}
    for each in credentials:
        name, colon, value = each.partition(":")
        if colon and value.startswith(" "):
            headers[name.lower()] = value.strip()
        else:
            headers["authorization"] = each if " " in each else f"Bearer {each}"
    return headers


def _asked() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("credential: ", sys.stderr)
    return sys.stdin.readline().rstrip("\r\n")


def _from_hex(text: str) -> bytes:
    try:
        tenant = bytes.fromhex(text)
    except ValueError:
        tenant = b""
    if len(tenant) != TENANT_SIZE:
        raise SidecarError(
            f"{text!r} is no tenant, which has {TENANT_SIZE} bytes: `sidecar conversations list` shows them"
        )
    return tenant
