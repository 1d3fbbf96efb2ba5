"""One conversation as the store in memory holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nlargest

from sidecar.conversation.exchange_record import Exchange, packed
from sidecar.conversation.overview import MAX_FIRST, Overview
from sidecar.conversation.records import Snapshot, Summary, Thread
from sidecar.conversation.tree import Conversation, Node
from sidecar.store.threads import size_of

__all__ = ["Held"]


@dataclass(slots=True)
class Held:
    """It, with its nodes by id in the order in which they were recorded.

    `number` counts conversations: the greater, the newer.
    """

    number: int
    conversation: Conversation
    nodes: dict[bytes, Node] = field(default_factory=dict)
    by_hash: dict[bytes, list[Node]] = field(default_factory=dict)
    parents: set[bytes] = field(default_factory=set)
    echoes: dict[bytes, bytes] = field(default_factory=dict)
    system: tuple[bytes, bytes] | None = None
    summaries: dict[bytes, Summary] = field(default_factory=dict)
    exchanges: dict[bytes, Exchange] = field(default_factory=dict)
    threads: dict[bytes, Thread] = field(default_factory=dict)
    found_by: set[bytes] = field(default_factory=set)
    #: As their clients sent them, by the ids of their exchanges.
    requests: dict[bytes, bytes] = field(default_factory=dict)
    #: When each node came, by the count of all.
    places: dict[bytes, int] = field(default_factory=dict)

    def named(self, hash: bytes) -> list[Node]:
        """The nodes of this hash, oldest first, or the one of which it is an echo."""
        if hash in self.by_hash:
            return list(self.by_hash[hash])
        return [self.nodes[self.echoes[hash]]] if hash in self.echoes else []

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.conversation,
            tuple(self.nodes.values()),
            tuple(sorted(self.echoes.items())),
            self.system,
            tuple(self.summaries[hash] for hash in sorted(self.summaries)),
            tuple(self.exchanges[id] for id in sorted(self.exchanges)),
            tuple(self.threads[root] for root in sorted(self.threads)),
            tuple(sorted(self.found_by)) if self.conversation.key is not None else (),
        )

    def overview(self, recent: int = 1) -> Overview:
        about, first = self.conversation, next(iter(self.nodes.values()), None)
        newest = nlargest(recent, self.exchanges)
        return Overview(
            about.id,
            about.tenant,
            about.key,
            about.created_at,
            about.updated_at,
            len(self.nodes),
            len(self.nodes.keys() - self.parents),
            len(self.exchanges),
            sum(each.error is not None for each in self.exchanges.values()),
            first if first and len(first.body) <= MAX_FIRST else None,
            len(first.body) if first else 0,
            self.exchanges[newest[0]] if newest else None,
            earlier=tuple(self.exchanges[id] for id in newest[1:]),
        )

    def size(self) -> int:
        said = sum(len(node.body) + len(node.usage or b"") for node in self.nodes.values())
        said += sum(len(packed(each.detail)) for each in self.exchanges.values())
        said += sum(map(len, self.requests.values()))
        return said + sum(map(size_of, self.threads.values()))
