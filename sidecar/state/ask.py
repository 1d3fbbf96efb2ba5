"""Which of what is kept a request asks for: by its method and its path.

Rules: who asks is told as for chats. The store has `timeouts.store` to answer. A path is parted before it is
decoded: a name may hold a slash, as `%2F`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.dialect import belongs
from sidecar.dialects.responses.ids import reference_of
from sidecar.dialects.responses.translation import untranslated
from sidecar.errors import BadRequest, StoreUnavailable
from sidecar.proxy.body import body_of
from sidecar.proxy.follow import follow
from sidecar.proxy.receive import identify
from sidecar.proxy.services import Services
from sidecar.state import responses
from sidecar.state.conversations import Conversations
from sidecar.state.paging import page_of
from sidecar.state.tokens import input_tokens

__all__ = ["answer"]

_TOKENS = re.compile(r"/responses/input_tokens\Z")
_RESPONSE = re.compile(r"/responses/([^/]+)(?:/(input_items|cancel))?\Z")
_CONVERSATION = re.compile(r"/conversations(?:/([^/]+))?(/items)?(?:/([^/]+))?\Z")
_MAX_DIGITS = 9
_LARGE = 256 << 10  # bytes of a body that are read elsewhere

Told = dict[str, Any]


async def answer(services: Services, request: web.BaseRequest) -> web.StreamResponse | None:
    """What a request gets that asks for something that is kept; None of any other."""
    dialect = services.requests.responses
    if dialect is None or not belongs(request.path):
        return None
    identity = identify(services, dialect, request)
    work: Awaitable[Told] | None = None
    conversations = Conversations(services, identity.tenant)
    path = request.rel_url.path_safe  # decoded, but for what would part it
    if request.method == "POST" and _TOKENS.search(path):
        work = input_tokens(services, dialect, identity, await _body(services, request))
    elif (response := _RESPONSE.search(path)) is not None:
        if request.method == "GET" and response[2] is None and request.query.get("stream") == "true":
            return await _followed(services, request, identity.tenant, unquote(response[1]))
        work = _of_response(services, request, identity.tenant, response)
    elif (conversation := _CONVERSATION.search(path)) is not None:
        body = await _body(services, request) if request.method == "POST" else {}
        work = _of_conversation(conversations, request, conversation, body)
    if work is None:
        return None
    told = encode(await _in_time(services, work))
    return web.Response(
        body=told, headers={"Content-Type": "application/json", **untranslated(conversations.tools)}
    )


async def _in_time(services: Services, work: Awaitable[Told]) -> Told:
    limit = services.settings.timeouts.store + services.settings.history.append_wait
    try:
        async with asyncio.timeout(limit):
            return await work
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within {limit:g} s") from error


async def _followed(
    services: Services, request: web.BaseRequest, tenant: bytes, id: str
) -> web.StreamResponse:
    """The events of a response that is made in the background."""
    said = request.query.get("starting_after", "-1")
    if said != "-1" and not (said.isdecimal() and len(said) <= _MAX_DIGITS):
        raise BadRequest(
            "`starting_after` has to be the number of an event", code="invalid_value", param="starting_after"
        )
    await _in_time(
        services, responses.get(services, tenant, id)
    )  # lest another's be told from one that is over
    where = reference_of(id)
    assert where is not None
    return await follow(services, request, tenant, where, int(said), {})


def _of_response(
    services: Services, request: web.BaseRequest, tenant: bytes, asked: re.Match[str]
) -> Awaitable[Told] | None:
    id, part = unquote(asked[1]), asked[2]
    match request.method, part:
        case "GET", None:
            return responses.get(services, tenant, id)
        case "GET", "input_items":
            return responses.input_items(services.store, tenant, id, page_of(request.query))
        case "DELETE", None:
            return responses.delete(services, tenant, id)
        case "POST", "cancel":
            return responses.cancel(services, tenant, id)
        case _:
            return None


def _of_conversation(
    all: Conversations, request: web.BaseRequest, asked: re.Match[str], body: Told
) -> Awaitable[Told] | None:
    items = asked[2] is not None
    if asked[1] is None:
        return all.create(body) if request.method == "POST" and not items else None
    name, item = unquote(asked[1]), unquote(asked[3]) if asked[3] is not None else None
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
        case "GET", True, str():
            return all.item(name, item)
        case "DELETE", True, str():
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
