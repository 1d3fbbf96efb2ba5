"""The id of a request, by which client, sidecar and upstream find it in their logs.

Rules: it is the one that the client gave (`X-Request-ID`), if it is one, else a new one. The upstream gets
it, and so does the client, with every answer, but where the upstream has a name of its own for the request:
that one goes on to the client as it came, for the upstream's support asks for it, and the log has both.
Nothing of this is done unless somebody wants to know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from sidecar.aiohttp_internals.server import with_headers
from sidecar.conversation.records import name_of
from sidecar.exchange.outcome import Tracked
from sidecar.random_ids import token

__all__ = ["TRACKED", "add_id", "own_id", "track"]

REQUEST_ID = "X-Request-ID"
#: Where a request holds it for an answer that is none of the upstream's.
TRACKED = web.RequestKey("tracked", Tracked)
_ID = re.compile(r"[!-~]{1,200}")


def track(request: web.BaseRequest) -> Tracked:
    """Find or make the id of a request, which carries it from now on."""
    given = request.headers.get(REQUEST_ID, "")
    is_one = _ID.fullmatch(given) is not None
    request[TRACKED] = tracked = Tracked(given if is_one else f"req_{token(12).hex()}")
    if not is_one:
        with_headers(request, {REQUEST_ID: tracked.request_id})
    return tracked


def add_id(said: dict[str, str], tracked: Tracked, upstream: Mapping[str, str]) -> None:
    """Tell the client; `upstream`: the headers of the answer, which may name the request themselves."""
    named = upstream.get(REQUEST_ID)
    if not named:
        said[REQUEST_ID] = tracked.request_id
    elif named != tracked.request_id:
        tracked.upstream_id = name_of(named)


def own_id(request: web.BaseRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Of an answer of the sidecar's own: the header that tells the id, and the field of a log line."""
    tracked = request.get(TRACKED)
    if tracked is None:
        return {}, {}
    return {REQUEST_ID: tracked.request_id}, {"request": tracked.request_id}
