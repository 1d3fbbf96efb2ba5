"""Where in the stored tree does this request continue?

The client's array is the truth about which turns exist; the store is the truth about what a message
really said. So the longest front of the request that is a stored path is *matched*, and what follows
is new: at a tip it continues, at an inner node it branches, and nothing stored is ever rewritten.

Usually one look-up by hash finds the place (`places` names the hashes, `settled` reads the answer).
Only where that does not reach the last assistant message is the tree walked (`walk`), by content
first and by echo second; the caller then remembers the echo, so that the next request is a look-up
again.

This is about requests that bring their history. Where new words without one continue is decided in
`exchange/thin.py`, and which of the two a request is in `exchange/decide.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from sidecar.conversation.echo import (
    Step,
    echoed_answers,
    echoed_questions,
    echoed_results,
    with_systems_below,
)
from sidecar.conversation.effort import Effort, TooMuch
from sidecar.conversation.message import SYSTEM_ROLES, visible_text
from sidecar.conversation.tree import Message, Node, Path, Tree

__all__ = [
    "NOWHERE",
    "Match",
    "Outcome",
    "Place",
    "called_place",
    "joined_behind",
    "outcome_of",
    "places",
    "settled",
    "walk",
]

# The front of a history that its client replaced by a summary: a message, or a question and its answer.
_SUMMED_UP = (1, 2)
# So many characters of an answer are nobody else's: a summary that was asked for here, and stands in front.
_LONG_ANSWER = 200

#: More candidates than this one request never asks for; a longer unanswered run is walked instead.
MAX_PLACES = 32


class Outcome(StrEnum):
    """What a request turned out to be; the value of `X-Sidecar-Outcome`."""

    START = "start"
    CONTINUE = "continue"
    BRANCH = "branch"
    RETRY = "retry"
    EXTEND = "extend"
    APPEND = "append"
    UNANCHORED = "unanchored"
    ALONE = "alone"
    TASK = "task"
    BYPASS = "bypass"


class Place(msgspec.Struct, frozen=True):
    """The first `position` messages of the request are stored, and the last of them is `node`.

    `position` 0 with no node: nothing is stored. `anchored` is False where the front of the request
    is not a stored root and the place was found further down.
    """

    position: int
    node: Node | None
    anchored: bool = True


@dataclass(slots=True, frozen=True)
class Match:
    """A place together with the stored nodes that each matched message stands for."""

    place: Place
    steps: tuple[Step, ...]
    #: It was given up: comparing more would have cost too much.
    is_given_up: bool = False


NOWHERE = Place(0, None)


def places(path: Path) -> range:
    """The positions (deepest first) at which a look-up can settle where the request continues.

    From the last assistant message to the end: what lies before it is covered by its hash.
    """
    end = len(path.messages)
    return range(end, max(path.last_answer, 1, end - MAX_PLACES + 1) - 1, -1)


def settled(path: Path, found: Mapping[bytes, Sequence[Node]], named: frozenset[str]) -> Place | None:
    """The place, if the looked-up nodes tell it; None if the tree has to be walked.

    Of several nodes that read alike the one that the client names wins, else the newest. `named` are
    the ids by which the client calls its newest question and the answer before that.
    """
    candidates = places(path)
    for position in candidates:
        nodes = found.get(path.hashes[position - 1])
        if nodes:
            called = [node for node in nodes if node.message_id in named] if named else []
            if not called and named and position == len(path) and _is_named_question(nodes[-1]):
                return None  # the client asks this again, by another id: maybe after another answer
            return Place(position, (called or nodes)[-1])
    is_new = path.last_answer == 0 and len(candidates) == len(path)
    return NOWHERE if is_new else None


def walk(tree: Tree, path: Path, named: frozenset[str], effort: Effort | None = None) -> Match:
    """The longest front of the request that is a stored path, by content and by echo.

    Nowhere, where to find it takes more than the `effort`; without one, more than a usual one.
    """
    effort = effort or Effort()
    try:
        trail = _follow(tree, path, _Trail(None, (), None), named, effort)
        if trail.depth or not path.last_answer:
            return Match(Place(trail.depth, trail.node), trail.steps())
        return _joined(tree, path, named, effort)
    except TooMuch:
        return Match(NOWHERE, (), is_given_up=True)


def joined_behind(tree: Tree, path: Path, named: frozenset[str], effort: Effort | None = None) -> Place:
    """Where a request continues whose client has replaced the front of its history, by a summary say;
    `NOWHERE` if that is not sure.

    All that follows the new front, up to the last assistant message, has to be a stored path, in one place
    only. It holds a whole turn, or a long answer: the summary itself, if the model gave it here.
    """
    effort = effort or Effort()
    found = NOWHERE
    try:
        for first in _SUMMED_UP:
            if found.node is None and path.last_answer > first and _tells(path, first):
                found = _joined(tree, path, named, effort, first).place
    except TooMuch:
        return NOWHERE
    return found


def _tells(path: Path, first: int) -> bool:
    message = path.messages[first]
    if message.role == "user":
        return path.messages[first + 1].role == "assistant"  # there is one: an answer follows
    return message.role == "assistant" and len(visible_text(message.fields)) >= _LONG_ANSWER


def called_place(
    tree: Tree, path: Path, parent_id: str, named: frozenset[str], effort: Effort | None = None
) -> Place:
    """Where a question without any history continues: behind the answer that its client calls so, or further
    down if it is stored there; `NOWHERE` if no answer or several are called so."""
    called = [node for node in tree.nodes if node.message_id == parent_id and node.role == "assistant"]
    if len(called) != 1:
        return NOWHERE
    try:
        trail = _follow(tree, path, _Trail(None, (), called[0]), named, effort or Effort())
    except TooMuch:
        return NOWHERE
    return Place(trail.depth, trail.node, anchored=False)


def outcome_of(path: Path, place: Place, *, extends: bool, stored: bool, is_tip: bool) -> Outcome:
    """The name of what happens.

    `stored`: the conversation has messages. `is_tip`: nothing lies under the place.
    """
    end = len(path)
    if not stored:
        return Outcome.START
    if extends:
        return Outcome.EXTEND
    if place.position == 0 or not place.anchored:
        return Outcome.UNANCHORED
    if place.position == end:
        return Outcome.RETRY
    return Outcome.CONTINUE if is_tip else Outcome.BRANCH


def _is_named_question(node: Node) -> bool:
    return node.role == "user" and node.message_id is not None


class _Trail(msgspec.Struct, frozen=True):
    """One way down the tree: the step taken, and the trail before it."""

    before: _Trail | None
    step: Step
    node: Node | None
    #: How many messages of the client it stands for, and how many of these are echoes.
    depth: int = 0
    echoes: int = 0
    #: How many of its nodes the client calls by their ids.
    named: int = 0
    #: It holds a user echo that no answer has confirmed yet.
    pending: bool = False
    #: Its last message is none that is stored, but a system message that was passed by.
    passing: bool = False

    @property
    def is_sure(self) -> bool:
        """Does it end where something confirms it?"""
        return not self.pending and not self.passing

    def steps(self) -> tuple[Step, ...]:
        line: list[Step] = []
        trail: _Trail | None = self
        while trail is not None and trail.before is not None:
            line.append(trail.step)
            trail = trail.before
        return tuple(reversed(line))


def _follow(tree: Tree, path: Path, start: _Trail, named: frozenset[str], effort: Effort) -> _Trail:
    """The way down from `start` to believe: the one that the client names most, then the longest."""
    front, seen = [start], [start]
    for at in range(start.depth, len(path)):
        sent = path.messages[at]
        front = [longer for trail in front for longer in _onward(tree, sent, trail, named, effort)]
        if not front:
            break
        seen.extend(trail for trail in front if trail.is_sure)
    best = max((trail.named, trail.depth) for trail in seen)
    return _chosen(tree, [trail for trail in seen if (trail.named, trail.depth) == best])


def _onward(tree: Tree, sent: Message, trail: _Trail, named: frozenset[str], effort: Effort) -> list[_Trail]:
    equal = tree.alike(trail.node, sent.digest)
    if equal:
        effort.look(len(equal))
        return [_longer(trail, (node,), node, named, is_echo=False) for node in equal]
    if sent.role in SYSTEM_ROLES:
        return [_passing(trail)] if trail.node is not None else []
    found: list[_Trail] = []
    for parent in with_systems_below(tree, trail.node, effort):
        alike = tree.alike(parent, sent.digest)
        if alike:
            found += [_longer(trail, (node,), node, named, is_echo=False) for node in alike]
        elif sent.role == "assistant":
            steps = echoed_answers(tree, parent, sent, effort)
            found += [_longer(trail, step, step[-1], named, is_echo=True) for step in steps]
        elif sent.role == "user":
            steps = echoed_questions(tree, parent, sent, effort)
            found += [_pending(trail, step, step[-1], named) for step in steps]
        elif parent is not None:
            # Whatever it says, it is the client's: nothing stands for it.
            found += [_pending(trail, (), node, named) for node in echoed_results(tree, parent, sent, effort)]
    effort.look(len(found))
    return found


def _longer(trail: _Trail, step: Step, node: Node, named: frozenset[str], *, is_echo: bool) -> _Trail:
    return _Trail(
        before=trail,
        step=step,
        node=node,
        depth=trail.depth + 1,
        echoes=trail.echoes + is_echo,
        named=trail.named + (node.message_id in named),
        pending=trail.pending and node.role != "assistant",
    )


def _pending(trail: _Trail, step: Step, node: Node, named: frozenset[str]) -> _Trail:
    return msgspec.structs.replace(_longer(trail, step, node, named, is_echo=True), pending=True)


def _passing(trail: _Trail) -> _Trail:
    """By a system message that is not stored there: what follows has to show that it was moved."""
    return _Trail(
        trail, (), trail.node, trail.depth + 1, trail.echoes + 1, trail.named, trail.pending, passing=True
    )


def _chosen(tree: Tree, front: Sequence[_Trail]) -> _Trail:
    """The one trail to believe: named by the client most, resting on echoes least, newest.

    Two trails that are alike in this and yet do not read alike are ambiguous; they, like a user echo
    that no answer has confirmed, are believed only as far as they agree.
    """
    while True:
        confirmed = [trail for trail in front if trail.is_sure]
        if confirmed:
            best = max((trail.named, -trail.echoes) for trail in confirmed)
            choice = [trail for trail in confirmed if (trail.named, -trail.echoes) == best]
            if len({trail.node and trail.node.hash for trail in choice}) == 1:
                return max(choice, key=lambda trail: tree.rank(trail.node))
        front = list({id(trail.before): trail.before for trail in front if trail.before is not None}.values())


def _joined(tree: Tree, path: Path, named: frozenset[str], effort: Effort, at: int = 0) -> Match:
    """A request whose first message is no stored root: join it where all its history is a stored path.

    All of it from `at` up to the last assistant message has to match, in one place only, or in one of those
    that match the one that the client names.
    """
    first = path.messages[at].digest
    whole: list[_Trail] = []
    for node in tree.nodes:
        if node.digest == first and (at or node.parent is not None):
            effort.look()
            start = _Trail(
                _Trail(None, (), None), (node,), node, depth=at + 1, named=node.message_id in named
            )
            trail = _follow(tree, path, start, named, effort)
            if trail.depth >= path.last_answer:
                whole.append(trail)
            if len(whole) > 1 and not named:
                return Match(NOWHERE, ())
    most = max((trail.named for trail in whole), default=0)
    called = [trail for trail in whole if trail.named == most]
    if len(called) != 1:
        return Match(NOWHERE, ())
    return Match(Place(called[0].depth, called[0].node, anchored=False), called[0].steps())
