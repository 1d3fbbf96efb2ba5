"""Where the inspector is, and the token without which it is nowhere.

Rules: the token is 32 random bytes, new with each start, and stands in the address that `serve` prints: other
users of the machine, and whoever finds the port, have none. It stands in the path and not in a cookie, since
browsers send the cookies of one port to all ports of a machine. All workers of a sidecar have one.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import unquote

from sidecar.settings import Settings
from sidecar.settings.values import EVERY_INTERFACE, listen_address

__all__ = ["PLACE", "Door", "is_served"]

PLACE = "/-/inspect"


class Door:
    """The token of this start, and, once that is known, the port. `origins`: where the settings of this start
    come from, by their names; `workers`: the paths at which all workers tell each other what they do."""

    def __init__(self, origins: Mapping[str, str] | None = None) -> None:
        self.origins = origins or {}
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self.workers: tuple[str, ...] = ()

    def opened(self, port: int) -> None:
        """It is served at this port."""
        self.port = port

    def address(self, settings: Settings) -> str | None:
        """Where a browser finds it; None where it is not served."""
        if not is_served(settings) or not self.port:
            return None
        host, _ = listen_address(settings.admin_listen)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}[host] if host in EVERY_INTERFACE else host  # noqa: S104 - looked for
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{PLACE}/{self.token}/"

    def parts(self, raw_path: str) -> list[str] | None:
        """The parts of a path behind the token; None where it is another or none."""
        given, _, rest = raw_path.removeprefix(PLACE).removeprefix("/").partition("/")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode()):
            return None
        return [unquote(part) for part in rest.split("/")]


def is_served(settings: Settings) -> bool:
    """Is there an inspector at the address of `admin.listen`, or, without one, at a free port of loopback?"""
    inspector, listen = settings.admin.inspector, settings.admin_listen
    if not listen or inspector == "off":
        return False
    return inspector == "on" or _is_loopback(listen_address(listen)[0])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
