"""A store in which what was said is encrypted (see `cipher`), around any other store.

Rules: bodies, usage, system messages, summaries, the details of exchanges, requests as they came, what is
made in the background, and the prompts, models and tools of threads are encrypted, and so is the secret that
keys all hashes; tenants are stored under pseudonyms. Keys, ids, roles, models of replies, times, sizes, the
shape of the trees, and how each root is used stay readable, and so do an exchange's outcome, status, error
and counts, but these cannot be changed without its detail. Only `re_encrypt` takes a store that was in use
before it had a key (`accept_plaintext`), and nobody else does until it has gone over all of it. Apart from
that, nothing is trusted that is not encrypted, the secret included. A store that an earlier version served
before `re_encrypt` goes on as it was, until then.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.conversation.overview import Outline, Overview, Overviews, Spent
from sidecar.conversation.records import (
    ConversationStats,
    ConversationUpdate,
    Found,
    Snapshot,
    Summary,
    Thread,
)
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.prompt.search_words import Sought
from sidecar.store.base import Store
from sidecar.store.encrypted.cipher import (
    TENANT_SIZE,
    BlockPseudonym,
    ContentCipher,
    TenantPseudonym,
    changed_secret,
    is_encrypted,
)
from sidecar.store.encrypted.client_keys import KeepingClientKeys
from sidecar.store.encrypted.content import Content, aside, check_that_all_are_its_own
from sidecar.store.encrypted.running_responses import RunningResponses
from sidecar.store.searched import EVERYWHERE, Looked, Where

__all__ = ["EncryptedStore"]

#: Where the secret is encrypted; no conversation has this id.
_OF_SECRET = "\0secret"  # noqa: S105 - the name of a place
#: Bound to the encrypted secret where tenants are named by `TenantPseudonym`, so that a version that knows
#: `BlockPseudonym` alone refuses the store and does not find it empty.
_BY_PSEUDONYM = b"2"
#: How far the store is encrypted, kept with the secret: some of it (as earlier versions served it), or all.
_MIXED, _ALL_ENCRYPTED = b"m", b"s"
_ALL = -60.0  # seconds: also those of which was heard just now


class EncryptedStore(RunningResponses, KeepingClientKeys):
    """`inner`, which must not have been given a secret, encrypted with the first of `keys`."""

    may_index = False

    def __init__(
        self, inner: Store, keys: Sequence[bytes], *, secret: str = "", accept_plaintext: bool = False
    ) -> None:
        self._inner = inner
        # Before anything is changed in it, such as its schema.
        self._inner.check_secret = lambda kept: is_encrypted(kept) and self._secret_in(kept)
        self._cipher = ContentCipher(keys)
        self._content = Content(self._cipher)
        self._given = self.secret = secret.encode()
        self._accept_plaintext = accept_plaintext
        self._pseudonym_type: type[TenantPseudonym | BlockPseudonym] = TenantPseudonym

    async def open(self) -> None:
        await self._inner.open()
        try:
            await self._unlock()
            await self._inner.drop_index()
        except BaseException:
            await self._inner.close()
            raise

    async def _unlock(self) -> None:
        self.shares_parts = self._content.shares_parts = self._inner.shares_parts
        kept = self._inner.secret
        if is_encrypted(kept):
            self._decrypt_secret(kept)
        else:
            # The one that was made just now lies in the store's log as it is: nothing hangs on it yet.
            self._kept, self._content.is_mixed = secrets.token_bytes(len(kept)), False
            async for held in self._inner.conversation_stats(sized=False):
                self._check_clear(len(held.tenant) == TENANT_SIZE)
                self._kept, self._content.is_mixed = kept, True
            if await self._inner.client_key_ids():
                self._check_clear(True)
                self._kept, self._content.is_mixed = kept, True
            await self._lock()
        self._pseudonyms = self._pseudonym_type(self._kept)
        self.secret = self._given or self._kept

    def _decrypt_secret(self, encrypted: bytes) -> None:
        told, self._pseudonym_type = self._secret_in(encrypted)
        self._content.is_mixed, self._kept = told[:1] == _MIXED, told[1:]
        if self._content.is_mixed and self._pseudonym_type is TenantPseudonym and not self._accept_plaintext:
            raise StoreUnavailable(
                "the store is encrypted in part, since `sidecar rekey` was broken off: run it again"
            )

    def _secret_in(self, encrypted: bytes) -> tuple[bytes, type[TenantPseudonym | BlockPseudonym]]:
        try:
            return self._cipher.decrypt(encrypted, _OF_SECRET, _BY_PSEUDONYM), TenantPseudonym
        except StoreUnavailable:
            return self._cipher.decrypt(encrypted, _OF_SECRET), BlockPseudonym

    def _check_clear(self, is_clear: bool) -> None:
        """Raise `StoreUnavailable` unless a store whose secret is not encrypted may be taken."""
        if not is_clear:
            raise changed_secret()
        if not self._accept_plaintext:
            raise StoreUnavailable(
                "the store is not encrypted, and there is a key: `sidecar rekey` encrypts it. If it was"
                " encrypted before, somebody changed it: put a backup in its place"
            )

    async def _lock(self) -> None:
        told = (_MIXED if self._content.is_mixed else _ALL_ENCRYPTED) + self._kept
        place = (_BY_PSEUDONYM,) if self._pseudonym_type is TenantPseudonym else ()
        await self._inner.replace_secret(self._cipher.encrypt(told, _OF_SECRET, *place))

    async def re_encrypt(self, done: Callable[[int], None]) -> int:
        """Encrypt with the first key whatever is not; returns how many conversations that changed.

        `done` is told of each conversation, with how many messages it has. Broken off, it goes on with what
        is left when it is called again.
        """
        changed = 0
        await self._inner.drop_index()
        await self._inner.drop_requests()  # kept for a while at best: not worth a way of their own
        await self._inner.forget_responses(_ALL)
        async for held in self._inner.conversation_stats(sized=False):
            whole = await self._inner.snapshot(held.id)
            if whole is not None:
                if not self._is_newest(whole):
                    changed += await self._inner.replace_snapshot(
                        held.id, lambda each: self._encrypted(self._decrypted(each))
                    )
                done(len(whole.nodes))
        await self._re_encrypt_client_keys()
        self._content.is_mixed = False
        await self._lock()
        return changed

    async def close(self) -> None:
        await self._inner.close()

    async def probe(self) -> None:
        await self._inner.probe()

    async def check(self) -> None:
        await self._inner.check()

    def waiting(self) -> tuple[int, int]:
        return self._inner.waiting()

    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        found = Found()
        for name in self._names(tenant):
            found = await self._inner.find(name, ids, hashes)
            if found.conversation is not None:
                break
        return self._decrypt_found(found, tenant)

    def find_cached(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found | None:
        found = self._inner.find_cached(self._names(tenant)[0], ids, hashes)
        return found and self._decrypt_found(found, tenant)

    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        for name in self._names(tenant):
            found = await self._inner.find_by_history(name, hashes)
            if found is not None:
                return found
        return None

    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self._names(tenant):
            found |= await self._inner.candidates(name, hashes, digests)
        return found

    async def path(self, conversation: str, node: bytes) -> list[Node]:
        return await self._decrypted_nodes(conversation, await self._inner.path(conversation, node))

    async def tree(self, conversation: str) -> list[Node]:
        return await self._decrypted_nodes(conversation, await self._inner.tree(conversation))

    async def _decrypted_nodes(self, conversation: str, nodes: list[Node]) -> list[Node]:
        return await aside(nodes, partial(self._content.decrypt_nodes, conversation, nodes))

    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        found = await self._inner.system(conversation)
        return self._content.decrypt_system(conversation, found) if found else None

    async def threads(self, conversation: str, limit: int = 64) -> list[Thread]:
        found = await self._inner.threads(conversation, limit)
        return [self._content.decrypt_thread(conversation, each) for each in found]

    async def record(self, update: ConversationUpdate) -> None:
        await self._inner.record(await aside(update.nodes, partial(self._encrypted_update, update)))

    def _encrypted_update(self, update: ConversationUpdate) -> ConversationUpdate:
        id, content = update.conversation.id, self._content
        return replace(
            update,
            conversation=self._with_pseudonym(update.conversation),
            nodes=tuple(content.encrypt_node(id, node) for node in update.nodes),
            system=content.encrypt_system(id, update.system) if update.system is not None else None,
            exchange=content.encrypt_exchange(id, update.exchange) if update.exchange is not None else None,
            thread=content.encrypt_thread(id, update.thread) if update.thread is not None else None,
        )

    async def exchanges(
        self, tenant: bytes, conversation: str, *, limit: int = 100, before: bytes | None = None
    ) -> list[Exchange]:
        for name in self._names(tenant):
            found = await self._inner.exchanges(name, conversation, limit=limit, before=before)
            if found:
                return [self._content.decrypt_exchange(conversation, each) for each in found]
        return []

    async def exchange(self, tenant: bytes, conversation: str, id: bytes) -> Exchange | None:
        for name in self._names(tenant):
            found = await self._inner.exchange(name, conversation, id)
            if found is not None:
                return self._content.decrypt_exchange(conversation, found)
        return None

    async def amend(self, tenant: bytes, exchange: Exchange) -> bool:
        encrypted = self._content.encrypt_exchange(exchange.conversation, exchange)
        for name in self._names(tenant):
            if await self._inner.amend(name, encrypted):
                return True
        return False

    def cross_process_lock(self, name: str, wait: float) -> AbstractAsyncContextManager[bool]:
        return self._inner.cross_process_lock(name, wait)

    async def find_summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        found = await self._inner.find_summary(conversation, hashes)
        return self._content.decrypt_summary(conversation, found) if found else None

    async def add_summary(self, conversation: str, summary: Summary) -> None:
        await self._inner.add_summary(conversation, self._content.encrypt_summary(conversation, summary))

    async def save_learned(self, name: str, value: bytes) -> None:
        await self._inner.save_learned(name, value)

    async def load_learned(self) -> dict[str, bytes]:
        return await self._inner.load_learned()

    async def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        async for each in self._inner.conversations(name):
            yield self._with_tenant(each)

    async def conversation_stats(
        self, *, tenant: bytes | None = None, name: str | None = None, sized: bool = True
    ) -> AsyncIterator[ConversationStats]:
        for whose in self._names(tenant) if tenant is not None else (None,):
            async for each in self._inner.conversation_stats(tenant=whose, name=name, sized=sized):
                yield replace(each, tenant=self._tenant_of(each.tenant) or b"")

    async def overviews(
        self, *, limit: int = 50, before: tuple[float, str] | None = None, recent: int = 1
    ) -> Overviews:
        found = await self._inner.overviews(limit=limit, before=before, recent=recent)
        told = await asyncio.to_thread(lambda: tuple(map(self._decrypted_overview, found.conversations)))
        return replace(found, conversations=told)

    def _decrypted_overview(self, each: Overview) -> Overview:
        content = self._content
        each = replace(each, tenant=self._tenant_of(each.tenant) or b"", earlier=content.readable(each))
        try:
            first = content.decrypt_node(each.id, each.first) if each.first is not None else None
            last = content.decrypt_exchange(each.id, each.last) if each.last is not None else None
        except StoreUnavailable as error:
            return replace(each, first=None, last=None, problem=error.message)
        return replace(each, first=first, last=last)

    async def overview(self, name: str) -> Overview | None:
        found = await self._inner.overview(name)
        return found and self._decrypted_overview(found)

    async def look_for(self, sought: Sought, where: Where = EVERYWHERE) -> Looked:
        """Raises: an index would tell what was said, so there is none. Who searches reads chat after chat."""
        raise StoreUnavailable("the store is encrypted: there is no index of what was said")

    async def taken(self) -> int | None:
        return await self._inner.taken()

    async def outline(self, conversation: str) -> Outline | None:
        found = await self._inner.outline(conversation)
        return found and replace(found, conversation=self._with_tenant(found.conversation))

    async def messages(self, conversation: str, nodes: Sequence[bytes]) -> list[Node]:
        return await self._decrypted_nodes(conversation, await self._inner.messages(conversation, nodes))

    async def spent(self, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
        async for some in self._inner.spent(begin, end):
            yield await asyncio.to_thread(lambda found: [*map(self._decrypted_spent, found)], some)

    def _decrypted_spent(self, each: Spent) -> Spent:
        tenant, exchange = self._tenant_of(each.tenant) or b"", each.exchange
        if each.is_damaged:
            return replace(each, tenant=tenant)
        try:
            exchange = self._content.decrypt_exchange(exchange.conversation, exchange)
        except StoreUnavailable:
            return replace(each, tenant=tenant, exchange=replace(exchange, detail=Detail()), is_damaged=True)
        return replace(each, tenant=tenant, exchange=exchange)

    async def delete(self, conversation: str, *, unless_after: float | None = None) -> bool:
        return await self._inner.delete(conversation, unless_after=unless_after)

    async def delete_learned(self) -> None:
        await self._inner.delete_learned()

    async def purge(self, *, compact: bool) -> None:
        await self._inner.purge(compact=compact)

    async def snapshot(self, conversation: str) -> Snapshot | None:
        found = await self._inner.snapshot(conversation)
        return self._decrypted(found) if found else None

    async def add_snapshot(self, whole: Snapshot) -> None:
        await self._inner.add_snapshot(self._encrypted(whole))

    async def replace_snapshot(self, conversation: str, change: Callable[[Snapshot], Snapshot]) -> bool:
        return await self._inner.replace_snapshot(
            conversation, lambda whole: self._encrypted(change(self._decrypted(whole)))
        )

    async def replace_secret(self, secret: bytes) -> None:
        self._kept = self.secret = secret
        self._pseudonyms = self._pseudonym_type(secret)
        await self._lock()

    async def backup(self, file: str, progress: Callable[[float], None]) -> None:
        await self._inner.backup(file, progress)

    def _names(self, tenant: bytes) -> tuple[bytes, ...]:
        """Under which names the store may have a tenant."""
        name = self._pseudonyms.pseudonym(tenant)
        return (name, tenant) if self._content.is_mixed else (name,)

    def _with_pseudonym(self, about: Conversation) -> Conversation:
        return replace(about, tenant=self._pseudonyms.pseudonym(about.tenant))

    def _tenant_of(self, name: bytes) -> bytes | None:
        if self._content.is_mixed and len(name) == TENANT_SIZE:
            return name
        return self._pseudonyms.tenant_of(name)

    def _with_tenant(self, about: Conversation) -> Conversation:
        tenant = self._tenant_of(about.tenant)
        if tenant is None:
            raise StoreUnavailable(
                f"the tenant of conversation {about.id} is not what was written there: it was changed"
            )
        return replace(about, tenant=tenant)

    def _decrypt_found(self, found: Found, tenant: bytes) -> Found:
        if found.conversation is None:
            return found
        id = found.conversation.id
        nodes = {hash: self._content.decrypt_nodes(id, alike) for hash, alike in found.nodes.items()}
        return replace(found, conversation=replace(found.conversation, tenant=tenant), nodes=nodes)

    def _encrypted(self, whole: Snapshot) -> Snapshot:
        return replace(self._content.encrypted(whole), conversation=self._with_pseudonym(whole.conversation))

    def _decrypted(self, whole: Snapshot) -> Snapshot:
        about = self._with_tenant(whole.conversation)
        check_that_all_are_its_own(about, whole.nodes)
        return replace(self._content.decrypted(whole), conversation=about)

    def _is_newest(self, whole: Snapshot) -> bool:
        is_known = self._pseudonyms.tenant_of(whole.conversation.tenant) is not None
        return is_known and self._content.is_newest(whole)
