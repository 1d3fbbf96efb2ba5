"""A request that goes on from a response: which messages stand before its own.

Rules: the response is one of this tenant's, or it is none, like one that never was. Its id leads to the
exchange, and that to the reply in the tree: nothing is looked for, and any response may be gone on from, more
than once. A result has to be that of a call that was made. What a client tells again of the turn whose
results it brings (Open WebUI the calls, the AI SDK all that led to them) stands once, as it was made. A call
that gets no result was not carried out, and is answered so, as where a client sends its whole history: what
was called is not lost to the model, and nothing stays open that could never be closed. To a client that sends
all that was said, word for word, though it need not, nothing is added.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.message import call_ids, encode, visible_text
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Chain, Conversation, Message, Node, Tree
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

__all__ = [
    "NEWEST",
    "behind",
    "calls_made",
    "calls_told",
    "newest_behind",
    "refuse_orphans",
    "system_with",
    "unknown_response",
]

NEWEST = 8  # exchanges among which that of the newest answer is
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
    more = await _asked_since(store, conversation, line[-1], call.chat.path.messages)
    if more:
        line, told = [*line, *more], await calls_told(store, conversation, more[-1])
    left = await left_in(store, conversation, line)
    system = system_with(call, [text for _, text in carried])
    plan = newest_behind(call, conversation, line, left, told, system, len(more))
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
    again: int = 0,
) -> Thin:
    """The plan for what is new behind this line, whose last message told calls of these ids. What is `left`
    of it is sent. `again`: so many messages are known to tell it again. Raises `BadRequest`."""
    messages, told = call.chat.path.messages, [id for id in told if id not in left.lost]
    refuse_orphans(messages, (calls_made(line) - left.lost) | set(told))
    if len(messages) > len(line) and all(map(_is_same, messages, line)):
        # Its system items are among what it sends.
        return Thin(Outcome.APPEND, conversation, line[-1], messages[len(line) :], (), root=line[0].id)
    again = again or _told_again(messages, line, told)
    new = messages[again:]
    moved = _aborted(call.chain, line[-1], [id for id in told if id not in results(new)])
    return Thin(
        Outcome.APPEND,
        conversation,
        (*line, *moved)[-1],
        new,
        (*left.nodes, *moved),
        system,
        root=line[0].id,
        moved=moved,
        again=again,
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


async def calls_told(store: Store, conversation: Conversation, reply: Node) -> list[str]:
    """Under which ids the calls of this message were told: by its response, or as items of this
    conversation, where its upstream gave none."""
    given = list(call_ids(reply.fields))
    if ids_told(reply.fields, b"") == given:
        return given
    for each in await store.exchanges(conversation.tenant, conversation.id, limit=NEWEST):
        if each.detail.told is not None and reply.id in each.detail.replies:
            return ids_told(reply.fields, each.id)
    return ids_told(reply.fields, reply.id)


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


def _told_again(messages: Sequence[Message], line: Sequence[Node], calls: Sequence[str]) -> int:
    """How many of the messages that stand before the results of these calls, which the line ends with, tell
    its newest turn again (open-webui #27096); 0 unless all of them do."""
    ids = (each.fields.get("tool_call_id") if each.role == "tool" else None for each in messages)
    count = next((at for at, id in enumerate(ids) if id in calls), 0)
    at = next((at for at in range(len(line) - 1, 0, -1) if line[at].role == "user"), 0)
    told = {(node.role, node.digest) for node in line[at:]}
    made = calls_made(line) | set(calls)
    return count if all(_is_told(each, told, made) for each in messages[:count]) else 0


def _is_told(message: Message, told: Collection[tuple[str, bytes]], made: Collection[str]) -> bool:
    """Is it a message of the turn, or does it tell calls or a result of it?"""
    if (message.role, message.digest) in told:
        return True
    ids = [message.fields.get("tool_call_id")] if message.role == "tool" else call_ids(message.fields)
    return bool(ids) and all(id in made for id in ids)


async def _asked_since(
    store: Store, conversation: Conversation, reply: Node, messages: Sequence[Message]
) -> list[Node]:
    """What of these was said behind a reply already, up to the newest answer: its client calls tools, and has
    each request go on from the response before its turn."""
    if not any(each.role == "assistant" for each in messages):
        return []
    tree, more = Tree(await store.tree(conversation.id)), [reply]
    for message in messages:
        known = (each for each in reversed(tree.children(more[-1])) if _is_copy(message, each))
        if (node := next(known, None)) is None:
            break
        more.append(node)
    while more[-1].role != "assistant":
        more.pop()
    return more[1:]


def _is_copy(message: Message, node: Node) -> bool:
    if message.role != node.role or node.state == "failed":
        return False
    calls = list(call_ids(message.fields))
    return message.digest == node.digest or (bool(calls) and calls == list(call_ids(node.fields)))


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
