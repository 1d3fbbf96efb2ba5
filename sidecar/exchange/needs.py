"""What a decision needs to know beside the request, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from sidecar.conversation.effort import EffortLimits
from sidecar.conversation.reconcile import (
    Place,
    settled,
)
from sidecar.conversation.records import Found, Thread
from sidecar.conversation.tree import Conversation, Node, Tree
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import RecordedPlan
from sidecar.exchange.threads import (
    Running,
)

__all__ = [
    "Case",
    "Decision",
    "Known",
    "NeedPath",
    "NeedSystem",
    "NeedThreads",
    "NeedTree",
    "Rules",
    "case_of",
]


class NeedThreads(NamedTuple):
    """The threads of the conversation have to be known."""

    given: Callable[[Sequence[Thread]], Decision]


class NeedTree(NamedTuple):
    """All its messages."""

    given: Callable[[Tree], Decision]


class NeedPath(NamedTuple):
    """The messages from the root to this node."""

    node: bytes
    given: Callable[[Sequence[Node]], Decision]


class NeedSystem(NamedTuple):
    """The first and the last leading system messages of the conversation (JSON arrays), or None."""

    given: Callable[[tuple[bytes, bytes] | None], Decision]


Decision = RecordedPlan | NeedThreads | NeedTree | NeedPath | NeedSystem


class Rules(msgspec.Struct, frozen=True):
    """What the settings say of it."""

    #: May a stored node that is the client's message to the letter be left unread?
    by_hash: bool = True
    #: Is the first system prompt kept, against clocks in it?
    pins: bool = False
    effort: EffortLimits = EffortLimits()


class Known(msgspec.Struct, frozen=True):
    """What is known of a request without looking further.

    `fresh`: the conversation that it begins, if it begins one. `of_its_own`: the same for a new chat under an
    agent's header. `running`: other requests of the conversation that are being answered. `is_unseen`: the
    client has sent the very same before, and has not seen the end of an answer to it.
    """

    found: Found
    fresh: Conversation
    of_its_own: Conversation | None = None
    running: tuple[Running, ...] = ()
    is_unseen: bool = False


class Case(msgspec.Struct, frozen=True):
    """One request and all that is handed along while it is decided."""

    call: ChatCall
    known: Known
    rules: Rules
    conversation: Conversation
    named: frozenset[str]
    #: Where its hashes say that it continues; None if they do not tell.
    place: Place | None


_NOBODY: frozenset[str] = frozenset()


def case_of(call: ChatCall, known: Known, rules: Rules, conversation: Conversation) -> Case:
    identity = call.identity
    named = _NOBODY
    if identity.parent_id or identity.user_message_id:
        named = frozenset(each for each in (identity.parent_id, identity.user_message_id) if each)
    return Case(call, known, rules, conversation, named, settled(call.chat.path, known.found.nodes, named))
