"""What every store can do. `tests/store/test_conformance*.py` are the contract in full.

A store keeps trees of messages, by conversation. Nothing in it is ever rewritten: recording a turn
adds nodes, and adding a node that is there already changes nothing, so recording twice is harmless.
The cost of `find` and `record` does not grow with the length of a history.

Every method raises `StoreUnavailable` if the store cannot be read or written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.conversation.history import Conversation, Node

__all__ = ["MAX_ALIKE", "MAX_CANDIDATES", "MAX_LEARNED", "Found", "Store", "Summary", "Turn"]

#: Of conversations that read alike so far, so many are looked at. They keep a look-up as cheap where
#: thousands of chats begin with the same words.
MAX_ALIKE = 16
#: What more conversations than these have in common does not help to find one of them.
MAX_CANDIDATES = 8
#: So many things learned are kept: a client can make up names of models without end.
MAX_LEARNED = 1000


@dataclass(slots=True, frozen=True)
class Found:
    """What is known of a conversation at the deepest stored place of a request.

    `nodes` maps the hash that was found to the nodes that read alike there, oldest first; it is empty
    if no hash was found. `is_tip`: nothing lies under the newest of them.
    """

    conversation: Conversation | None = None
    nodes: Mapping[bytes, Sequence[Node]] = field(default_factory=dict)
    is_tip: bool = False


@dataclass(slots=True, frozen=True)
class Turn:
    """What one request and its reply add to a conversation.

    `nodes`: parents before children. `echoes`: hashes under which the client will name a node, where
    they are not the node's own. `system`: the request's leading messages, a JSON array, or None. A
    conversation whose `tip` or `weights` is None keeps what it has.
    """

    conversation: Conversation
    nodes: tuple[Node, ...]
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: bytes | None = None


@dataclass(slots=True, frozen=True)
class Summary:
    """What a model made of the front of a path; `hash` names that front."""

    hash: bytes
    text: str
    model: str
    created_at: float


class Store(ABC):
    """Conversations by id, and nodes by conversation."""

    #: Keys the hashes of tenants and conversations; made once, and kept with the data. At least 16 bytes.
    secret: bytes

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready; sets `secret`. The message of the error says what to do."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then let go."""

    @abstractmethod
    async def probe(self) -> None:
        """Return if a turn could be recorded now."""

    @abstractmethod
    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        """The first of the conversations `ids` that is this tenant's, and the first of `hashes` in it."""

    @abstractmethod
    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        """The id of the conversation of this tenant that holds the first of `hashes` which any holds.

        The last of `hashes` names the history up to an answer, and that has to be an upstream's reply. Of
        several conversations, one in which nothing follows yet, and of those the one used last; the newest
        `MAX_ALIKE` are looked at.
        """

    @abstractmethod
    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        """Conversations of this tenant that hold one of `hashes`, or a reply with one of `digests`.

        Newest first, with the number of messages in each. What more than `MAX_CANDIDATES` conversations
        hold does not count, for it tells nothing.
        """

    @abstractmethod
    async def path(self, conversation: str, node: bytes) -> list[Node]:
        """The nodes from the root to `node`, both included."""

    @abstractmethod
    async def tree(self, conversation: str) -> list[Node]:
        """All nodes, in the order in which they were recorded."""

    @abstractmethod
    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        """The first and the last leading system messages seen (JSON arrays), or None."""

    @abstractmethod
    async def record(self, turn: Turn) -> None:
        """Add a turn. When this returns, it is durable."""

    @abstractmethod
    async def summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        """What stands for the first of these fronts for which there is anything."""

    @abstractmethod
    async def summarise(self, conversation: str, summary: Summary) -> None:
        """Keep a summary with its conversation, unless that is gone or has one of this front already."""

    @abstractmethod
    async def remember(self, name: str, value: bytes) -> None:
        """Keep what was learned under this name, in place of what was; the newest `MAX_LEARNED` are kept."""

    @abstractmethod
    async def recall(self) -> dict[str, bytes]:
        """All that `remember` has kept, the oldest first."""

    @abstractmethod
    def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        """Every conversation, oldest first; with `name` those with this id or this client's key."""
