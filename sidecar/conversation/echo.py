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


def answers(tree: Tree, parent: Node | None) -> Iterator[Step]:
    """Every stored answer under `parent`: reply, or reply, tool messages, reply … down to a last reply."""
    waiting: list[Step] = [(node,) for node in tree.children(parent) if node.role == "assistant"]
    while waiting:
        line = waiting.pop()
        if line[-1].role == "assistant":
            yield line
        waiting.extend(
            (*line, child)
            for child in tree.children(line[-1])
            if child.role in ("assistant", "tool", "function")
        )


def echoed_answers(tree: Tree, parent: Node | None, sent: Message) -> list[Step]:
    """The stored answers under `parent` whose echo `sent` is."""
    text, calls = visible_text(sent.fields), call_forms(sent.fields)
    if calls:
        replies = [(node,) for node in tree.children(parent) if node.role == "assistant"]
        return [line for line in replies if calls <= call_forms(read(line[0].body)) and _is_echo(text, line)]
    if not text:
        return []
    return [line for line in answers(tree, parent) if _is_echo(text, line)]


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


def _is_echo(text: str, line: Step) -> bool:
    texts = [visible_text(read(node.body)) for node in line if node.role == "assistant"]
    if len(line) == 1 and line[0].state == "partial":
        return texts[0].startswith(text)
    spoken = [each for each in texts if each]
    return text == texts[-1] or any(text == join.join(spoken) for join in _JOINS)
