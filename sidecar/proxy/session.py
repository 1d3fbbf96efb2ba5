"""Under which name the upstream knows a conversation.

Rules: the sidecar's own id is added under the names of `session.headers` and `session.body_field`, and those
of a profile that the settings name, unless they are hints (which `upstream/session_header.py` adds). A header
by which the client itself names its chat (`identity.headers`, `identity.agent_headers`) goes on as it came,
for a backend that knows the chat so; so does the name of one that a client names in its body alone
(`conversation`), as such a header, and a body field that it sets stays. With `session.opaque` the sidecar's
id stands in their place, and so it does under a name of `session.headers` where the chat began without an id:
there the upstream knows it by that. Every other header of `session.headers` is the sidecar's alone:
`headers.to_upstream` has already left out what the client put there. Chats that are temporary or mix several
conversations get no id added.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from multidict import CIMultiDict

from sidecar.conversation.identity import Kind, is_named
from sidecar.conversation.message import encode
from sidecar.dialects.base import Request
from sidecar.exchange.call import ChatCall
from sidecar.proxy.services import Services

__all__ = ["add_session", "rename", "renamed"]


def add_session(
    services: Services,
    call: ChatCall,
    request: web.BaseRequest,
    headers: CIMultiDict[str],
    session: str | None,
) -> dict[str, bytes]:
    """Add the conversation's id under the configured names; returns what the body is to have beside."""
    if session is None:
        return {}
    if call.identity.kind is Kind.CHAT:
        no_id, key = services.settings.identity.no_id, call.identity.key
        is_named_later = not call.identity.by_agent and session not in (call.conversation_id, key)
        for name in services.settings.session.own_headers:
            # What is left of the client's under such a name is its own name for the chat.
            if is_named_later:
                headers[name] = session
            elif not is_named(headers.get(name), no_id):
                headers[name] = _in_its_body(services, call, name) or session
    if services.settings.session.opaque:
        rename(services, request, headers, session)
    return dict(_fields(services, call, session))


def _in_its_body(services: Services, call: ChatCall, header: str) -> str | None:
    """The name that the client gives its chat in the body, where this header would have said the same."""
    rules = services.settings
    if call.chat.conversation is None or rules.session.opaque:
        return None
    is_same = header.lower() in map(str.lower, rules.identity.headers)
    return call.chat.conversation if is_same else None


def rename(
    services: Services, request: web.BaseRequest, headers: CIMultiDict[str], session: str | None
) -> None:
    """With `session.opaque`: this id in every header in which the client named its chat."""
    rules = services.settings.identity
    if session is None or not services.settings.session.opaque:
        return
    for name in (*rules.headers, *rules.agent_headers):
        if is_named(request.headers.get(name), rules.no_id):
            headers[name] = session


def renamed(services: Services, chat: Request, session: str | None, body: bytes | None = None) -> bytes:
    """With `session.opaque`: the body with this id in the field in which the client named its chat, if it
    did; else the body as it is."""
    body = chat.body if body is None else body
    rules = services.settings.session
    if session is None or not rules.opaque or not rules.field:
        return body
    field = {rules.field: encode(session)}
    if chat.with_fields(field) is not chat.body:
        return body  # it names none
    return chat.with_body(body).with_values(field)


def _fields(services: Services, call: ChatCall, session: str) -> Iterator[tuple[str, bytes]]:
    rules = services.settings.session
    if rules.field and call.identity.kind is Kind.CHAT:
        yield rules.field, encode(session)
    if rules.slots:
        yield "id_slot", encode(services.requests.slots.of(session))
    if rules.cache_prompt:
        yield "cache_prompt", b"true"
