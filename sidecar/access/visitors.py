"""Requests that a web page sends through somebody's browser, and which of them are none of its business.

Where they come from. A page of any site may send to any address that its visitor's browser reaches, that of
a sidecar on the same machine included. For requests other than simple ones the browser asks first (Fetch
standard, "CORS-preflight fetch"), and the upstream answers, for `OPTIONS` passes through; without being asked
it sends `GET`, `HEAD` and `POST` with a content type of a form or of plain text and no header of its own
(Fetch, "CORS-safelisted request-header"). And a page may have its own name point to 127.0.0.1 (DNS
rebinding): to the browser the sidecar is then the page's own site. Pages cannot set `Host`, `Origin` or
`Sec-Fetch-Site` (Fetch, "forbidden request-header"), so these tell.

The rules:

1. `Host` may be an address, a name without a dot (`localhost`, a container's), a name of a local network
   (RFC 6761, 6762, 8375, and others that no registry sells), this machine's, or one of `access.hosts`. Any
   other is refused where `access.hosts` names some, and on loopback where it can be a rebound page: on
   the sidecar's own pages; with the port of this socket, which a rebound page always has and a name behind a
   reverse proxy has not; or as the origin of an unencrypted page that came through no proxy.
2. A `POST` of another site's page that is simple (not JSON, no credential) is refused, unless the page is
   on loopback or among `access.origins`; so is any look of such a page at the sidecar's own pages.

3. Without a credential, such a page is a tenant of its own: where the upstream lets every page ask, it would
   else go on with the chat of a program on this machine whose id it guesses.

Programs send no `Origin`, so no rule is about them: a browser sends one with every `POST` (Fetch, "append a
request `Origin` header").
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from functools import lru_cache

from aiohttp import web

from sidecar.access.places import Places
from sidecar.errors import Forbidden, Misdirected, NotFound, Unauthorized
from sidecar.settings import Settings

__all__ = ["Visitors"]

_ANY = "*"
_LOCAL = frozenset(
    (
        *("localhost", "local", "localdomain", "internal", "lan", "home", "corp", "private", "intranet"),
        *("svc", "test"),
    )
)
_LOOPBACK = ("127.", "::1", "::ffff:127.")
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")


class Visitors:
    """Looks at each request before anything else does."""

    def __init__(self, settings: Settings, places: Places) -> None:
        self._hosts = frozenset(settings.access.hosts)
        self._origins = frozenset(settings.access.origins)
        self._credentials = places.credentials
        self._token = settings.admin.token.get_secret_value().encode()
        self._elsewhere = bool(settings.admin.listen)
        self._machine = socket.gethostname().lower()

    def look(self, request: web.BaseRequest) -> None:
        """Raises `Misdirected` or `Forbidden` for what only a web page that means no good would send."""
        headers = request.headers
        host = headers.get("Host", "")
        if not _is_local(host):
            self._public(request, host, own=False)
        if "Origin" not in headers and "Sec-Fetch-Site" not in headers:
            return
        if request.method == "POST" and self._is_simple(request) and self._is_cross_site(request, host):
            raise Forbidden(
                "a web page of another site may not send this: let it send application/json or its key,"
                " or name its origin in `access.origins`"
            )

    def admit(self, request: web.BaseRequest, *, at_admin: bool, by_token: bool = True) -> None:
        """Raises an error unless the page that is asked for is here, and for whoever asks. Without `by_token`
        it has a token of its own, which is none of ours."""
        host = request.headers.get("Host", "")
        if self._elsewhere and not at_admin:
            raise NotFound("this page is at the address of `admin.listen` alone")
        if not _is_local(host):
            self._public(request, host, own=True)
        if self._is_cross_site(request, host):
            raise Forbidden("a web page of another site may not read this")
        if by_token and self._token and not hmac.compare_digest(_bearer(request), self._token):
            raise Unauthorized("this page needs `admin.token` as a bearer token", param="Authorization")

    def foreign_page(self, request: web.BaseRequest) -> str | None:
        """The origin of another site's page that sends this, unless it is trusted; None for anybody else."""
        if "Origin" not in request.headers or not self._is_cross_site(
            request, request.headers.get("Host", "")
        ):
            return None
        return request.headers["Origin"].lower()

    def _public(self, request: web.BaseRequest, host: str, *, own: bool) -> None:
        """A name that anybody could have registered."""
        name, port = _parted(host)
        if _ANY in self._hosts or name in self._hosts or name == self._machine:
            return
        if not self._hosts:
            at = request.transport.get_extra_info("sockname") if request.transport else None
            if at is None or not str(at[0]).startswith(_LOOPBACK):
                return
            if request.method == "POST" and "Origin" not in request.headers:
                return  # no browser sends that, but a mesh's proxy that passes on the name and the port does
            unencrypted = request.headers.get("Origin", "").lower() == f"http://{host.lower()}"
            direct = not any(each in request.headers for each in _FORWARDED)
            if not own and port != at[1] and not (unencrypted and direct):
                return
        raise Misdirected(
            "the Host of this request is not a name of the sidecar; if it is, add it to `access.hosts`",
            param="Host",
        )

    def _is_cross_site(self, request: web.BaseRequest, host: str) -> bool:
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin", "").lower()
        if not origin:
            return site == "cross-site"
        if site == "same-origin" or _ANY in self._origins or origin in self._origins:
            return False
        there = origin.partition("://")[2] or origin  # `null` of a page without a site
        return there != host.lower() and not _is_loopback(_parted(there)[0])

    def _is_simple(self, request: web.BaseRequest) -> bool:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            return False
        return self._credentials.isdisjoint(map(str.lower, request.headers))


def _bearer(request: web.BaseRequest) -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""


def _parted(host: str) -> tuple[str, int]:
    """Name, in lower case and without the final dot, and port; 0 where that is none."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or "]" in port:
        name, port = host.lower(), "80"
    return name.removesuffix("."), int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    """Is it an address, or a name that no stranger can have?"""
    name, _ = _parted(host)
    last = name.rpartition(".")[2]
    if "." not in name and ":" not in name:
        return True
    if last in _LOCAL or name.endswith(".home.arpa") or last.isdigit():
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
