"""Asking a running sidecar for its report, and saying in one sentence why that cannot be done."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.settings.values import EVERY_INTERFACE, listen_address

__all__ = ["CannotAsk", "address", "ask", "base", "command"]

_TIMEOUT = 15.0  # seconds; the sidecar itself waits for its upstream for two


class CannotAsk(SidecarError):
    """There is no sidecar at this address that could answer; the message says what to do."""

    code = "cannot_ask"


def address(settings: Settings, port: int | None = None) -> str:
    """Where the sidecar with these settings can be asked from its own machine; `port`: the one that it took,
    if that is known."""
    name = "admin.listen" if settings.admin.listen else "listen"
    host, told = listen_address(settings.admin.listen or settings.listen)
    port = port or told
    if not port:
        raise CannotAsk(f"`{name}` has port 0, so the port is known to the sidecar alone; give --url")
    if host in EVERY_INTERFACE:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def command(settings: Settings, port: int | None) -> str:
    """What a user types to ask that sidecar: with its URL where `sidecar doctor` would look elsewhere."""
    where = address(settings, port)
    is_usual = where == f"http://{Settings.model_fields['listen'].default}"
    return "sidecar doctor" if is_usual else f"sidecar doctor --url {where}"


def ask(url: str, last: int | None = None, token: str = "") -> dict[str, Any]:
    """The report of the sidecar at `url`, which may be the URL of clients; `token` is its `admin.token`."""
    url = base(url)
    query = f"?last={last}" if last else ""
    try:
        # No proxy of the environment: what is asked is a server nearby.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(f"{url}/-/doctor{query}", headers=_headers(token))  # noqa: S310 - http, see `base`
        with opener.open(asked, timeout=_TIMEOUT) as response:
            said = response.read()
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise CannotAsk(f"the sidecar at {url} wants its `admin.token`: give --config with it") from error
        raise _no_sidecar(url, f"HTTP {error.code}") from error
    except urllib.error.URLError as error:
        raise _unreachable(url, error.reason) from error
    except HTTPException as error:  # what it said instead may hold anything, so it is not repeated
        raise _no_sidecar(url, "nothing that is HTTP") from error
    except OSError as error:
        raise _unreachable(url, error) from error
    return _report(url, said)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def base(url: str) -> str:
    """The address of the server, without the path that clients add."""
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _report(url: str, said: bytes) -> dict[str, Any]:
    try:
        report = json.loads(said)
    except ValueError as error:
        raise _no_sidecar(url, "something else than a report") from error
    if not isinstance(report, dict) or "sidecar" not in report or "findings" not in report:
        raise _no_sidecar(url, "something else than a report")
    return report


def _unreachable(url: str, reason: object) -> CannotAsk:
    return CannotAsk(
        f"no sidecar can be reached at {url}: {getattr(reason, 'strerror', None) or reason}. Is it running"
        " (`sidecar serve`)? If it listens elsewhere, give --url, or --config with its settings; if it"
        " runs in"
        " a container, ask there: docker compose exec sidecar sidecar doctor"
    )


def _no_sidecar(url: str, answer: str) -> CannotAsk:
    return CannotAsk(
        f"what answers at {url} is no sidecar, or one too old to be asked: it said {answer}. Give --url"
        " with the"
        " address that the sidecar printed when it started, not that of Open WebUI or of the backend"
    )
