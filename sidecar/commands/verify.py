"""`sidecar verify`: is what is stored still what was recorded?

Rule: every digest, hash, exact chain and id is recomputed from the bodies, with the keys in the store (its
secret, and the tenant of each conversation), and every mismatch is reported.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator

from sidecar.access.client_keys import client_key_of
from sidecar.commands.progress import Progress
from sidecar.conversation.find_by_history import key_of_name
from sidecar.conversation.identity import conversation_id, id_of_its_own
from sidecar.conversation.records import Snapshot
from sidecar.conversation.tree import HASH_SIZE, Chain, Node
from sidecar.errors import StoreUnavailable
from sidecar.printable import printable
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run", "wrongs"]


def add_arguments(_parser: ArgumentParser) -> None:
    """There are none: it checks the whole store."""


async def run(settings: Settings, _args: Namespace) -> int:
    """Check every conversation; returns 1 if anything is wrong."""
    out = sys.stdout
    conversations = messages = wrong = 0
    async with open_existing(settings) as store:
        with Progress("verified conversations") as progress:
            async for held in store.conversation_stats(sized=False):
                progress.step()
                try:
                    whole = await store.snapshot(held.id)
                except StoreUnavailable as error:  # a damaged page, another key: the rest may be readable
                    out.write(printable(f"{held.id}: cannot be read: {error.message}") + "\n")
                    wrong += 1
                    continue
                if whole is None:  # deleted meanwhile
                    continue
                for each in wrongs(whole, store.secret):
                    out.write(printable(f"{held.id}: {each}") + "\n")
                    wrong += 1
                conversations += 1
                messages += len(whole.nodes)
        async for each in _wrong_keys(store):
            out.write(printable(each) + "\n")
            wrong += 1
    sys.stderr.write(
        f"sidecar: {conversations} conversations with {messages} messages: "
        f"{f'{wrong} things are wrong' if wrong else 'all as it was recorded'}\n"
    )
    return 1 if wrong else 0


async def _wrong_keys(store: Store) -> AsyncIterator[str]:
    """Keys of clients that are not what was written, one sentence each."""
    for id in await store.client_key_ids():
        try:
            row = await store.client_key(id)
            if row is not None:  # else it went meanwhile
                client_key_of(row)
        except StoreUnavailable as error:
            yield f"key {id}: cannot be read: {error.message}"


def wrongs(whole: Snapshot, secret: bytes) -> Iterator[str]:
    """Every mismatch, one sentence each."""
    about = whole.conversation
    chain = Chain(about.tenant)
    if about.key is not None and not _is_called(whole, about.key, secret, chain):
        yield "its id does not match its key and tenant under the store's secret"
    known: dict[bytes, Node] = {}
    for node in whole.nodes:
        for each in _wrong_with(node, known, chain):
            yield f"message b2:{node.id.hex()}: {each}"
        known[node.id] = node
    if about.tip is not None and about.tip not in known:
        yield "its tip is missing"
    for hash, node_id in whole.echoes:
        if node_id not in known:
            yield f"the message of the echo {hash.hex()} is missing"
    named = known.keys() | {node.hash for node in whole.nodes}  # an exchange names some by their hash alone
    for exchange in whole.exchanges:
        for gone in [each for each in exchange.nodes if each not in named]:
            yield f"exchange {exchange.id.hex()}: the message b2:{gone.hex()} that it names is missing"
    yield from _wrong_threads(whole, known)
    if whole.system is not None and about.system not in (None, chain.hash(None, whole.system[1])):
        yield "its system message does not match its digest"


def _is_called(whole: Snapshot, key: str, secret: bytes, chain: Chain) -> bool:
    """Is this the id of a conversation with this key: by the key alone, with its first message beside it, or
    since it began without a key and an echo tells that it got this one later?"""
    about = whole.conversation
    if about.id == conversation_id(secret, about.tenant, key):
        return True
    roots = (node.hash for node in whole.nodes if node.parent is None)
    if any(about.id == id_of_its_own(secret, about.tenant, key, root) for root in roots):
        return True
    name = key_of_name(chain, key)
    return any(hash == name for hash, _ in whole.echoes)


def _wrong_threads(whole: Snapshot, known: dict[bytes, Node]) -> Iterator[str]:
    roots: dict[bytes | None, bytes] = {}
    for node in known.values():
        roots[node.id] = roots.get(node.parent, node.id)
    for thread in whole.threads:
        if roots.get(thread.root) != thread.root:
            yield f"the thread of b2:{thread.root.hex()}: no path begins there"
        elif thread.head is not None and roots.get(thread.head) != thread.root:
            yield f"the thread of b2:{thread.root.hex()}: its head is not under it"


def _wrong_with(node: Node, known: dict[bytes, Node], chain: Chain) -> Iterator[str]:
    parent = known.get(node.parent) if node.parent is not None else None
    if node.parent is not None and parent is None:
        yield "its parent is missing"
        return
    try:
        message = chain.message(node.body)
    except (ValueError, RecursionError) as error:
        yield f"its body is {error}"
        return
    if message.role != node.role:
        yield "its role does not match its body"
    if message.digest != node.digest:
        yield "its digest does not match its body"
    if chain.exact(parent.exact if parent else b"", message) != node.exact:
        yield "its exact chain does not match its body and parent"
    if node.id[:HASH_SIZE] != chain.hash(parent.hash if parent else None, message.digest):
        yield "its hash does not match its body and parent"
    elif node.source == "client" and node.id != chain.message_id(parent, message.digest):
        yield "its id does not match its parent"
