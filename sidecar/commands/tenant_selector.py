"""Which tenant the flags name: the one that a request with this user and this credential would have.

Rule: the store knows tenants only as keyed hashes. So to find a user's conversations, give what the client
sends, as far as `tenant.mode` uses it. Nothing is guessed: a user without the credential that belongs to
that user would be another tenant.
"""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from multidict import CIMultiDict

from sidecar.access.client_keys import find_keys, id_in
from sidecar.access.places import credential_of, places_of
from sidecar.access.tenancy import credential_by, needs, tenant_by
from sidecar.commands.client_keys import find_any_key
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store.encrypted.cipher import TENANT_SIZE

__all__ = ["TenantSelector", "add_arguments", "add_key", "headers_of"]

_PROMPT = "-"
# Else who exports or deletes what a key has said may take it for all of it.
_KEY_ALONE = (
    "sidecar: --key alone means what came under that key without a user's id; each user behind it is another"
    " tenant: add --user ID\n"
)


def add_arguments(parser: ArgumentParser) -> None:
    """The flags of a command that works on the conversations of one tenant."""
    parser.add_argument("--user", metavar="ID", type=_said, help="the user id that the client sends")
    parser.add_argument(
        "--credential",
        metavar="KEY",
        type=_said,
        action="append",
        default=[],
        help='the API key that the client sends, or a header such as "api-key: KEY"; - reads it from standard'
        " input",
    )
    parser.add_argument("--no-credential", action="store_true", help="the client sends no credential")
    parser.add_argument("--tenant", metavar="HEX", help="a tenant as `sidecar conversations list` shows it")


def add_key(parser: ArgumentParser) -> None:
    """The flag for a tenant that is a key of the operator's."""
    parser.add_argument(
        "--key",
        metavar="NAME",
        type=_said,
        help="the client's key (`sidecar keys list`), or its id; with --user one of the users behind it",
    )


def _said(text: str) -> str:
    """A value that names somebody: an empty one, of a variable that is not set say, is not everybody."""
    if not text:
        raise ArgumentTypeError("it is empty")
    return text


@dataclass(slots=True, frozen=True)
class TenantSelector:
    """What the flags say. `credentials`: keys, or headers such as `api-key: …`; `-` prompts for one. `key`:
    the name of a client's key."""

    user: str | None = None
    credentials: Sequence[str] = ()
    no_credential: bool = False
    tenant: str | None = None
    key: str | None = None

    @classmethod
    def from_args(cls, args: Namespace) -> Self:
        """Of a command line that was parsed with the flags of `add_arguments`."""
        return cls(args.user, args.credential, args.no_credential, args.tenant, getattr(args, "key", None))

    @property
    def is_empty(self) -> bool:
        """Does it name no tenant at all?"""
        return not (self.user or self.credentials or self.no_credential or self.key) and self.tenant is None

    async def tenant_or_none(self, settings: Settings, store: Store) -> bytes | None:
        """The tenant, or None where the flags name none. Raises `SidecarError` as `tenant_in` does."""
        return None if self.is_empty else await self.tenant_in(settings, store)

    async def tenant_in(self, settings: Settings, store: Store) -> bytes:
        """The tenant. Raises `SidecarError` if the flags do not determine one."""
        if self.tenant is not None:
            if not replace(self, tenant=None).is_empty:
                raise SidecarError("--tenant says whose they are: leave out the others")
            return _from_hex(self.tenant)
        if self.key is not None:
            if self.credentials or self.no_credential:
                raise SidecarError("--key says what the credential is: leave out the others")
            credential: str | None = credential_by((await find_any_key(store, self.key)).id)
            if self.user is None and needs(settings, user=True)[1]:
                sys.stderr.write(_KEY_ALONE)
        else:
            credential = self.credential(settings)
        return tenant_by(settings, store.secret, credential, self.checked_user(settings))

    def checked_user(self, settings: Settings) -> str | None:
        """The user, where the settings distinguish users."""
        _, by_user = needs(settings, user=self.user is not None)
        if self.user is not None and not by_user:
            raise SidecarError(
                f"with tenant.mode = {settings.tenant.mode!r} users are not distinguished; leave out --user"
            )
        return self.user

    def credential(self, settings: Settings) -> str | None:
        """The credential that a request would have. Prompts for it where that was asked for."""
        by_credential, _ = needs(settings, user=self.user is not None)
        if not by_credential or self.no_credential:
            return None
        given = [_prompted() if each == _PROMPT else each for each in self.credentials]
        if not given:
            raise SidecarError(
                f"with tenant.mode = {settings.tenant.mode!r} the tenant depends on the client's"
                " credential: give --credential (`-` prompts for it), or --no-credential if it sends none"
            )
        headers = headers_of(given)
        unknown = [name for name in headers if name not in map(str.lower, settings.tenant.credential_headers)]
        if unknown:
            raise SidecarError(f"{unknown[0]} is not one of tenant.credential_headers: it identifies nobody")
        clients = {each for value in headers.values() for each in find_keys(value)}
        if settings.keys.enforcement != "off" and len(clients) == 1:
            return credential_by(str(id_in(clients.pop())))
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


def _prompted() -> str:
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
            f"{text!r} is not a tenant ({TENANT_SIZE} bytes); `sidecar conversations list` shows them"
        )
    return tenant
