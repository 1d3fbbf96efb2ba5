"""What to do with a request, once the store has told what it knows of it."""

from __future__ import annotations

import msgspec

from sidecar.conversation.echo import Step
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation, Message, Node

__all__ = ["Plan"]


class Plan(msgspec.Struct, frozen=True):
    """What to do with a request.

    `conversation` is None where nothing is kept. `steps` are the stored nodes that the first messages of
    the request stand for, where they may have to be restored. `line` is the stored path that goes before
    the messages of a client that sends only what is new. `new` is what will be recorded under `parent`.
    """

    outcome: Outcome
    conversation: Conversation | None = None
    parent: Node | None = None
    new: tuple[Message, ...] = ()
    steps: tuple[Step, ...] = ()
    line: tuple[Node, ...] | None = None
    #: The leading system messages (a JSON array) that stand in for the request's own; None: none do.
    system: bytes | None = None
    degraded: bool = False
