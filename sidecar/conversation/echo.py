"""When is a message that the client re-sent one that we hold?

A client's copy of a message is often not its equal: tool steps flattened into one text, a retrieval
block that came or went, a stopped answer shorter than what had arrived here. Such an *echo* is taken
for the stored message, by these rules and no others; whatever is neither equal nor an echo is the
client's new version, and what could be the echo of two different messages is the echo of none.

- An assistant message echoes a whole stored answer (one reply, or several with tool messages between)
  when its visible text is the visible text of that answer.
- One that makes tool calls echoes a single reply with the same text that made these calls, and maybe more:
  clients drop calls that got no result.
- An assistant message echoes a *partial* reply when its text is a beginning of it: what the client
  had seen when it stopped.
- A user message echoes the stored one when one text contains the other, **and** the answer that
  follows matches too (which `reconcile` sees to).
"""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.conversation.history import Message, Node, Tree
from sidecar.conversation.message import call_forms, read, text_of, visible_text

__all__ = ["Step", "answers", "echoed_answers", "echoed_questions"]

#: The stored nodes that one message of the client stands for, in order; the last one is where it ends.
Step = tuple[Node, ...]

# How clients have been seen to join the texts of several replies into one.
_JOINS = ("", "\n", "\n\n", " ")
_IN_AN_ANSWER = frozenset(("assistant", "tool", "function"))

# What an answer has said so far, for each way of joining; None where that is not how the text begins.
_Spoken = tuple[str | None, ...]
_NOTHING: _Spoken = ("",) * len(_JOINS)


def answers(tree: Tree, parent: Node | None) -> Iterator[Step]:
    """Every stored answer under `parent`: reply, or reply, tool messages, reply … down to a last reply."""
    waiting = _replies(tree, parent)
    while waiting:
        line = waiting.pop()
        if line[-1].role == "assistant":
            yield line
        waiting.extend((*line, child) for child in tree.children(line[-1]) if child.role in _IN_AN_ANSWER)


def echoed_answers(tree: Tree, parent: Node | None, sent: Message) -> list[Step]:
    """The stored answers under `parent` whose echo `sent` is."""
    text, calls = visible_text(sent.fields), call_forms(sent.fields)
    if calls:
        replies = _replies(tree, parent)
        return [
            line
            for line in replies
            if calls <= call_forms(read(line[0].body)) and _told(line, text, _NOTHING)[0]
        ]
    return list(_echoed(tree, parent, text)) if text else []


def echoed_questions(tree: Tree, parent: Node | None, sent: Message) -> list[Step]:
    """The stored user messages under `parent` whose echo `sent` may be; the answer has to confirm it."""
    text = text_of(sent.fields).strip()
    if not text:
        return []
    found: list[Step] = []
    for node in tree.children(parent):
        if node.role == "user":
            stored = text_of(read(node.body)).strip()
            if stored and (stored in text or text in stored):
                found.append((node,))
    return found


def _replies(tree: Tree, parent: Node | None) -> list[Step]:
    return [(node,) for node in tree.children(parent) if node.role == "assistant"]


def _echoed(tree: Tree, parent: Node | None, text: str) -> Iterator[Step]:
    """The answers that have this text. Each reply is read once, however many steps an answer has."""
    waiting = [(line, _NOTHING) for line in _replies(tree, parent)]
    while waiting:
        line, spoken = waiting.pop()
        if line[-1].role == "assistant":
            is_echo, spoken = _told(line, text, spoken)
            if is_echo:
                yield line
        waiting.extend(
            ((*line, child), spoken) for child in tree.children(line[-1]) if child.role in _IN_AN_ANSWER
        )


def _told(line: Step, text: str, before: _Spoken) -> tuple[bool, _Spoken]:
    """Has the answer this text? And what it has said, `before` being what it said before its last reply."""
    last = visible_text(read(line[-1].body))
    spoken = tuple(_joined(so_far, join, last, text) for so_far, join in zip(before, _JOINS, strict=True))
    if len(line) == 1 and line[0].state == "partial":
        return last.startswith(text), spoken
    return text == last or text in spoken, spoken


def _joined(so_far: str | None, join: str, last: str, text: str) -> str | None:
    """The texts joined, None where `text` does not begin with them."""
    if so_far is None or not last:
        return so_far
    joined = so_far + join + last if so_far else last
    return joined if text.startswith(joined) else None
