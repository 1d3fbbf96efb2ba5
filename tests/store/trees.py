"""Messages, conversations and turns to put into a store."""

from __future__ import annotations

import itertools
import json
from typing import Any

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange, Sent, exchange_id
from sidecar.conversation.records import ConversationUpdate, Thread
from sidecar.conversation.tree import Chain, Conversation, Node

TENANT = b"tenant".ljust(16, b".")
OTHER_TENANT = b"another".ljust(16, b".")

_nonces = itertools.count(1)
_times = itertools.count(1)


def talk(id="conv_1", *, tenant=TENANT, key=None, at=1.0, **about):
    return Conversation(id, tenant, key, created_at=at, updated_at=at, **about)


def question(text, under=None, *, role="user", tenant=TENANT, at=1.0, **about):
    """A message of the client: said twice under the same parent, it is the same node."""
    return _node({"role": role, "content": text}, under, tenant, at, None, about)


def reply(text, under, *, tenant=TENANT, at=1.0, nonce=None, **about):
    """A message of the upstream: said twice, it is two nodes that read alike."""
    nonce = next(_nonces) if nonce is None else nonce
    return _node({"role": "assistant", "content": text}, under, tenant, at, nonce, about)


def message(fields, under=None, *, nonce=None, tenant=TENANT, at=1.0, **about):
    """Any message; with `nonce` one of the upstream."""
    return _node(fields, under, tenant, at, nonce, about)


def chat(*texts, tenant=TENANT, under=None):
    """A path of questions and replies in turn."""
    nodes = []
    for number, text in enumerate(texts):
        under = (reply if number % 2 else question)(text, under, tenant=tenant)
        nodes.append(under)
    return nodes


def update(conversation, *nodes, echoes=(), system=None, exchange=None, thread=None, **about):
    return ConversationUpdate(conversation, nodes, tuple(echoes), system, exchange, thread, **about)


def thread(root, head=None, **about):
    """What a root is known by that has been answered, of every field something."""
    usual: dict[str, Any] = {
        "system": b'[{"role":"system","content":"Be kind."}]',
        "model": "demo",
        "tools": ("search",),
    }
    usual |= {"is_answered": True, "updated_at": 1.0}
    return replace(Thread(root.id, head.id if head else None), **(usual | about))


def exchange(conversation, ask, answer=None, *, at=None, **about):
    """What was done to the request that ended with `ask`; each begins a millisecond after the one before."""
    at = next(_times) if at is None else at
    detail = Detail(replies=(answer.id,) if answer else (), target="cloud", sent=Sent("whole"))
    usual = Exchange(
        exchange_id(at, b"same"),
        conversation,
        ask.id if ask else None,
        outcome="continue",
        model="demo",
        status=200,
        input_tokens=3,
        detail=detail,
    )
    return replace(usual, **about)


def _node(fields, under, tenant, at, nonce, about):
    chain = Chain(tenant)
    message = chain.message(json.dumps(fields).encode())
    if nonce is None:
        id = chain.message_id(under, message.digest)
    else:
        id = chain.reply_id(under, message.digest, nonce.to_bytes(8, "big"))
    defaults = {"source": "client" if nonce is None else "upstream", "state": "complete"}
    return Node(
        id=id,
        parent=under.id if under else None,
        digest=message.digest,
        exact=chain.exact(under.exact if under else b"", message),
        role=message.role,
        body=message.raw,
        created_at=at,
        **(defaults | about),
    )
