"""Which conversation does a request continue that names none?

Its words have to tell: the history up to and including the last assistant message, which must be one that
an upstream gave here. (An opening that the client wrote itself, such as examples for the model, stands
before many chats and names none of them.)

A history that is stored word for word is found by its hash. Else it may be an echo of one: `clues` name the
conversations in which to look, and `continues` looks. The whole history has to be a stored path of exactly
one of them; whatever could be two is neither, for a wrong guess would join two chats for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.conversation.echo import echoed_questions, ends_of_answers
from sidecar.conversation.effort import Effort, TooMuch
from sidecar.conversation.likeness import folded
from sidecar.conversation.message import Fields, visible_text
from sidecar.conversation.reconcile import places, walk
from sidecar.conversation.tree import Chain, Message, Node, Path, Tree

__all__ = [
    "MAX_MESSAGES",
    "Clues",
    "clues",
    "continues",
    "hash_of_text",
    "hash_of_user",
    "hashes",
    "key_of_branch",
    "key_of_name",
    "with_prefill",
]

#: So many messages are looked through for one request, over all conversations.
MAX_MESSAGES = 5_000
# Clues of each sort. The last turns are enough: one message that is no echo names the conversation.
_MAX_CLUES = 4


@dataclass(slots=True, frozen=True)
class Clues:
    """What is likely to be stored as it is where the history as a whole is not.

    `hashes` name fronts of the history: they hold where its last answer was stopped or flattened.
    `digests` are answers in it, the last ones: they hold where a question had documents put into it.
    """

    hashes: Sequence[bytes]
    digests: Sequence[bytes]


def with_prefill(path: Path, prefill: Message | None, chain: Chain) -> Path:
    """The path with the answer that is to go on as a part of its history."""
    return chain.path((*path.messages, prefill), path) if prefill is not None else path


def hashes(path: Path) -> list[bytes]:
    """Of the places where it may continue, deepest first; the last one is that of its last answer."""
    positions = [position for position in places(path) if position > path.last_answer]
    return [path.hashes[position - 1] for position in (*positions, path.last_answer)]


def hash_of_text(chain: Chain, fields: Fields) -> bytes:
    """By what an answer is found whose client has changed its white space, line ends or Unicode form."""
    return chain.hash(b"text", folded(visible_text(fields)).encode("utf-8", "surrogatepass"))


def key_of_branch(chain: Chain, node: bytes = b"") -> bytes:
    """By what the beginning of the branch is found in which a message stands; without one, that of any."""
    return chain.hash(b"branch", node)


def hash_of_user(chain: Chain, user: str | None, hash: bytes = b"") -> bytes:
    """By what a path is found in the chats of the user whom a request names alone, or, without a hash, these
    chats are; None: by what all are found of which requests have named a user."""
    return chain.hash(b"user" + hash, user.encode("utf-8", "surrogatepass") if user is not None else b"")


def key_of_name(chain: Chain, name: str) -> bytes:
    """By what a conversation that began without an id is found under the one that it was given later."""
    return chain.hash(b"name", name.encode())


def clues(path: Path, chain: Chain) -> Clues:
    """Where to look for the history of this request, if it is an echo."""
    end = path.last_answer
    fronts = path.hashes[max(0, end - 1 - _MAX_CLUES) : end - 1]
    answers = [each for each in reversed(path.messages) if each.role == "assistant"]
    texts = [hash_of_text(chain, each.fields) for each in answers[:_MAX_CLUES]]
    digests = dict.fromkeys(each.digest for each in answers)
    return Clues([*fronts[::-1], *texts], list(digests)[:_MAX_CLUES])


def continues(tree: Tree, path: Path, effort: Effort | None = None) -> bool:
    """Is the request's whole history a path of this tree that ends with an upstream's reply?

    Or all but its last answer, and that is one which the user got by a wish ("shorter, please") that the
    client has dropped again. Raises `TooMuch` where to tell takes more than the `effort`; without one, more
    than a usual one.
    """
    effort = effort or Effort()
    match = walk(tree, path, frozenset(), effort)
    if match.is_given_up:
        raise TooMuch
    end, known = path.last_answer, match.place.position
    if end < 2 or known < end - 2:  # a greeting alone, before any question, is anybody's
        return False
    if known >= end and match.steps[end - 1][-1].source == "upstream":
        return True
    question, answer = path.messages[end - 2 : end]
    if question.role != "user" or (end > 2 and not match.steps[end - 3]):
        return False
    above = match.steps[end - 3][-1] if end > 2 else None
    asked = [step[-1] for step in echoed_questions(tree, above, question, effort)]
    return _is_answer_to_a_wish(tree, asked, answer.digest, effort)


def _is_answer_to_a_wish(tree: Tree, questions: Sequence[Node], digest: bytes, effort: Effort) -> bool:
    """Does this reply follow an answer to one of the questions and one more message of the user?"""
    known = [end for question in questions for end in ends_of_answers(tree, question, effort)]
    if not any(node.source == "upstream" for node in known):
        return False
    wishes = [wish for node in known for wish in tree.children(node) if wish.role == "user"]
    effort.look(len(wishes))
    return any(reply.source == "upstream" for wish in wishes for reply in tree.alike(wish, digest))
