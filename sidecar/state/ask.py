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
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.dialect import belongs
from sidecar.errors import BadRequest, StoreUnavailable
from sidecar.proxy.body import body_of
from sidecar.proxy.receive import identify
from sidecar.proxy.services import Services
from sidecar.state import responses
from sidecar.state.conversations import Conversations
from sidecar.state.paging import page_of
from sidecar.state.tokens import input_tokens

__all__ = ["answer"]

_TOKENS = re.compile(r"/responses/input_tokens\Z")
_RESPONSE = re.compile(r"/responses/([^/]+)(/input_items)?\Z")
_CONVERSATION = re.compile(r"/conversations(?:/([^/]+))?(/items)?(?:/([^/]+))?\Z")
_LARGE = 256 << 10  # bytes of a body that are read elsewhere

Told = dict[str, Any]


async def answer(services: Services, request: web.BaseRequest) -> web.StreamResponse | None:
    """What a request gets that asks for something that is kept; None of any other."""
    dialect = services.requests.dialects[-1]
    if not dialect.is_translated:
        return None
    if not belongs(request.path):
        return None
    identity = identify(services, dialect, request)
    work: Awaitable[Told] | None = None
    if request.method == "POST" and _TOKENS.search(request.path):
        work = input_tokens(services, dialect, identity, await _body(services, request))
    elif (response := _RESPONSE.search(request.path)) is not None:
        work = _of_response(services, request, identity.tenant, response)
    elif (conversation := _CONVERSATION.search(request.path)) is not None:
        body = await _body(services, request) if request.method == "POST" else {}
        work = _of_conversation(Conversations(services, identity.tenant), request, conversation, body)
    if work is None:
        return None
    return web.Response(body=encode(await _in_time(services, work)), content_type="application/json")


async def _in_time(services: Services, work: Awaitable[Told]) -> Told:
    limit = services.settings.timeouts.store + services.settings.history.append_wait
    try:
        async with asyncio.timeout(limit):
            return await work
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within {limit:g} s") from error


def _of_response(
    services: Services, request: web.BaseRequest, tenant: bytes, asked: re.Match[str]
) -> Awaitable[Told] | None:
    id, part = asked[1], asked[2]
    match request.method, part:
        case "GET", None if request.query.get("stream") == "true":
            raise BadRequest(
                "a response that is over is told as one object: leave out `stream`",
                code="unsupported_value",
                param="stream",
            )
        case "GET", None:
            return responses.get(services.store, tenant, id)
        case "GET", _:
            return responses.input_items(services.store, tenant, id, page_of(request.query))
        case "DELETE", None:
            return responses.delete(services.store, tenant, id)
        case _:
            return None


def _of_conversation(
    all: Conversations, request: web.BaseRequest, asked: re.Match[str], body: Told
) -> Awaitable[Told] | None:
    name, items, item = asked[1], asked[2] is not None, asked[3]
    if name is None:
        return all.create(body) if request.method == "POST" and not items else None
    match request.method, items, item:
        case "GET", False, None:
            return all.get(name)
        case "POST", False, None:
            return all.update(name, body)
        case "DELETE", False, None:
            return all.delete(name)
        case "GET", True, None:
            return all.items(name, page_of(request.query))
        case "POST", True, None:
            return all.add(name, body)
        case "GET", True, _:
            return all.item(name, item)
        case "DELETE", True, _:
            return all.remove(name, item)
        case _:
            return None


async def _body(services: Services, request: web.BaseRequest) -> Told:
    """What a request says, which may be nothing. Raises `BadRequest`."""
    with services.requests.bodies.hold() as held:
        data = await body_of(request, services.settings, held)
        if not data.strip():
            return {}
        try:
            told = await asyncio.to_thread(loads, data) if len(data) > _LARGE else loads(data)
        except (ValueError, RecursionError) as error:
            raise BadRequest("the body is not valid JSON", code="invalid_json") from error
    if not isinstance(told, dict):
        raise BadRequest("the body has to be a JSON object", code="invalid_json")
    return told
