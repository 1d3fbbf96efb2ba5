"""The request: its body, who asks, and about which conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from functools import partial
from typing import cast

from aiohttp import web
from msgspec.structs import replace

from sidecar.access.places import names_of, parameters_of, refuse_doubled
from sidecar.access.tenancy import who_asks
from sidecar.background.large_work import LargeWork
from sidecar.conversation.identity import (
    Identity,
    Kind,
    can_be_key,
    conversation_id,
    is_named,
    key_of,
    key_of_agent,
    kind_of,
)
from sidecar.conversation.measure import measure_of_tools
from sidecar.conversation.tree import Chain
from sidecar.dialects.base import Dialect, Request
from sidecar.dialects.responses.references import UnknownItems
from sidecar.dialects.responses.refusal import UnknownCall
from sidecar.errors import BadRequest
from sidecar.exchange.call import (
    Call,
    ChatCall,
    Mode,
    TaskCall,
    UnrecordedCall,
    brings_no_history,
    relies_on_calls,
)
from sidecar.exchange.outcome import Progress
from sidecar.proxy.again import unknown_conversation
from sidecar.proxy.bodies import Held
from sidecar.proxy.body import body_of
from sidecar.proxy.referred import with_items
from sidecar.proxy.services import Services
from sidecar.settings import Settings
from sidecar.upstream.headers import HISTORY, TRIM

__all__ = ["identify", "read_in_steps", "receive"]

_RETRY_COUNT = "x-stainless-retry-count"
_MODES = ("auto", "full", "append", "off")


async def receive(
    services: Services, dialect: Dialect, request: web.BaseRequest, held: Held, progress: Progress
) -> Call:
    """Read and understand a chat request. Raises `BadRequest`, `BodyTooLarge` or `TooManyBodies`."""
    settings = services.settings
    identity = identify(services, dialect, request)
    mode = _mode(settings, request, identity)
    body = await body_of(request, settings, held)
    progress.received = time.monotonic()
    if progress.tracked is not None:
        progress.tracked.body = body
    chain = Chain(identity.tenant, services.requests.long_messages)
    name = conversation_id(services.store.secret, identity.tenant, identity.key) if identity.key else None
    last = services.requests.cache.last(name)
    limits, large = settings.limits, services.background.large_work
    parse = partial(
        dialect.parse, chain=chain, before=last, most=limits.max_messages, escapes=limits.max_escapes
    )
    try:
        chat = await read_in_steps(large, parse(body))
    except (UnknownItems, UnknownCall) as unknown:
        chat = await _with_what_is_stored(services, identity, mode, parse, unknown, body, held)
    if chat.conversation is not None:
        identity = _in_conversation(services, identity, chat.conversation)
        mode = _only_what_is_new(request, mode)
        name = conversation_id(services.store.secret, identity.tenant, chat.conversation)
    if chat.is_private and identity.key is None:
        identity = replace(identity, kind=Kind.TEMPORARY)
    mark = request.headers.get(settings.tasks.header) if settings.tasks.header else None
    if mark and not is_named(mark, settings.identity.no_id):
        mark = None  # the client meant to say, and does not know how
    openings = settings.tasks.openings
    is_task = (
        await large.do("parse", partial(dialect.is_task, mark, chat, openings))
        if chat.is_large
        else dialect.is_task(mark, chat, openings)
    )
    if is_task:
        _refuse_orphans(dialect, chat)
        return TaskCall(identity, dialect, chat, name, mode)
    # A task comes under the chat's id, and is not what its next turn begins with.
    services.requests.cache.keep(name, chat)
    if mode == "off":
        return UnrecordedCall(identity, dialect, chat, name)
    truncation = dialect.truncation(chat)
    return ChatCall(
        identity,
        dialect,
        chain,
        chat,
        mode,
        name,
        brings_no_history(identity, chat, mode),
        is_sent_again=_is_sent_again(request),
        may_be_cut=_may_be_cut(request) and truncation != "disabled",
        awaits_refusal=identity.by_agent and truncation != "auto",
    )


async def _with_what_is_stored(
    services: Services,
    identity: Identity,
    mode: Mode,
    parse: Callable[..., Generator[None, None, Request]],
    unknown: UnknownItems | UnknownCall,
    body: bytes,
    held: Held,
) -> Request:
    """The request with the items that it refers to, or before which the calls of its results may be stored.
    Raises `SidecarError` where they cannot be."""
    large = services.background.large_work
    if isinstance(unknown, UnknownItems):
        body = await with_items(services, identity, unknown, body, held)
        try:
            return await read_in_steps(large, parse(body))
        except UnknownCall as error:
            unknown = error
    chat = await read_in_steps(large, parse(body, goes_on=True))
    if not brings_no_history(identity, chat, mode):
        raise unknown
    return chat


def _refuse_orphans(dialect: Dialect, task: Request) -> None:
    if relies_on_calls(dialect, task):
        raise UnknownCall("a task has no chat that holds calls", code="invalid_request", param="input")


def _in_conversation(services: Services, identity: Identity, conversation: str) -> Identity:
    """Who asks, about the chat that the body names."""
    if identity.key not in (None, conversation) and not identity.by_agent:
        raise BadRequest(
            "`conversation` is another one than a header names",
            code="unsupported_value",
            param="conversation",
        )
    if not can_be_key(conversation):
        raise unknown_conversation(conversation)
    kind = kind_of(conversation, temporary=services.settings.identity.temporary_prefixes, channel=())
    return replace(identity, key=conversation, kind=kind, by_agent=False)


def _only_what_is_new(request: web.BaseRequest, mode: Mode) -> Mode:
    """What goes on in a conversation stands behind its newest message, whatever its client does otherwise."""
    if mode in ("off", "full") and request.headers.get(HISTORY):
        raise BadRequest(
            f"{HISTORY}: {mode} and `conversation` say opposite things",
            code="invalid_history_mode",
            param=HISTORY,
        )
    return "append"


async def read_in_steps(large: LargeWork, steps: Generator[None, None, Request]) -> Request:
    """The request. What of a large one is left after the first step is read in a thread."""
    try:
        next(steps)
    except StopIteration as end:
        read: Request = end.value
        return read
    return await large.do("parse", lambda: _rest(steps))


def _rest(steps: Generator[None, None, Request]) -> Request:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            request: Request = end.value
            # Known from now on: to measure many messages takes as long as to read them.
            _ = request.measure, measure_of_tools(request.tools)
            return request


def _is_sent_again(request: web.BaseRequest) -> bool:
    """OpenAI's SDKs count their retries, and say so with every request: 0 for the first."""
    count = request.headers.get(_RETRY_COUNT)
    return count is not None and count.isdecimal() and int(count[:9]) > 0


def _may_be_cut(request: web.BaseRequest) -> bool:
    """Agents that compact by themselves want to see the upstream's refusal."""
    said = request.headers.get(TRIM)
    if said is not None and said.strip().lower() != "off":
        raise BadRequest(f"{TRIM} can only be off", code="invalid_trim_mode", param=TRIM)
    return said is None


def identify(services: Services, dialect: Dialect, request: web.BaseRequest) -> Identity:
    """Who asks, about which chat. Raises `SidecarError` for one that may not, or says it in two ways."""
    settings, places, headers = services.settings, services.requests.places, request.headers
    rules, header = settings.identity, headers.get
    names = names_of(headers)
    refuse_doubled(places, headers, names)
    target = request.raw_path
    call = parameters_of(places, target) if "?" in target else None
    page = services.requests.visitors.foreign_page(request)
    gate = services.gate
    client = None if gate is None else gate.client(request)
    tenant, credential = who_asks(settings, places, services.store.secret, headers, names, call, page, client)
    key = key_of(header, rules.headers, rules.no_id)
    agents = places.agents + dialect.agent_headers
    by_agent = key is None and (key := key_of_agent(header, agents, rules.no_id)) is not None
    message_ids = [
        _message_id(value, rules.no_id) if name and (value := header(name)) else None
        for name in (rules.message_id_header, rules.user_message_id_header, rules.parent_id_header)
    ]
    sends_history = "\nx-openwebui-" in "\n".join(("", *names)) or any(message_ids)
    return Identity(
        tenant=tenant,
        key=key,
        kind=kind_of(
            key,
            temporary=rules.temporary_prefixes,
            # Without a sign of Open WebUI it is a name that a bot may have given its chat.
            channel=rules.channel_prefixes if sends_history else (),
        ),
        message_id=message_ids[0],
        user_message_id=message_ids[1],
        parent_id=message_ids[2],
        sends_history=sends_history,
        credential=credential,
        by_agent=by_agent,
        client=client,
    )


def _message_id(value: str, no_id: Collection[str]) -> str | None:
    """A value whose bytes are no text cannot be kept, and names no message."""
    return value if value.isprintable() and is_named(value, no_id) else None


def _mode(settings: Settings, request: web.BaseRequest, identity: Identity) -> Mode:
    said = request.headers.get(HISTORY)
    mode = said.strip().lower() if said else settings.history.mode
    if mode not in _MODES:
        raise BadRequest(
            f"{HISTORY} has to be one of {', '.join(_MODES)}", code="invalid_history_mode", param=HISTORY
        )
    if mode == "append" and said and identity.key is None:
        raise BadRequest(
            f"{HISTORY}: append needs a conversation id ({' or '.join(settings.identity.headers)})",
            code="conversation_id_required",
            param=settings.identity.headers[0],
        )
    return cast(Mode, mode)
