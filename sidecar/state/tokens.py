"""How many tokens a request would take, without asking it.

Rule: it is the estimate by which prompts are cut, which learns from what the upstream reports of this model:
nobody is asked. All that would stand before what is new counts, without what was taken out of it, and nothing
is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from sidecar.conversation.identity import Identity, conversation_id
from sidecar.conversation.measure import Measure, measure_of_tools, measured, total
from sidecar.conversation.tree import Chain, Node
from sidecar.dialects.base import Dialect, Request
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.responses.items import Leading
from sidecar.dialects.responses.kept import leading_in
from sidecar.dialects.responses.references import UnknownItems
from sidecar.proxy.again import kept_exchange, unknown_conversation
from sidecar.proxy.go_on import unknown_response
from sidecar.proxy.in_conversation import carried_in, found_by_name
from sidecar.proxy.receive import read_in_steps
from sidecar.proxy.referred import with_items
from sidecar.proxy.services import Services
from sidecar.proxy.taken_out import Left, left_in

__all__ = ["input_tokens"]


async def input_tokens(
    services: Services, dialect: Dialect, identity: Identity, body: dict[str, Any]
) -> dict[str, Any]:
    """The tokens of what this request brings and goes on from. Raises `BadRequest` or `NotFound`."""
    limits, large = services.settings.limits, services.background.large_work
    data = encode({"input": [], **body})
    parse = partial(
        dialect.parse,
        chain=Chain(identity.tenant),
        before=None,
        most=limits.max_messages,
        escapes=limits.max_escapes,
    )
    try:
        chat = await read_in_steps(large, parse(data))
    except UnknownItems as unknown:
        chat = await read_in_steps(large, parse(await with_items(services, identity, unknown, data)))
    before = await _before(services, identity, chat)
    weights = services.background.calibration.weights(chat.model)
    tokens = await large.do("parse", lambda: weights.tokens(_measure(chat, before)))
    return {"object": "response.input_tokens", "input_tokens": tokens}


class _Before(NamedTuple):
    """What stands before a request: messages, and the system items before them."""

    line: Sequence[Node] = ()
    leading: Sequence[Leading] = ()


def _measure(chat: Request, before: _Before) -> Measure:
    said = [measured(node.fields) for node in before.line]
    said += [measured({"role": "system", "content": text}) for _, text in before.leading]
    return total([chat.measure, measure_of_tools(chat.tools), *said])


async def _before(services: Services, identity: Identity, chat: Request) -> _Before:
    store, tenant = services.store, identity.tenant
    if chat.conversation is not None:
        id = conversation_id(store.secret, tenant, chat.conversation)
        conversation = await found_by_name(store, tenant, id, chat.conversation)
        if conversation is None:
            raise unknown_conversation(chat.conversation)
        if conversation.tip is None:
            return _Before()
        line = await store.path(conversation.id, conversation.tip)
        left = await left_in(store, conversation, line)
        return _Before(left.nodes, await carried_in(store, conversation, line))
    if chat.behind is None:
        return _Before()
    kept = await kept_exchange(store, tenant, chat.behind)
    told = kept.exchange.detail.told if kept is not None else None
    if kept is None or kept.reply is None or told is None:
        raise unknown_response()
    line = await store.path(chat.behind.conversation, kept.reply.id)
    stands_in = (await store.find(tenant, [chat.behind.conversation], [])).conversation
    left = await left_in(store, stands_in, line) if stands_in is not None else Left(line)
    return _Before(left.nodes, leading_in(told))
