"""Which of what is kept a request asks for: by its method and its path.

Rule: who asks is told as for chats. The store has `timeouts.store` to answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

from aiohttp import web

from sidecar.dialects.chat.joining import encode
from sidecar.errors import StoreUnavailable
from sidecar.proxy.receive import identify
from sidecar.proxy.services import Services
from sidecar.state import responses
from sidecar.state.paging import page_of

__all__ = ["answer"]

_RESPONSE = re.compile(r"/responses/(resp_[^/]*)(/input_items)?\Z")


async def answer(services: Services, request: web.BaseRequest) -> web.StreamResponse | None:
    """What a request gets that asks for something that is kept; None of any other."""
    dialect = services.requests.dialects[-1]
    if not dialect.is_translated:
        return None
    asked = _RESPONSE.search(request.path)
    if asked is None:
        return None
    tenant = identify(services, dialect, request).tenant
    work = _of_response(services, request, tenant, asked)
    if work is None:
        return None
    limit = services.settings.timeouts.store
    try:
        async with asyncio.timeout(limit):
            told = await work
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error
    return web.Response(body=encode(told), content_type="application/json")


def _of_response(
    services: Services, request: web.BaseRequest, tenant: bytes, asked: re.Match[str]
) -> Awaitable[dict[str, Any]] | None:
    id, part = asked[1], asked[2]
    match request.method, part:
        case "GET", None:
            return responses.get(services.store, tenant, id)
        case "GET", _:
            return responses.input_items(services.store, tenant, id, page_of(request.query))
        case "DELETE", None:
            return responses.delete(services.store, tenant, id)
        case _:
            return None
