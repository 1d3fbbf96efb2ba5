"""Which credentials a request takes along to a target: the only place where that is decided.

Rules: a client's own go to the default target as they came, and to no other unless that is set. A key of the
target's own is sent where a client sent none, so that nobody's account is charged for what another pays; it
takes the place of the client's where that is set, or where the client's do not travel. Headers that the
settings give a target are sent to it with every request, and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from multidict import CIMultiDict

from sidecar.settings import Settings

__all__ = ["CredentialPolicy", "policy_of"]


class CredentialPolicy(NamedTuple):
    """What one target gets."""

    names: frozenset[str]
    """Headers of clients that hold a credential, in lower case."""
    parameters: frozenset[str]
    """Parameters of a URL that hold one, in lower case."""
    travel: bool
    """Do the client's go there?"""
    key: str = ""
    static: tuple[tuple[str, str], ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Do all headers go as they came?"""
        return self.travel and not self.key and not self.static

    @property
    def travelling(self) -> frozenset[str]:
        """The client's credential headers that go there, in lower case."""
        return self.names if self.travel else frozenset()

    def applied(self, headers: CIMultiDict[str], path: str) -> CIMultiDict[str]:
        """The headers with the credentials that belong there."""
        if self.changes_nothing:
            return headers
        items = headers.items()
        if self.travel:
            made = CIMultiDict(items)
        else:
            made = CIMultiDict([(name, value) for name, value in items if name.lower() not in self.names])
        if self.key and not self._has_credential(made, path):
            made["Authorization"] = f"Bearer {self.key}"
        for name, value in self.static:
            made[name] = value
        return made

    def _has_credential(self, headers: Mapping[str, str], path: str) -> bool:
        if not self.travel:
            return False
        if any(value and name.lower() in self.names for name, value in headers.items()):
            return True
        query = path.partition("#")[0].partition("?")[2]
        return any(name.lower() in self.parameters for name, _ in parse_qsl(query, errors="replace"))


def policy_of(
    settings: Settings, *, travel: bool, key: str = "", static: Mapping[str, str] | None = None
) -> CredentialPolicy:
    """The policy of a target, with the places of credentials that these settings name."""
    tenant = settings.tenant
    return CredentialPolicy(
        frozenset(name.lower() for name in (*tenant.credential_headers, "Authorization")),
        frozenset(name.lower() for name in tenant.credential_parameters),
        travel,
        key,
        tuple((static or {}).items()),
    )
