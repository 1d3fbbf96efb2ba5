"""A request that goes on from a response: which messages stand before its own.

Rules: the response is one of this tenant's, or it is none, like one that never was. Its id leads to the
exchange, and that to the reply in the tree: nothing is looked for, and any response may be gone on from, more
than once. A result has to be that of a call that was made; a call that is told again with its result is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.conversation.message import call_ids
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Reference
from sidecar.conversation.tree import Conversation, Message, Node
from sidecar.errors import BadRequest
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Thin
from sidecar.store import Store

__all__ = ["behind"]

_MAX_SHOWN = 100  # characters of what a client sent that an error repeats


async def behind(store: Store, call: ChatCall, response: Reference) -> Thin:
    """The plan for such a request. Raises `BadRequest`."""
    if call.is_temporary:
        raise BadRequest(
            "`previous_response_id`: nothing is kept of a temporary chat, nor does it go on from what is",
            code="unsupported_value",
            param="previous_response_id",
        )
    conversation, line = await _line(store, call, response)
    key = call.identity.key
    if key is not None and not call.identity.by_agent and conversation.key not in (None, key):
        raise BadRequest(
            "`previous_response_id` is of another conversation than the one that a header names",
            code="unsupported_value",
            param="previous_response_id",
        )
    messages, made = call.chat.path.messages, _made(line)
    _refuse_orphans(messages, made)
    repeats = bool(messages) and _repeats(messages[0], line[-1])
    new = messages[1:] if repeats else messages
    before = line[:-1] if repeats else line
    return Thin(Outcome.APPEND, conversation, line[-1], new, tuple(before), root=line[0].id)


async def _line(store: Store, call: ChatCall, response: Reference) -> tuple[Conversation, Sequence[Node]]:
    """The conversation, and its messages up to and including the reply."""
    tenant = call.identity.tenant
    found = await store.find(tenant, [response.conversation], [])
    exchange = await store.exchange(tenant, response.conversation, response.exchange)
    replies = exchange.detail.replies if exchange is not None else ()
    line = await store.path(response.conversation, replies[0]) if found.conversation and replies else []
    if found.conversation is None or not line:
        raise _unknown()
    return found.conversation, line


def _unknown() -> BadRequest:
    return BadRequest(
        "Previous response not found: it failed, was deleted, or never was.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def _made(line: Sequence[Node]) -> set[str]:
    """The ids of the calls that were made since the newest question."""
    made: set[str] = set()
    for node in reversed(line):
        if node.role == "user":
            break
        made.update(call_ids(node.fields))
    return made


def _repeats(message: Message, reply: Node) -> bool:
    """Does it tell the calls of the reply once more (open-webui #27096)?"""
    told = set(call_ids(message.fields))
    return message.role == "assistant" and bool(told) and told <= set(call_ids(reply.fields))


def _refuse_orphans(messages: Sequence[Message], made: set[str]) -> None:
    for message in messages:
        if message.role == "assistant":
            made = made | set(call_ids(message.fields))
        elif message.role == "tool" and (id := message.fields.get("tool_call_id")) not in made:
            raise BadRequest(
                f"No tool call found for function call output with call_id {str(id)[:_MAX_SHOWN]}.",
                code="invalid_request",
                param="input",
            )
