"""A history that a client wants in fewer words: the model is asked, as for any other background task."""

from __future__ import annotations

import time

from aiohttp import web
from multidict import CIMultiDict

from sidecar.aiohttp_internals.inner import InnerWriter, inner_request
from sidecar.dialects.responses.compaction import compacted, request_for_summary
from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.responses.frames import told_by
from sidecar.errors import UpstreamUnreachable
from sidecar.proxy.body import body_of
from sidecar.proxy.handle import handle, handle_tracked
from sidecar.proxy.services import Services
from sidecar.random_ids import token

__all__ = ["PLACE", "compact"]

#: How the path of such a request ends.
PLACE = "/responses/compact"
_OK = 200
_LAST = "/compact"


async def compact(services: Services, dialect: Responses, request: web.BaseRequest) -> web.StreamResponse:
    """The answer. Raises `SidecarError`."""
    with services.requests.bodies.hold() as held:
        data = await body_of(request, services.settings, held)
        body, items = await services.background.large_work.do("parse", lambda: request_for_summary(data))
    answer = bytearray()

    async def tell(_status: int, piece: bytes) -> None:
        answer.extend(piece)

    writer, headers = InnerWriter(tell), CIMultiDict(request.headers)
    for name in ("Content-Encoding", "Transfer-Encoding", "Expect"):
        headers.popall(name, None)
    place, found, parameters = request.raw_path.partition("?")
    path = place.removesuffix(_LAST) + found + parameters
    asking = inner_request(request, headers, body, writer, path)
    response = await (handle_tracked if services.is_tracked else handle)(services, dialect, asking)
    await response.prepare(asking)  # if it has not begun
    await response.write_eof()
    said = {"Content-Type": "application/json", **told_by(writer.headers)}
    if writer.status != _OK:
        return web.Response(status=writer.status, body=bytes(answer), headers=said)
    told = compacted(items, bytes(answer), token(10).hex(), int(time.time()))
    if told is None:
        raise UpstreamUnreachable("the model gave no summary", code="no_summary")
    return web.Response(body=told, headers=said)
