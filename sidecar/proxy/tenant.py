"""Whose request it is, by the settings: a keyed hash of the credential, of the user, or of both.

One rule for requests, and for the commands that have to find what a request of somebody would find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jwt

from sidecar.conversation.identity import first_value, tenant_of
from sidecar.errors import BadRequest
from sidecar.settings import Settings

__all__ = ["credential_of", "needs", "tenant_by", "tenant_of_request"]

#: Where some clients (Google's, Azure's) put the key instead of a header.
_CREDENTIAL_PARAMETERS = ("key", "api_key", "api-key")

Header = Callable[[str], str | None]


def tenant_of_request(settings: Settings, secret: bytes, header: Header, query: Mapping[str, str]) -> bytes:
    """The tenant of a request with these headers and parameters. Raises `BadRequest`."""
    asks_for_user = settings.tenant.mode in ("user", "credential+user")
    user = _user(settings, header) if asks_for_user else None
    return tenant_by(settings, secret, credential_of(settings, header, query), user)


def tenant_by(settings: Settings, secret: bytes, credential: str | None, user: str | None) -> bytes:
    """The tenant of this credential (as `credential_of` gives it) and this user."""
    mode = settings.tenant.mode
    if mode == "fixed":
        return tenant_of(secret, None, None)
    if mode == "credential":
        return tenant_of(secret, credential, None)
    if mode == "user" and user is not None:
        return tenant_of(secret, None, user)
    return tenant_of(secret, credential, user)


def credential_of(settings: Settings, header: Header, query: Mapping[str, str]) -> str | None:
    """All of them: who sends a shared one and one of his own is told apart by the second."""
    credentials = [header(name) or "" for name in settings.tenant.credential_headers]
    credentials += [query.get(name, "") for name in _CREDENTIAL_PARAMETERS]
    return "\n".join(credentials) if any(credentials) else None


def needs(settings: Settings, *, user: bool) -> tuple[bool, bool]:
    """Does the tenant hang on the credential, and on the user, where the client names one or not?"""
    mode = settings.tenant.mode
    return mode.startswith("credential") or (mode == "user" and not user), mode.endswith("user")


def _user(settings: Settings, header: Header) -> str | None:
    """The `sub` of the signed user token, where one is configured: then nothing unsigned counts."""
    key = settings.tenant.user_jwt_secret.get_secret_value()
    name = settings.tenant.user_jwt_header
    if not key:
        return first_value(header, settings.tenant.user_headers)
    token = header(name)
    if not token:
        return None
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["sub"]})
    except jwt.InvalidTokenError as error:
        raise BadRequest(
            f"{name} cannot be verified: {error}", code="invalid_user_token", param=name
        ) from error
    return str(claims["sub"])
