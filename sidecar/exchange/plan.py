"""What to do with a request: where in the stored tree it continues, and what goes before its messages."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec.structs import replace

from sidecar.conversation.echo import Step
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation, Message, Node, Path

__all__ = ["Plan", "RecordedPlan", "Thin", "Unrecorded", "Whole", "own_path", "session_of"]


class Unrecorded(msgspec.Struct, frozen=True):
    """It goes on, and nothing of it is kept. `degraded`: because the store fails."""

    outcome: Outcome
    degraded: bool = False
    #: Nobody looks for its history.
    brought: ClassVar[None] = None

    @property
    def conversation(self) -> None:
        """None: it is part of none."""
        return None


class Whole(msgspec.Struct, frozen=True):
    """A request that brings its history, or has none.

    `new` is what will be recorded under `parent`. `steps` are the stored nodes that the first messages of the
    request stand for, where they may have to be restored.
    """

    outcome: Outcome
    conversation: Conversation
    parent: Node | None = None
    new: tuple[Message, ...] = ()
    steps: tuple[Step, ...] = ()
    #: The leading system messages (a JSON array) that stand in for the request's own; None: none do.
    system: bytes | None = None
    degraded: bool = False
    #: Its history was not looked for to the end: comparing more would have cost too much.
    is_given_up: bool = False
    #: The id of the root that it is under, where that is stored and known; None for a new one.
    root: bytes | None = None
    #: It goes on, by another question or result, from a message from which somebody has gone on before.
    is_branch: bool = False
    #: In which branch of a chat without an id it stands that has a session of its own: its first message.
    branch: bytes | None = None
    #: The name of that session; None for that of the conversation.
    session: str | None = None
    #: How many messages it has, where the stored front is not among them; None where it is, or nobody looked.
    brought: int | None = None
    #: Nothing is.
    moved: ClassVar[tuple[Node, ...]] = ()
    #: It goes on from nothing that has any.
    carried: ClassVar[tuple[tuple[str, str], ...]] = ()


class Thin(msgspec.Struct, frozen=True):
    """A request of a client that sends only what is new. `line` is the stored path that goes before it."""

    outcome: Outcome
    conversation: Conversation
    parent: Node
    new: tuple[Message, ...]
    line: tuple[Node, ...]
    system: bytes | None = None
    degraded: bool = False
    #: The id of the root of the thread that it belongs to.
    root: bytes | None = None
    #: Of the line, what has yet to be stored there.
    moved: tuple[Node, ...] = ()
    #: The system items (role and text) of what it goes on from, which are in `system`.
    carried: tuple[tuple[str, str], ...] = ()
    #: So many of its first messages tell again what stands at the end of the line, and are not sent twice.
    again: int = 0
    #: It is known to bring none.
    brought: ClassVar[None] = None

    @property
    def session(self) -> None:
        """None: that of the conversation."""
        return None


RecordedPlan = Whole | Thin
Plan = Unrecorded | Whole | Thin


def session_of(plan: Plan) -> str | None:
    """Under which id its client and the upstream know the conversation; None if it is part of none."""
    if plan.conversation is None:
        return None
    return plan.session or plan.conversation.id


def own_path(plan: Plan, path: Path) -> Path:
    """Of a request's messages those that go as it sent them, where others stand in the line of its plan."""
    again = plan.again if isinstance(plan, Thin) else 0
    return replace(path, messages=path.messages[again:], hashes=path.hashes[again:]) if again else path
