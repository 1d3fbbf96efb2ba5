"""When is a message that the client re-sent one that we hold?

A client's copy of a message is often not its equal: tool steps flattened into one text, a retrieval
block that came or went, a stopped answer shorter than what had arrived here. Such an *echo* is taken
for the stored message, by these rules and no others; whatever is neither equal nor an echo is the
client's new version, and what could be the echo of two different messages is the echo of none. Texts that
differ in white space, line ends or Unicode form alone are the same text here.

- An assistant message echoes a whole stored answer (one reply, or several with tool messages between)
  when its visible text is the visible text of that answer.
- One that makes tool calls echoes a single reply that made these calls, and maybe more: clients drop calls
  that got no result, and the text beside calls. A call is the same by its id, name and arguments alone. Of
  several replies those with the same text.
- An assistant message echoes a *partial* reply when its text is a beginning of it: what the client
  had seen when it stopped.
- A user message echoes the stored one when one text contains the other, **and** the answer that
  follows matches too (which `reconcile` sees to).
"""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.conversation.effort import Effort
from sidecar.conversation.tree import Message, Node, Tree

__all__ = ["Step", "echoed_answers", "echoed_questions", "ends_of_answers"]

#: The stored nodes that one message of the client stands for, in order; the last one is where it ends.
Step = tuple[Node, ...]

# How clients have been seen to join the texts of several replies into one; a blank is any white space.
_JOINS = ("", " ")
_IN_AN_ANSWER = frozenset(("assistant", "tool", "function"))

# How far into the client's text an answer has come, for each way of joining; None where that is not how the
# text begins. Places rather than texts: those would be written anew with every reply.
_Spoken = tuple[int | None, ...]
_NOTHING: _Spoken = (0,) * len(_JOINS)
_OTHER: _Spoken = (None,) * len(_JOINS)

# A way down the tree: the node, and the way to it. A tuple of all nodes is made only where it is wanted.
_Line = tuple[Node, "_Line | None"]


def ends_of_answers(tree: Tree, parent: Node | None, effort: Effort) -> Iterator[Node]:
    """The last reply of every stored answer under `parent`: reply, or reply, tool messages, reply …"""
    waiting = _replies(tree, parent, effort)
    while waiting:
        node = waiting.pop()
        if node.role == "assistant":
            yield node
        waiting.extend(_within_answer(tree, node, effort))


def echoed_answers(tree: Tree, parent: Node | None, sent: Message, effort: Effort) -> list[Step]:
    """The stored answers under `parent` whose echo `sent` is. Raises `TooMuch`."""
    copy = effort.copy(sent)
    text, calls = copy.visible, copy.calls
    if not calls:
        return list(_echoed(tree, parent, text, effort)) if text else []
    found: list[Step] = []
    for reply in _replies(tree, parent, effort):
        effort.look(len(calls))
        if calls <= effort.calls(reply):
            found.append((reply,))
    alike = [step for step in found if _told((step[0], None), text, _NOTHING, effort)[0]]
    return alike or found


def echoed_questions(tree: Tree, parent: Node | None, sent: Message, effort: Effort) -> list[Step]:
    """The stored user messages under `parent` whose echo `sent` may be; the answer has to confirm it.

    Raises `TooMuch`.
    """
    text = effort.copy(sent).asked
    if not text:
        return []
    children = tree.children(parent)
    effort.look(len(children))
    found: list[Step] = []
    for node in children:
        if node.role == "user":
            stored = effort.asked(node)
            if stored and effort.contains(stored, text):
                found.append((node,))
    return found


def _replies(tree: Tree, parent: Node | None, effort: Effort) -> list[Node]:
    children = tree.children(parent)
    effort.look(len(children))
    return [node for node in children if node.role == "assistant"]


def _within_answer(tree: Tree, node: Node, effort: Effort) -> list[Node]:
    children = tree.children(node)
    effort.look(len(children))
    return [child for child in children if child.role in _IN_AN_ANSWER]


def _echoed(tree: Tree, parent: Node | None, text: str, effort: Effort) -> Iterator[Step]:
    """The answers that have this text. Each reply is read once, however many steps an answer has."""
    waiting: list[tuple[_Line, _Spoken]] = [
        ((node, None), _NOTHING) for node in _replies(tree, parent, effort)
    ]
    while waiting:
        line, spoken = waiting.pop()
        if line[0].role == "assistant":
            is_echo, spoken = _told(line, text, spoken, effort)
            if is_echo:
                yield _step(line, effort)
        waiting.extend(((child, line), spoken) for child in _within_answer(tree, line[0], effort))


def _step(line: _Line, effort: Effort) -> Step:
    nodes: list[Node] = []
    at: _Line | None = line
    while at is not None:
        nodes.append(at[0])
        at = at[1]
    effort.look(len(nodes))
    return tuple(reversed(nodes))


def _told(line: _Line, text: str, before: _Spoken, effort: Effort) -> tuple[bool, _Spoken]:
    """Has the answer this text? And what it has said, `before` being what it said before its last reply."""
    node, above = line
    last = effort.visible(node)
    effort.compare(min(len(last), len(text)))
    spoken = before
    if last and before != _OTHER:
        spoken = tuple(_joined(at, join, last, text) for at, join in zip(before, _JOINS, strict=True))
    if above is None and node.state == "partial":
        return last.startswith(text), spoken
    return text == last or len(text) in spoken, spoken


def _joined(at: int | None, join: str, last: str, text: str) -> int | None:
    """How far the texts come when they are joined, None where `text` does not go on with `last`."""
    if at is None:
        return None
    if at:
        if not text.startswith(join, at):
            return None
        at += len(join)
    return at + len(last) if text.startswith(last, at) else None
