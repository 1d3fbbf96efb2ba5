"""The tree of a conversation: its nodes, their ids, and the chain of hashes that names a path.

A message's *digest* is the keyed hash of its normal form. Its *hash* covers the digest **and** the
hash of its parent, so that one hash names a whole path from the root, and a request is found in the
store by the hash of its history, however long that is. The key is the tenant: the same words under
two tenants share no hash, and a hash tells nothing about the words.

A second chain, *exact*, covers what the assistant and the tools said, to the letter. It is equal on
both sides exactly when the client re-sent the path as it was, so that there is nothing to restore.

A node's *id* is its hash followed by what tells apart nodes that read alike: for a message of the
client a function of its parent (the same message sent twice is one node, on any replica), for a reply
a random number (a regenerated answer is a sibling, even when it says the same).

Version 1 of this contract: BLAKE2b, 16 bytes, person `sidecar/1`. Golden values are in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from operator import is_
from typing import Any, Literal

import msgspec
from msgspec.structs import astuple, force_setattr

from sidecar.conversation import message as messages
from sidecar.conversation.measure import Measure, measured
from sidecar.conversation.message import Fields

__all__ = [
    "HASH_SIZE",
    "ID_SIZE",
    "UNSEEN",
    "Chain",
    "Conversation",
    "LongMessages",
    "Message",
    "Node",
    "Path",
    "Source",
    "State",
    "Tree",
    "stored_values",
]

HASH_SIZE = 16
ID_SIZE = 24
#: What stands behind the finish reason of a reply whose client left before its end.
UNSEEN = " (unseen)"
_PERSON = b"sidecar/1"
_PERSON_OF_BYTES = b"sidecar/bytes"
_LONG = 256 << 10  # bytes of a message
_SPOKEN = frozenset(("assistant", "tool", "function"))
_SCAN_UP_TO = 8  # messages are as quickly compared as looked up

Source = Literal["client", "upstream"]
State = Literal["complete", "partial", "failed"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of a request: the bytes as received, the fields in them, and its two digests.

    `exact` is None for a message that is never restored by itself (user, system). What is in a long one is
    not kept, and read whenever it is asked for: hardly anybody asks, and images would be held twice.
    """

    raw: bytes
    _fields: Fields | None
    role: str
    digest: bytes
    exact: bytes | None
    _measure: Measure | None = None

    @property
    def fields(self) -> Fields:
        """What is in it."""
        return messages.read_long(self.raw) if self._fields is None else self._fields

    @property
    def is_long(self) -> bool:
        """Are its fields not kept?"""
        return self._fields is None

    @property
    def measure(self) -> Measure:
        """What an estimate of its tokens counts. Kept, for a client sends the same message many times."""
        measure = self._measure
        if measure is None:
            measure = measured(self.fields)
            force_setattr(self, "_measure", measure)
        return measure


class Path(msgspec.Struct, frozen=True):
    """Messages from a root downwards, with the chain hashes up to and including each.

    `last_answer`: how many messages there are up to and including the last one of the assistant.
    """

    messages: tuple[Message, ...]
    hashes: tuple[bytes, ...]
    exacts: tuple[bytes, ...]
    last_answer: int

    def __len__(self) -> int:
        return len(self.messages)


class Node(msgspec.Struct, frozen=True, gc=False):
    """One message as it is stored. `parent` is None at a root; `created_at` is in Unix seconds."""

    id: bytes
    parent: bytes | None
    digest: bytes
    exact: bytes
    role: str
    body: bytes
    source: Source
    state: State
    created_at: float
    message_id: str | None = None
    model: str | None = None
    usage: bytes | None = None
    finish_reason: str | None = None
    #: The body and what was read in it: a copy with another body is read anew.
    _read: tuple[bytes, Fields] | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Node) and stored_values(self) == stored_values(other))

    def __ne__(self, other: object) -> bool:  # a Struct's own would look at what was read
        return not self == other

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def hash(self) -> bytes:
        """The chain hash: names the path from the root to this message."""
        return self.id[:HASH_SIZE]

    @property
    def is_seen_in_part(self) -> bool:
        """Did its client leave before its end, to which it was read all the same?"""
        return self.finish_reason is not None and self.finish_reason.endswith(UNSEEN)

    @property
    def fields(self) -> Fields:
        """What is in the body; read once. Raises `ValueError` if that is not a JSON object."""
        kept = self._read
        if kept is None or kept[0] is not self.body:
            kept = (self.body, messages.read(self.body))
            force_setattr(self, "_read", kept)
        return kept[1]


def stored_values(node: Node) -> tuple[object, ...]:
    """What a store keeps of a node, in the order of its attributes."""
    return astuple(node)[:-1]


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """Whose messages these are. `key` is the client's id, None if it sent none.

    `tip` is where a client that sends only what is new goes on: the newest message that an upstream
    may see again. `full` says that the client has been seen to send its whole history.
    """

    id: str
    tenant: bytes
    key: str | None
    created_at: float
    updated_at: float
    tip: bytes | None = None
    full: bool = False
    #: The digest of the last leading system messages, to see whether they have changed.
    system: bytes | None = None
    #: The weights of `tokens.Weights` that its prompts are cut by, until a step moves the cut.
    weights: bytes | None = None


class LongMessages:
    """What is known of the latest long messages by the hash of their bytes, `most` of them.

    A client sends its images again with every request, also in chats that nobody remembers.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._known: dict[bytes, tuple[str, bytes, bytes | None, Measure]] = {}

    def message(self, key: bytes, raw: bytes) -> Message | None:
        """The message with these bytes, which this is the hash of; None for one that is not known."""
        known = self._known.get(key)
        return Message(raw, None, *known) if known is not None else None

    def keep(self, key: bytes, message: Message) -> None:
        """Know this one from now on."""
        self._known[key] = (message.role, message.digest, message.exact, message.measure)
        for oldest in list(self._known)[: len(self._known) - self._most]:
            self._known.pop(oldest, None)


class Chain:
    """Digests, hashes and ids of one tenant's messages; `long`: what is known of long ones, of any tenant."""

    def __init__(self, tenant: bytes, long: LongMessages | None = None) -> None:
        self._key = tenant
        self._keyed = partial(blake2b, digest_size=HASH_SIZE, key=tenant, person=_PERSON)
        self._long = long

    def message(self, raw: bytes) -> Message:
        """Read one message. Raises `ValueError` if it is not a JSON object."""
        return self._message(raw, messages.read(raw))

    def new_message(self, raw: bytes) -> Message:
        """As `message`, for one that is to be kept: nested too deep to be read again it raises as well."""
        if len(raw) <= _LONG:
            return self._new_message(raw)
        if self._long is None:
            return self._without_fields(self._new_message(raw, messages.read_long))
        key = blake2b(raw, digest_size=HASH_SIZE, key=self._key, person=_PERSON_OF_BYTES).digest()
        known = self._long.message(key, raw)
        if known is None:
            known = self._without_fields(self._new_message(raw, messages.read_long))
            self._long.keep(key, known)
        return known

    def _new_message(self, raw: bytes, read: Callable[[bytes], dict[str, Any]] = messages.read) -> Message:
        fields = read(raw)
        # So deep it has more bytes than that, and more than a text in it.
        if len(raw) > messages.MAX_DEPTH and not messages.is_plain(fields) and messages.is_too_deep(raw):
            raise ValueError("nested too deep")
        return self._message(raw, fields)

    def _without_fields(self, message: Message) -> Message:
        return Message(
            message.raw, None, message.role, message.digest, message.exact, measured(message.fields)
        )

    def _message(self, raw: bytes, fields: Fields) -> Message:
        role = fields.get("role")
        role = role if type(role) is str else ""
        if role not in _SPOKEN:
            return Message(raw, fields, role, self._hash(messages.normal_form(fields)), None)
        normal, exact = messages.both_forms(fields)
        digest = self._hash(normal)
        return Message(raw, fields, role, digest, digest if exact == normal else self._hash(exact))

    def hash(self, parent: bytes | None, digest: bytes) -> bytes:
        """The chain hash of a message under the path that `parent` names."""
        return self._hash((parent or b"") + digest)

    def exact(self, parent: bytes, message: Message) -> bytes:
        """The exact chain up to `message`; what the user says leaves it as it is."""
        return parent if message.exact is None else self._hash(parent + message.exact)

    def path(self, sent: Iterable[Message], before: Path | None = None) -> Path:
        """The path that the messages of a request claim.

        `before` is another path of this tenant: as far as it holds the very same message objects its
        hashes are taken over.
        """
        line = tuple(sent)
        hashes, exacts, shared = list[bytes](), list[bytes](), 0
        parent = exact = b""
        if before is not None and (shared := _shared(line, before.messages)):
            hashes += before.hashes[:shared]
            exacts += before.exacts[:shared]
            parent, exact = hashes[-1], exacts[-1]
        for item in line[shared:]:
            parent = self._hash(parent + item.digest)
            if item.exact is not None:
                exact = self._hash(exact + item.exact)
            hashes.append(parent)
            exacts.append(exact)
        last_answer = len(line)
        while last_answer and line[last_answer - 1].role != "assistant":
            last_answer -= 1
        return Path(line, tuple(hashes), tuple(exacts), last_answer)

    def message_id(self, parent: Node | None, digest: bytes, hash: bytes | None = None) -> bytes:
        """The id of a client's message under `parent`: the same message twice is one node.

        `hash` is its chain hash, if that is known already.
        """
        seed = parent.id if parent else b""
        if hash is None:
            hash = self.hash(parent.hash if parent else b"", digest)
        return hash + blake2b(seed, digest_size=ID_SIZE - HASH_SIZE, key=self._key, person=_PERSON).digest()

    def reply_id(self, parent: Node | None, digest: bytes, nonce: bytes) -> bytes:
        """The id of a reply: `nonce` (8 random bytes) tells apart two answers that read alike."""
        return self.hash(parent.hash if parent else b"", digest) + nonce

    def _hash(self, data: bytes) -> bytes:
        return self._keyed(data).digest()


def _shared(line: Sequence[Message], other: Sequence[Message]) -> int:
    same = list(map(is_, line, other))
    return len(same) if all(same) else same.index(False)


class Tree:
    """Stored nodes, oldest first, with their children at hand. A single path is a tree as well."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self._children: dict[bytes | None, list[Node]] = {}
        self._alike: dict[bytes | None, dict[bytes, list[Node]]] = {}
        self._order = {node.id: at for at, node in enumerate(nodes)}
        for node in nodes:
            parent = node.parent if node.parent in self._order else None
            self._children.setdefault(parent, []).append(node)

    def children(self, node: Node | None) -> Sequence[Node]:
        """The messages under `node`, oldest first; the roots for None."""
        return self._children.get(node.id if node else None, ())

    def alike(self, node: Node | None, digest: bytes) -> Sequence[Node]:
        """The messages under `node` with this digest, oldest first."""
        children = self.children(node)
        if len(children) <= _SCAN_UP_TO:
            return [child for child in children if child.digest == digest]
        parent = node.id if node else None
        if parent not in self._alike:
            found = self._alike[parent] = {}
            for child in children:
                found.setdefault(child.digest, []).append(child)
        return self._alike[parent].get(digest, ())

    def line(self, id: bytes) -> list[Node]:
        """The messages from a root to this one; none if it is not there."""
        line: list[Node] = []
        at: bytes | None = id
        while at is not None and (place := self._order.get(at)) is not None:
            line.append(self.nodes[place])
            at = line[-1].parent
        return line[::-1]

    def rank(self, node: Node | None) -> int:
        """The place of `node` in the order of recording: the greater, the newer; -1 for None."""
        return self._order[node.id] if node else -1
