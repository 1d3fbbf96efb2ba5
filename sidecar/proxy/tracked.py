"""By what client, sidecar and upstream find a request again: its id in logs, its place in a trace.

Rules: the id is the one that the client gave (`X-Request-ID`), if it is one, else a new one. The upstream
gets it, and so does the client, with every answer, but where the upstream has a name of its own for the
request: that one goes on to the client as it came, for the upstream's support asks for it, and the log has
both. The client's place in a trace is the parent of ours, and ours that of the upstream's; what is no place,
or two, is none. Nothing of this is done unless somebody wants to know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from sidecar.aiohttp_internals.requests import with_headers
from sidecar.conversation.exchange_record import name_of
from sidecar.exchange.client_request import words_of
from sidecar.exchange.outcome import Tracked
from sidecar.proxy.services import Services
from sidecar.random_ids import token
from sidecar.traces import PARENT, STATE, Started, Traces

__all__ = ["TRACKED", "add_ids", "fields", "keep_words", "own_headers", "own_id", "track"]

REQUEST_ID, TRACE_ID = "X-Request-ID", "X-Sidecar-Trace-Id"
#: Where a request holds it for an answer that is none of the upstream's.
TRACKED = web.RequestKey("tracked", Tracked)
_ABOUT_KEYS = (401, 403)
_ID = re.compile(r"[!-~]{1,200}")


def track(services: Services, request: web.BaseRequest) -> Tracked:
    """Find or make what a request is known by, which it carries from now on."""
    request[TRACKED] = tracked = Tracked()
    changed: dict[str, str | None] = {}
    if services.settings.logs.requests:
        all_given = request.headers.getall(REQUEST_ID, ())
        given = all_given[0] if len(all_given) == 1 else ""
        tracked.request_id = given if _ID.fullmatch(given) else f"req_{token(12).hex()}"
        if tracked.request_id != given:
            changed[REQUEST_ID] = tracked.request_id
    traces = services.background.traces
    if traces is not None and (trace := _begin(traces, request)) is not None:
        tracked.trace = trace
        changed.update(trace.headers)
    tracked.client = services.background.kept_requests.head_of(request.raw_path, request.headers)
    if changed:
        with_headers(request, changed)
    return tracked


def keep_words(tracked: Tracked, request: web.BaseRequest, status: int, error: bytes) -> None:
    """Keep the words of the upstream's refusal with the request, where that is kept. Those about a key often
    repeat it, and are not."""
    client = tracked.client
    if client is None or not error or status in _ABOUT_KEYS:
        return
    hidden = [value for name in client.secret for value in request.headers.getall(name)]
    hidden += [value for name in client.parameters for value in request.query.getall(name, ())]
    tracked.refusal = words_of(error, hidden)


def _begin(traces: Traces, request: web.BaseRequest) -> Started | None:
    parents = request.headers.getall(PARENT, ())
    states = request.headers.getall(STATE, ())
    return traces.begin({PARENT: parents[0], STATE: ",".join(states)} if len(parents) == 1 else {})


def add_ids(said: dict[str, str], tracked: Tracked, upstream: Mapping[str, str]) -> None:
    """Tell the client; `upstream`: the headers of the answer, which may name the request themselves."""
    own = own_headers(tracked)
    named = upstream.get(REQUEST_ID)
    if named and named != tracked.request_id:
        tracked.upstream_id = name_of(named)
    if named:
        own.pop(REQUEST_ID, None)
    said.update(own)


def own_headers(tracked: Tracked) -> dict[str, str]:
    """The headers that tell what a request is known by."""
    told = {REQUEST_ID: tracked.request_id, TRACE_ID: tracked.trace and tracked.trace.id}
    return {name: value for name, value in told.items() if value}


def fields(tracked: Tracked) -> dict[str, str | None]:
    """The same for a log line."""
    return {
        "request": tracked.request_id,
        "upstream_request": tracked.upstream_id,
        "trace": tracked.trace.id if tracked.trace is not None else None,
    }


def own_id(request: web.BaseRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Of an answer of the sidecar's own: the headers, and the fields of a log line."""
    tracked = request.get(TRACKED)
    if tracked is None:
        return {}, {}
    return own_headers(tracked), {name: value for name, value in fields(tracked).items() if value}
