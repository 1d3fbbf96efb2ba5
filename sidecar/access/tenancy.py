"""Whose request it is, by the settings: a keyed hash of the credential, of the user, or of both.

One rule for requests, and for the commands that have to find what a request of somebody would find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sidecar.access.places import Places, credential_of
from sidecar.conversation.identity import first_value, tenant_of
from sidecar.errors import BadRequest
from sidecar.settings import Settings

__all__ = ["credential_by", "needs", "prepare", "tenant_by", "who_asks"]

_MAX_TOKEN_LENGTH = 16_384  # characters; what a signed user takes is a few hundred

Header = Callable[[str], str | None]


def who_asks(
    settings: Settings,
    places: Places,
    secret: bytes,
    headers: Mapping[str, str],
    names: Sequence[str],
    parameters: Mapping[str, str] | None,
    page: str | None = None,
    client: str | None = None,
) -> tuple[bytes, bytes]:
    """The tenant of a request with these headers and parameters, and a keyed hash of its credential alone.

    `page` is the origin of a foreign web page that sends it, which stands in for a credential that it does
    not send. `client` is the id of the client's key by which it was let in: that is its credential. Raises
    `BadRequest`.
    """
    mode = settings.tenant.mode
    user = _user(settings, headers.get) if mode in ("user", "credential+user") else None
    credential = (
        credential_of(places, headers, names, parameters) if client is None else credential_by(client)
    )
    if page is not None and credential is None and mode != "fixed":
        credential = f"\npage {page}"  # no header's value holds a line end
        return tenant_of(secret, credential, user), tenant_of(secret, credential, None)
    tenant = tenant_by(settings, secret, credential, user)
    if user is None and mode != "fixed":
        return tenant, tenant
    return tenant, tenant_of(secret, credential, None)


def credential_by(client: str) -> str:
    """What the id of a client's key is a credential as; no header's value holds a line end."""
    return f"\nkey {client}"


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


def prepare(settings: Settings) -> None:
    """Load at the start what verifies signed users, so that no request waits for it; it is slow to load."""
    if settings.tenant.user_jwt_secret.get_secret_value():
        import jwt  # noqa: F401 - it is loaded, and used later


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
    user = _signed(token, key)
    if user is None:
        raise BadRequest(
            f"{name} cannot be verified: malformed, expired, or not signed with `tenant.user_jwt_secret`",
            code="invalid_user_token",
            param=name,
        )
    return user


def _signed(token: str, key: str) -> str | None:
    """The user that a token names; None where it is not what its issuer should have sent."""
    if len(token) > _MAX_TOKEN_LENGTH or not token.isascii():
        return None
    import jwt

    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["sub"]})
    except Exception:
        return None  # (nesting without end, infinite times); the caller refuses it, whatever it is
    user = claims["sub"]
    # JSON can spell half a surrogate pair, which no encoding has.
    return user if isinstance(user, str) and user and not _is_torn(user) else None


def _is_torn(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)
