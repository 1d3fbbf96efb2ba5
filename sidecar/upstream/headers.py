"""What of the headers travels on: all of them, less what belongs to one connection (RFC 9110, 7.6.1)."""

from __future__ import annotations

import re

from multidict import CIMultiDict, CIMultiDictProxy

__all__ = [
    "DEGRADED",
    "HISTORY",
    "NOT_AS_IT_CAME",
    "NOT_SENT",
    "TRIM",
    "from_upstream",
    "to_upstream",
    "without_controls",
]

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

#: The request header that sets the history mode for one request; ours, so it goes no further.
HISTORY = "X-Sidecar-History"
#: The request header that has one request neither cut nor healed; ours as well.
TRIM = "X-Sidecar-Trim"
#: The response header that says that the history could not be read or kept.
DEGRADED = "X-Sidecar-Degraded"

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
#: What never goes upstream. `Host` and `Expect` are said anew by the client that sends the request on.
NOT_SENT = _HOP_BY_HOP | {"host", "expect", HISTORY.lower(), TRIM.lower()}

#: Nor these where a body may have been rewritten or unpacked; its length is said anew.
NOT_AS_IT_CAME = NOT_SENT | {"content-length", "content-encoding"}


def to_upstream(headers: CIMultiDictProxy[str], *, without: frozenset[str]) -> CIMultiDict[str]:
    """The client's headers less those of `without` (lower case), to which all of `NOT_SENT` must belong."""
    return _travelling(headers, without)


def from_upstream(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The upstream's end-to-end headers, without controls in them."""
    kept = _travelling(headers, _HOP_BY_HOP)
    if _CONTROL.search("".join(kept.values())):
        return CIMultiDict([(name, without_controls(value)) for name, value in kept.items()])
    return kept


def without_controls(text: str) -> str:
    """A header's value or a reason phrase with a space for each character that must not be sent on in it (RFC
    9110, 5.5); some servers let such into theirs."""
    return _CONTROL.sub(" ", text)


def _travelling(headers: CIMultiDictProxy[str], staying: frozenset[str]) -> CIMultiDict[str]:
    if "Connection" in headers:  # names further headers of this connection
        named = ",".join(headers.getall("Connection")).lower().split(",")
        staying = staying | {name.strip() for name in named}
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in staying])
