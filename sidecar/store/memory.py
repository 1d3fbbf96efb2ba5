"""The store in dictionaries: the twin that must behave like the others, for tests and throw-away use."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from sidecar.conversation.history import Conversation, Node
from sidecar.store.base import Found, Store, Turn

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Kept:
    """One conversation, with its nodes by id in the order in which they were recorded."""

    conversation: Conversation
    nodes: dict[bytes, Node] = field(default_factory=dict)
    by_hash: dict[bytes, list[Node]] = field(default_factory=dict)
    parents: set[bytes] = field(default_factory=set)
    echoes: dict[bytes, bytes] = field(default_factory=dict)
    system: tuple[bytes, bytes] | None = None


class MemoryStore(Store):
    """Conversations for as long as the process lives."""

    def __init__(self, *, secret: str = "") -> None:
        self.secret = secret.encode() or secrets.token_bytes(32)
        self._kept: dict[str, _Kept] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def probe(self) -> None:
        """Always writable."""

    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        for each in ids:
            kept = self._kept.get(each)
            if kept is not None and kept.conversation.tenant == tenant:
                break
        else:
            return Found()
        for hash in hashes:
            nodes = kept.by_hash.get(hash)
            if nodes is None and hash in kept.echoes:
                nodes = [kept.nodes[kept.echoes[hash]]]
            if nodes:
                return Found(kept.conversation, {hash: list(nodes)}, nodes[-1].id not in kept.parents)
        return Found(kept.conversation)

    async def find_by_answer(self, tenant: bytes, digest: bytes, hash: bytes) -> str | None:
        found = [
            (node.id not in kept.parents, kept.conversation.updated_at, number, kept.conversation.id)
            for number, kept in enumerate(self._kept.values())
            if kept.conversation.tenant == tenant
            for node in kept.by_hash.get(hash, ())
            if node.digest == digest and node.role == "assistant"
        ]
        return max(found)[-1] if found else None

    async def path(self, conversation: str, node: bytes) -> list[Node]:
        kept = self._kept.get(conversation)
        line: list[Node] = []
        at = kept.nodes.get(node) if kept else None
        while kept is not None and at is not None:
            line.append(at)
            at = kept.nodes.get(at.parent) if at.parent is not None else None
        return line[::-1]

    async def tree(self, conversation: str) -> list[Node]:
        kept = self._kept.get(conversation)
        return list(kept.nodes.values()) if kept else []

    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        kept = self._kept.get(conversation)
        return kept.system if kept else None

    async def record(self, turn: Turn) -> None:
        new = turn.conversation
        kept = self._kept.setdefault(new.id, _Kept(new))
        old = kept.conversation
        kept.conversation = replace(
            old,
            updated_at=new.updated_at,
            tip=new.tip or old.tip,
            full=old.full or new.full,
            system=new.system or old.system,
        )
        for node in turn.nodes:
            if node.id not in kept.nodes:
                kept.nodes[node.id] = node
                kept.by_hash.setdefault(node.hash, []).append(node)
                if node.parent is not None:
                    kept.parents.add(node.parent)
        kept.echoes.update(turn.echoes)
        if turn.system is not None:
            kept.system = (kept.system[0] if kept.system else turn.system, turn.system)

    async def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        for kept in list(self._kept.values()):
            if name is None or name in (kept.conversation.id, kept.conversation.key):
                yield kept.conversation
