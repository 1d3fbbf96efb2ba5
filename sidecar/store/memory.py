"""The store in dictionaries: the twin that must behave like the others, for tests and throw-away use."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from heapq import nlargest

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.overview import Outline, Overview, Overviews, Spent, Stem
from sidecar.conversation.records import (
    ConversationStats,
    ConversationUpdate,
    Found,
    Snapshot,
    Summary,
    Thread,
    joined,
)
from sidecar.conversation.tree import Conversation, Node
from sidecar.prompt.search_words import Sought
from sidecar.store.base import MAX_ALIKE, MAX_CANDIDATES, MAX_LEARNED
from sidecar.store.client_keys import KeyRow
from sidecar.store.held import Held
from sidecar.store.kept_requests import superfluous
from sidecar.store.running_responses import RunningInMemory
from sidecar.store.searched import EVERYWHERE, Looked, Where, looked_through
from sidecar.store.threads import together

__all__ = ["MemoryStore"]


class MemoryStore(RunningInMemory):
    """Conversations for as long as the process lives."""

    def __init__(self, *, secret: str = "") -> None:
        super().__init__()
        self.secret = secret.encode() or secrets.token_bytes(32)
        self._kept: dict[str, Held] = {}
        #: The conversations that are known by a hash (or an echo of it), or by the digest of a reply.
        self._holders: dict[bytes, dict[int, Held]] = {}
        self._answered: dict[bytes, dict[int, Held]] = {}
        self._learned: dict[str, bytes] = {}
        self._client_keys: dict[str, KeyRow] = {}
        self._numbers, self._places = itertools.count(), itertools.count()

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
            nodes = kept.named(hash)
            if nodes:
                return Found(kept.conversation, {hash: nodes}, nodes[-1].id not in kept.parents)
        return Found(kept.conversation)

    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        for hash in hashes:
            holders = self._holders.get(hash, {})
            found = [
                (kept.named(hash)[-1].id not in kept.parents, kept.conversation.updated_at, number, kept)
                for number, kept in nlargest(MAX_ALIKE, holders.items())
                if kept.conversation.tenant == tenant
                and any(node.source == "upstream" for node in kept.named(hashes[-1]))
            ]
            if found:
                return max(found)[-1].conversation.id
        return None

    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        holders = [self._holders.get(hash, {}) for hash in hashes]
        holders += [self._answered.get(digest, {}) for digest in digests]
        found: dict[int, Held] = {}
        for each in holders:
            if len(each) <= MAX_CANDIDATES:
                found.update(each)
        return {
            kept.conversation.id: len(kept.nodes)
            for _, kept in sorted(found.items(), reverse=True)
            if kept.conversation.tenant == tenant
        }

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

    async def threads(self, conversation: str, limit: int = 64) -> list[Thread]:
        kept = self._kept.get(conversation)
        held = kept.threads.values() if kept else ()
        return nlargest(limit, held, key=lambda each: (each.updated_at, each.root))

    async def record(self, update: ConversationUpdate) -> None:
        new = update.conversation
        known = self._kept.get(new.id)
        after = update.after
        if after is not None and (known is None or after not in known.nodes):
            return
        keys = {known.conversation.key if known is not None else None, new.key}
        if after is not None and len(keys - {None}) > 1:
            return
        kept = self._held(new)
        old = kept.conversation
        kept.conversation = replace(
            old,
            updated_at=max(old.updated_at, new.updated_at),
            tip=new.tip or old.tip,
            full=old.full or new.full,
            system=new.system or old.system,
            weights=new.weights or old.weights,
            key=old.key if old.key is not None else new.key,
        )
        is_known_by = new.key is None
        if update.is_found_by_echo and old.key is None:
            self._forget(kept)
        self._add_nodes(kept, update.nodes, is_known_by=is_known_by)
        self._add_echoes(kept, update.echoes, is_known_by=is_known_by or update.is_found_by_echo)
        if update.system is not None:
            kept.system = (kept.system[0] if kept.system else update.system, update.system)
        if update.exchange is not None:
            kept.exchanges.setdefault(update.exchange.id, update.exchange)
        if update.thread is not None:
            kept.threads[update.thread.root] = joined(kept.threads.get(update.thread.root), update.thread)

    async def exchanges(
        self, tenant: bytes, conversation: str, *, limit: int = 100, before: bytes | None = None
    ) -> list[Exchange]:
        kept = self._kept.get(conversation)
        if kept is None or kept.conversation.tenant != tenant:
            return []
        ids = [id for id in kept.exchanges if before is None or id < before]
        return [kept.exchanges[id] for id in sorted(ids, reverse=True)[:limit]]

    async def exchange(self, tenant: bytes, conversation: str, id: bytes) -> Exchange | None:
        kept = self._kept.get(conversation)
        return kept.exchanges.get(id) if kept and kept.conversation.tenant == tenant else None

    async def amend(self, tenant: bytes, exchange: Exchange) -> bool:
        if await self.exchange(tenant, exchange.conversation, exchange.id) is None:
            return False
        self._kept[exchange.conversation].exchanges[exchange.id] = exchange
        return True

    async def keep_request(self, conversation: str, exchange: bytes, data: bytes, *, most: int) -> None:
        kept = self._kept.get(conversation)
        if kept is None or exchange not in kept.exchanges or exchange in kept.requests:
            return
        kept.requests[exchange] = data
        newest_first = sorted(kept.requests, reverse=True)
        for each in superfluous([(id, len(kept.requests[id])) for id in newest_first], most):
            del kept.requests[each]

    async def kept_request(self, tenant: bytes, conversation: str, exchange: bytes) -> bytes | None:
        kept = self._kept.get(conversation)
        return kept.requests.get(exchange) if kept and kept.conversation.tenant == tenant else None

    async def drop_requests(self) -> None:
        for kept in self._kept.values():
            kept.requests.clear()

    async def find_summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        kept = self._kept.get(conversation)
        found = (kept.summaries[hash] for hash in hashes if hash in kept.summaries) if kept else iter(())
        return next(found, None)

    async def add_summary(self, conversation: str, summary: Summary) -> None:
        kept = self._kept.get(conversation)
        if kept is not None:
            kept.summaries.setdefault(summary.hash, summary)

    async def save_learned(self, name: str, value: bytes) -> None:
        self._learned.pop(name, None)  # so that the newest stand last
        self._learned[name] = value
        if len(self._learned) > MAX_LEARNED:
            del self._learned[next(iter(self._learned))]

    async def load_learned(self) -> dict[str, bytes]:
        return dict(self._learned)

    async def client_key(self, id: str) -> KeyRow | None:
        return self._client_keys.get(id)

    async def client_key_ids(self) -> list[str]:
        return sorted(self._client_keys)

    async def put_client_key(self, row: KeyRow) -> bool:
        held = self._client_keys.get(row.id)
        if held is None or held.version < row.version:
            days = [each.used for each in (held, row) if each is not None and each.used is not None]
            self._client_keys[row.id] = row._replace(used=max(days, default=None))
        return self._client_keys[row.id][:3] == row[:3]

    async def use_client_key(self, id: str, day: int) -> None:
        held = self._client_keys.get(id)
        if held is not None and (held.used is None or held.used < day):
            self._client_keys[id] = held._replace(used=day)

    async def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        for kept in list(self._kept.values()):
            if name is None or name in (kept.conversation.id, kept.conversation.key):
                yield kept.conversation

    async def conversation_stats(
        self, *, tenant: bytes | None = None, name: str | None = None, sized: bool = True
    ) -> AsyncIterator[ConversationStats]:
        for kept in list(self._kept.values()):
            each = kept.conversation
            if tenant in (None, each.tenant) and name in (None, each.id, each.key):
                counted = (len(kept.nodes), kept.size()) if sized else ()
                yield ConversationStats(
                    each.id, each.tenant, each.key, each.created_at, each.updated_at, *counted
                )

    async def overviews(
        self, *, limit: int = 50, before: tuple[float, str] | None = None, recent: int = 1
    ) -> Overviews:
        def place(kept: Held) -> tuple[float, str]:
            return kept.conversation.updated_at, kept.conversation.id

        found = [each for each in self._kept.values() if before is None or place(each) < before]
        page = nlargest(limit, found, key=place)
        return Overviews(len(self._kept), tuple(each.overview(recent) for each in page))

    async def outline(self, conversation: str) -> Outline | None:
        kept = self._kept.get(conversation)
        if kept is None:
            return None
        stems = (
            Stem(
                *(each.id, each.parent, each.role, each.source, each.state, each.created_at),
                *(each.model, each.finish_reason, len(each.body)),
            )
            for each in kept.nodes.values()
        )
        return Outline(kept.conversation, tuple(stems))

    async def messages(self, conversation: str, nodes: Sequence[bytes]) -> list[Node]:
        kept, wanted = self._kept.get(conversation), set(nodes)
        return [each for each in kept.nodes.values() if each.id in wanted] if kept else []

    async def spent(self, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
        for kept in reversed(list(self._kept.values())):
            about, done = kept.conversation, sorted(kept.exchanges.items(), reverse=True)
            some = [
                Spent(about.tenant, about.created_at, each) for _, each in done if begin <= each.when < end
            ]
            if some:
                yield some

    async def overview(self, name: str) -> Overview | None:
        if (kept := self._kept.get(name)) is not None:
            return kept.overview()
        named = [each for each in self._kept.values() if each.conversation.key == name]
        return max(named, key=lambda each: each.conversation.updated_at).overview() if named else None

    async def look_for(self, sought: Sought, where: Where = EVERYWHERE) -> Looked:
        said = [
            (each.places[id], about.id, node)
            for each in self._kept.values()
            if where.tenant in (None, (about := each.conversation).tenant)
            for id, node in each.nodes.items()
        ]
        return await asyncio.to_thread(looked_through, said, sought, where)

    async def delete(self, conversation: str, *, unless_after: float | None = None) -> bool:
        kept = self._kept.get(conversation)
        if kept is None or (unless_after is not None and kept.conversation.updated_at > unless_after):
            return False
        del self._kept[conversation]
        self._forget(kept)
        self.forget_responses_of(conversation)
        return True

    async def delete_learned(self) -> None:
        self._learned.clear()

    async def purge(self, *, compact: bool) -> None:
        """Nothing is left."""

    async def snapshot(self, conversation: str) -> Snapshot | None:
        kept = self._kept.get(conversation)
        return kept.snapshot() if kept else None

    async def add_snapshot(self, whole: Snapshot) -> None:
        kept = self._held(whole.conversation)
        before, new = kept.conversation.key, whole.conversation.key
        key = new if before is None else before
        if before is None and key is not None:
            self._forget(kept)
        if whole.conversation.updated_at >= kept.conversation.updated_at:
            kept.conversation = whole.conversation
            kept.system = whole.system or kept.system
        kept.conversation = replace(kept.conversation, key=key)
        self._add_nodes(kept, whole.nodes, is_known_by=key is None)
        names = set(whole.found_by)
        self._add_echoes(kept, whole.echoes, is_known_by=key is None)
        named = [each for each in whole.echoes if each[0] in names]
        self._add_echoes(kept, named, is_known_by=True)
        for summary in whole.summaries:
            kept.summaries.setdefault(summary.hash, summary)
        for exchange in whole.exchanges:
            kept.exchanges.setdefault(exchange.id, exchange)
        for thread in whole.threads:
            kept.threads[thread.root] = together(kept.threads.get(thread.root), thread)

    async def replace_snapshot(self, conversation: str, change: Callable[[Snapshot], Snapshot]) -> bool:
        kept = self._kept.get(conversation)
        if kept is None:
            return False
        new = change(kept.snapshot())
        kept.conversation = replace(kept.conversation, tenant=new.conversation.tenant)
        kept.system = new.system
        for node in new.nodes:
            old = kept.nodes[node.id]
            kept.nodes[node.id] = now = replace(old, body=node.body, usage=node.usage)
            alike = kept.by_hash[node.hash]
            alike[alike.index(old)] = now
        kept.summaries = {each.hash: each for each in new.summaries}
        kept.exchanges = {each.id: each for each in new.exchanges}
        kept.threads = {each.root: each for each in new.threads}
        return True

    async def replace_secret(self, secret: bytes) -> None:
        self.secret = secret

    def _held(self, conversation: Conversation) -> Held:
        if conversation.id not in self._kept:
            self._kept[conversation.id] = Held(next(self._numbers), conversation)
        return self._kept[conversation.id]

    def _forget(self, kept: Held) -> None:
        """It is no longer known by anything that it holds."""
        kept.found_by.clear()
        for holders in (self._holders, self._answered):
            for key in [key for key, held in holders.items() if kept.number in held]:
                del holders[key][kept.number]
                if not holders[key]:
                    del holders[key]

    def _add_nodes(self, kept: Held, nodes: Iterable[Node], *, is_known_by: bool) -> None:
        for node in nodes:
            if node.id not in kept.nodes:
                kept.nodes[node.id] = node
                kept.places[node.id] = next(self._places)
                kept.by_hash.setdefault(node.hash, []).append(node)
                if node.parent is not None:
                    kept.parents.add(node.parent)
            if is_known_by:
                self._holders.setdefault(node.hash, {})[kept.number] = kept
            if is_known_by and node.source == "upstream":
                self._answered.setdefault(node.digest, {})[kept.number] = kept

    def _add_echoes(self, kept: Held, echoes: Iterable[tuple[bytes, bytes]], *, is_known_by: bool) -> None:
        for hash, node_id in echoes:
            kept.echoes[hash] = node_id
            if is_known_by:
                kept.found_by.add(hash)
                self._holders.setdefault(hash, {})[kept.number] = kept
