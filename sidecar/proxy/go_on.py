"""A request that goes on from a response: which messages stand before its own.

Rules: the response is one of this tenant's, or it is none, like one that never was. Its id leads to the
exchange, and that to the reply in the tree: nothing is looked for, and any response may be gone on from, more
than once. A result has to be that of a call that was made; a call that is told again with its result is one.
A call that gets no result was not carried out, and is answered so, as where a client sends its whole history:
what was called is not lost to the model, and nothing stays open that could never be closed. To a client that
sends all that was said, word for word, though it need not, nothing is added.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.conversation.message import call_ids, encode, visible_text
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Reference
from sidecar.conversation.tree import Chain, Conversation, Message, Node
from sidecar.dialects.responses.call_ids import ids_told
from sidecar.dialects.responses.items import ABORTED, Leading
from sidecar.dialects.responses.kept import leading_in
from sidecar.errors import BadRequest
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import client_nodes
from sidecar.exchange.open_calls import results
from sidecar.exchange.plan import Thin
from sidecar.proxy.taken_out import Left, left_in
from sidecar.store import Store

__all__ = ["behind", "calls_made", "newest_behind", "refuse_orphans", "system_with", "unknown_response"]

_MAX_SHOWN = 100  # characters of what a client sent that an error repeats


async def behind(store: Store, call: ChatCall, response: Reference) -> Thin:
    """The plan for such a request. Raises `BadRequest`."""
    if call.is_temporary:
        raise BadRequest(
            "`previous_response_id`: nothing is kept of a temporary chat, nor does it go on from what is",
            code="unsupported_value",
            param="previous_response_id",
        )
    conversation, line, carried = await _line(store, call, response)
    key = call.identity.key
    if key is not None and not call.identity.by_agent and conversation.key not in (None, key):
        raise BadRequest(
            "`previous_response_id` is of another conversation than the one that a header names",
            code="unsupported_value",
            param="previous_response_id",
        )
    told = ids_told(line[-1].fields, response.exchange)
    left = await left_in(store, conversation, line)
    system = system_with(call, [text for _, text in carried])
    plan = newest_behind(call, conversation, line, left, told, system)
    return replace(plan, carried=carried)


def system_with(call: ChatCall, texts: Sequence[str]) -> bytes | None:
    """One system message of the request's own and these, as a JSON array; None where none of these are."""
    if not texts:
        return None
    own = [visible_text(each.fields) for each in call.chat.system]
    text = "\n\n".join(filter(None, (*own, *texts)))
    return b"[" + encode({"role": "system", "content": text}) + b"]"


def newest_behind(
    call: ChatCall,
    conversation: Conversation,
    line: Sequence[Node],
    left: Left,
    told: Sequence[str],
    system: bytes | None = None,
) -> Thin:
    """The plan for what is new behind this line, whose last message told calls of these ids. What is `left`
    of it is sent. Raises `BadRequest`."""
    messages, told = call.chat.path.messages, [id for id in told if id not in left.lost]
    refuse_orphans(messages, (calls_made(line) - left.lost) | set(told))
    if len(messages) > len(line) and all(map(_is_same, messages, line)):
        # Its system items are among what it sends.
        return Thin(Outcome.APPEND, conversation, line[-1], messages[len(line) :], (), root=line[0].id)
    if messages and _repeats(messages[0], told):
        before = left.of(line[:-1])
        return Thin(Outcome.APPEND, conversation, line[-1], messages[1:], before, system, root=line[0].id)
    moved = _aborted(call.chain, line[-1], [id for id in told if id not in results(messages)])
    return Thin(
        Outcome.APPEND,
        conversation,
        (*line, *moved)[-1],
        messages,
        (*left.nodes, *moved),
        system,
        root=line[0].id,
        moved=moved,
    )


async def _line(
    store: Store, call: ChatCall, response: Reference
) -> tuple[Conversation, Sequence[Node], tuple[Leading, ...]]:
    """The conversation, its messages up to and including the reply, and the system items before them."""
    tenant = call.identity.tenant
    found = await store.find(tenant, [response.conversation], [])
    exchange = await store.exchange(tenant, response.conversation, response.exchange)
    told = exchange.detail.told if exchange is not None else None
    replies = exchange.detail.replies if exchange is not None and told is not None else ()
    line = await store.path(response.conversation, replies[0]) if found.conversation and replies else []
    if found.conversation is None or not line or told is None:
        raise unknown_response()
    return found.conversation, line, leading_in(told)


def unknown_response() -> BadRequest:
    """The error for a response from which nobody can go on."""
    return BadRequest(
        "Previous response not found: it failed, was deleted, or never was.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def calls_made(line: Sequence[Node]) -> set[str]:
    """The ids of the calls that were made since the newest question."""
    made: set[str] = set()
    for node in reversed(line):
        if node.role == "user":
            break
        made.update(call_ids(node.fields))
    return made


def _is_same(message: Message, node: Node) -> bool:
    return message.digest == node.digest


def _repeats(message: Message, calls: Sequence[str]) -> bool:
    """Does it tell the calls of the reply once more (open-webui #27096)?"""
    told = set(call_ids(message.fields))
    return message.role == "assistant" and bool(told) and told <= set(calls)


def _aborted(chain: Chain, reply: Node, open: Sequence[str]) -> tuple[Node, ...]:
    """Results behind a reply for its calls that nobody has carried out."""
    told = ({"role": "tool", "tool_call_id": id, "content": ABORTED} for id in open)
    return tuple(client_nodes(chain, reply, (chain.message(encode(each)) for each in told), time.time()))


def refuse_orphans(messages: Sequence[Message], made: set[str]) -> None:
    """Raises `BadRequest` for a result of a call that is not among those made, nor told before it."""
    for message in messages:
        if message.role == "assistant":
            made = made | set(call_ids(message.fields))
        elif message.role == "tool" and (id := message.fields.get("tool_call_id")) not in made:
            raise BadRequest(
                f"No tool call found for function call output with call_id {str(id)[:_MAX_SHOWN]}.",
                code="invalid_request",
                param="input",
            )
