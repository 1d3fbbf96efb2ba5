"""The client's key that a request presents, and what is left of the request without it.

Rules: a key is presented in a header in which clients put credentials (`tenant.credential_headers`), as a
bearer token, as it is, or as name or password of `Basic`; for a browser's WebSocket, which can set no
header, in the subprotocol that OpenAI has for that. It goes no further, and with it goes every other
credential of the client: what the upstream acts on is what the sidecar says. A key in any other header is
taken out as well. One in the address is refused, for addresses stand in logs and histories; so are two
different ones.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from sidecar.access.client_keys import PREFIX, find_keys, hidden
from sidecar.access.places import Places, parameters_of
from sidecar.errors import BadRequest, InvalidKey

__all__ = ["Presented", "presented"]

_PROTOCOLS = "sec-websocket-protocol"


class Presented(NamedTuple):
    """`headers`: those of the request that change, None for those that go."""

    key: str | None
    headers: Mapping[str, str | None]


def presented(places: Places, headers: CIMultiDictProxy[str], target: str) -> Presented:
    """What this request presents, None if it is no client's key. `target`: its address as it came.

    Raises `InvalidKey` for one in the address, or one that is not whole, `BadRequest` for two.
    """
    _refuse_in_address(places, target)
    found: set[str] = set()
    changed: dict[str, str | None] = {}
    for name, value in headers.items():
        said = _said(value) if value[:6].lower() == "basic " else value
        if PREFIX in said:
            keys, is_place = find_keys(said), _is_place(places, name.lower())
            if is_place and not keys:
                raise InvalidKey("the client's key is not whole, or has something before or behind it")
            if is_place or name.lower() == _PROTOCOLS:
                found |= keys
            if is_place or hidden(said) != said:
                changed[name] = _without(headers, name) if name.lower() == _PROTOCOLS else None
    if len(found) > 1:
        raise BadRequest("two different keys of clients were sent; send one", code="duplicate_identity")
    if not found:
        return Presented(None, changed)
    if others := sorted(parameters_of(places, target)):
        raise BadRequest(
            f"the parameter {others[0]} holds a credential beside the client's key; send the key alone",
            code="duplicate_identity",
            param=others[0],
        )
    credentials = [name for name in headers if _is_place(places, name.lower())]
    return Presented(found.pop(), {**changed, **dict.fromkeys(credentials)})


def _refuse_in_address(places: Places, target: str) -> None:
    told = target + unquote(target) if "%" in target else target
    if PREFIX not in told:
        return
    if hidden(told) != told or any(
        value.startswith(PREFIX) for value in parameters_of(places, target).values()
    ):
        raise InvalidKey(
            "a client's key stands in the address: send it as `Authorization: Bearer …`, and rotate it, for"
            " addresses are logged"
        )


def _is_place(places: Places, lowered: str) -> bool:
    return lowered in places.credentials or (
        "_" in lowered and lowered.replace("_", "-") in places.credentials
    )


def _said(value: str) -> str:
    """The value of a header with `Basic`, and what it stands for."""
    try:
        decoded = base64.b64decode(value[6:].strip() + "==").decode("utf-8", "replace")
    except ValueError:
        return value
    return f"{value}\n{decoded}"


def _without(headers: CIMultiDictProxy[str], name: str) -> str | None:
    """The subprotocols that are offered besides."""
    offered = [each.strip() for value in headers.getall(name) for each in value.split(",")]
    return ", ".join(each for each in offered if each and hidden(each) == each) or None
