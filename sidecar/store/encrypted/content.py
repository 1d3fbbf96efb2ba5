"""What is encrypted of each value, and to which place it is bound.

Rule: nothing is believed that is not encrypted, but in a store of which some is not yet (`is_mixed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange, Reference, detail_of, packed
from sidecar.conversation.overview import Overview
from sidecar.conversation.records import Snapshot, Summary, Thread
from sidecar.conversation.running_response import KeptEvents
from sidecar.conversation.tree import HASH_SIZE, Chain, Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.store.encrypted.cipher import (
    OF_CLIENT_KEY,
    ContentCipher,
    changed,
    fingerprint,
    is_encrypted,
    whole_of,
)
from sidecar.store.exchanges import columns_of
from sidecar.store.parts import WITH_SEALED_PARTS, Cut, parts_of, put_together, sealed, unsealed

__all__ = ["Content", "aside", "check_that_all_are_its_own"]

_BODY, _PART, _USAGE, _SYSTEM, _SUMMARY = b"body", b"part", b"usage", b"system", b"summary"
_EXCHANGE, _REQUEST, _KEY = b"exchange", b"request", b"client key"
_TOLD, _EVENTS = b"response", b"events"
_PROMPT, _MODEL, _TOOLS = b"thread's system", b"thread's model", b"thread's tools"

_MANY, _LARGE = 500, 1 << 20  # messages, and bytes of them
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, ...]).decode


class Content:
    """Encrypts and decrypts values, each with the id of its conversation."""

    def __init__(self, cipher: ContentCipher) -> None:
        self._cipher = cipher
        self.is_mixed = True
        #: Does the store keep large parts by themselves?
        self.shares_parts = False

    def encrypt_node(self, id: str, node: Node) -> Node:
        usage = self._cipher.encrypt(node.usage, id, node.id, _USAGE) if node.usage is not None else None
        return replace(node, body=self._encrypt_body(id, node), usage=usage)

    def decrypt_node(self, id: str, node: Node) -> Node:
        usage = self._decrypt(node.usage, id, node.id, _USAGE) if node.usage is not None else None
        return replace(node, body=self._decrypt_body(id, node), usage=usage)

    def _encrypt_body(self, id: str, node: Node) -> bytes:
        """Large parts each by itself and the same each time, for a conversation to keep each once. The rest
        is bound to those that belong to it, so that none can be put in the place of another."""
        cipher, pieces = self._cipher, parts_of(node) if self.shares_parts else None
        if pieces is None:
            return cipher.encrypt(node.body, id, node.id, _BODY)
        parts = [cipher.encrypt_deterministic(part, id, _PART) for part in pieces.parts]
        rest = cipher.encrypt(pieces.rest, id, node.id, _BODY, *_bonds(pieces.places, parts))
        return sealed(rest, pieces.places, parts)

    def _decrypt_body(self, id: str, node: Node) -> bytes:
        if not node.body.startswith(WITH_SEALED_PARTS):
            return self._decrypt(node.body, id, node.id, _BODY)
        rest, places, parts = _unsealed(id, node)
        rest = self._cipher.decrypt(rest, id, node.id, _BODY, *_bonds(places, parts))
        return put_together(rest, places, [self._cipher.decrypt(part, id, _PART) for part in parts])

    def decrypt_nodes(self, id: str, nodes: Iterable[Node]) -> list[Node]:
        return [self.decrypt_node(id, node) for node in nodes]

    def encrypt_system(self, id: str, system: bytes) -> bytes:
        return self._cipher.encrypt(system, id, _SYSTEM)

    def decrypt_system(self, id: str, system: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        return self._decrypt(system[0], id, _SYSTEM), self._decrypt(system[1], id, _SYSTEM)

    def encrypt_summary(self, id: str, summary: Summary) -> Summary:
        return replace(summary, text=self._cipher.encrypt_text(summary.text, id, summary.hash, _SUMMARY))

    def decrypt_summary(self, id: str, summary: Summary) -> Summary:
        return replace(summary, text=self._decrypt_text(summary.text, id, summary.hash, _SUMMARY))

    def encrypt_exchange(self, id: str, exchange: Exchange) -> Exchange:
        encrypted = self._cipher.encrypt(
            packed(exchange.detail), id, exchange.id, _EXCHANGE, columns_of(exchange)
        )
        return replace(exchange, detail=Detail(encrypted=encrypted))

    def decrypt_exchange(self, id: str, exchange: Exchange) -> Exchange:
        encrypted = exchange.detail.encrypted
        if encrypted is None:
            self._check_plain(id)
            return exchange
        detail = self._cipher.decrypt(encrypted, id, exchange.id, _EXCHANGE, columns_of(exchange))
        return replace(exchange, detail=detail_of(detail))

    def encrypt_request(self, id: str, exchange: bytes, data: bytes) -> bytes:
        return self._cipher.encrypt(data, id, exchange, _REQUEST)

    def decrypt_request(self, id: str, exchange: bytes, data: bytes) -> bytes:
        return self._decrypt(data, id, exchange, _REQUEST)

    def encrypt_client_key(self, id: str, version: int, data: bytes) -> bytes:
        return self._cipher.encrypt(data, OF_CLIENT_KEY + id, _KEY, b"%d" % version)

    def decrypt_client_key(self, id: str, version: int, data: bytes) -> bytes:
        return self._decrypt(data, OF_CLIENT_KEY + id, _KEY, b"%d" % version)

    def encrypt_told(self, where: Reference, told: bytes) -> bytes:
        return self._cipher.encrypt(told, where.conversation, where.exchange, _TOLD)

    def decrypt_told(self, where: Reference, told: bytes) -> bytes:
        return self._decrypt(told, where.conversation, where.exchange, _TOLD)

    def encrypt_events(self, where: Reference, events: KeptEvents) -> KeptEvents:
        place = (where.exchange, _EVENTS, *_numbers(events))
        return replace(events, data=self._cipher.encrypt(events.data, where.conversation, *place))

    def decrypt_events(self, where: Reference, events: KeptEvents) -> KeptEvents:
        place = (where.exchange, _EVENTS, *_numbers(events))
        return replace(events, data=self._decrypt(events.data, where.conversation, *place))

    def readable(self, each: Overview) -> tuple[Exchange, ...]:
        """Those of its earlier exchanges that can be read."""
        found: list[Exchange] = []
        for one in each.earlier:
            with suppress(StoreUnavailable):
                found.append(self.decrypt_exchange(each.id, one))
        return tuple(found)

    def encrypt_thread(self, id: str, thread: Thread) -> Thread:
        """Each of the three by itself, since a turn may leave the model as it is; the tools as one name. They
        mostly are what they were a turn ago."""
        cipher, root, system, model = self._cipher, thread.root, thread.system, thread.model
        return replace(
            thread,
            system=cipher.encrypt_deterministic(system, id, root, _PROMPT) if system is not None else None,
            model=cipher.encrypt_text_deterministic(model, id, root, _MODEL) if model is not None else None,
            tools=(cipher.encrypt_text_deterministic(_encode(thread.tools).decode(), id, root, _TOOLS),),
        )

    def decrypt_thread(self, id: str, thread: Thread) -> Thread:
        root, system, model = thread.root, thread.system, thread.model
        return replace(
            thread,
            system=self._decrypt(system, id, root, _PROMPT) if system is not None else None,
            model=self._decrypt_text(model, id, root, _MODEL) if model is not None else None,
            tools=self._decrypt_tools(id, thread),
        )

    def _decrypt_tools(self, id: str, thread: Thread) -> tuple[str, ...]:
        if len(thread.tools) != 1 or not self._cipher.is_encrypted_text(thread.tools[0]):
            self._check_plain(id)
            return thread.tools
        return _decode(self._cipher.decrypt_text(thread.tools[0], id, thread.root, _TOOLS))

    def encrypted(self, whole: Snapshot) -> Snapshot:
        """All of it but the conversation's tenant."""
        id, system = whole.conversation.id, whole.system
        return replace(
            whole,
            nodes=tuple(self.encrypt_node(id, node) for node in whole.nodes),
            system=(self.encrypt_system(id, system[0]), self.encrypt_system(id, system[1]))
            if system
            else None,
            summaries=tuple(self.encrypt_summary(id, each) for each in whole.summaries),
            exchanges=tuple(self.encrypt_exchange(id, each) for each in whole.exchanges),
            threads=tuple(self.encrypt_thread(id, each) for each in whole.threads),
        )

    def decrypted(self, whole: Snapshot) -> Snapshot:
        """All of it but the conversation's tenant."""
        id = whole.conversation.id
        return replace(
            whole,
            nodes=tuple(self.decrypt_nodes(id, whole.nodes)),
            system=self.decrypt_system(id, whole.system) if whole.system else None,
            summaries=tuple(self.decrypt_summary(id, each) for each in whole.summaries),
            exchanges=tuple(self.decrypt_exchange(id, each) for each in whole.exchanges),
            threads=tuple(self.decrypt_thread(id, each) for each in whole.threads),
        )

    def is_newest(self, whole: Snapshot) -> bool:
        """Is all of it encrypted with the first key?"""
        pieces = [
            piece for node in whole.nodes for piece in (*_pieces(whole.conversation.id, node), node.usage)
        ]
        pieces += [each.detail.encrypted or b"" for each in whole.exchanges]
        pieces += [*(whole.system or ()), *(each.system for each in whole.threads)]
        texts = [each.text for each in whole.summaries]
        for each in whole.threads:
            texts += [*([each.model] if each.model is not None else []), each.tools[0] if each.tools else ""]
        return all(self._cipher.is_newest(piece) for piece in pieces if piece is not None) and all(
            map(self._cipher.is_newest_text, texts)
        )

    def _decrypt(self, data: bytes, id: str, *place: bytes) -> bytes:
        if not is_encrypted(data):
            self._check_plain(id)
            return data
        return self._cipher.decrypt(data, id, *place)

    def _decrypt_text(self, text: str, id: str, *place: bytes) -> str:
        if not self._cipher.is_encrypted_text(text):
            self._check_plain(id)
            return text
        return self._cipher.decrypt_text(text, id, *place)

    def _check_plain(self, id: str) -> None:
        if not self.is_mixed:
            raise StoreUnavailable(
                f"something in {whole_of(id)} is not encrypted, and all of it was: who wrote it?"
            )


def _bonds(places: Sequence[int], parts: Sequence[bytes]) -> list[bytes]:
    """What of these encrypted parts is bound to the rest: where they belong, their nonces and their tags."""
    return [place.to_bytes(8, "big") + fingerprint(part) for place, part in zip(places, parts, strict=True)]


def _numbers(events: KeptEvents) -> tuple[bytes, bytes]:
    return events.first.to_bytes(8, "big"), events.last.to_bytes(8, "big")


def _pieces(id: str, node: Node) -> list[bytes]:
    """Everything in this encrypted body that is encrypted by itself."""
    if not node.body.startswith(WITH_SEALED_PARTS):
        return [node.body]
    found = _unsealed(id, node)
    return [found.rest, *found.parts]


def _unsealed(id: str, node: Node) -> Cut:
    try:
        return unsealed(node.body)
    except ValueError as error:
        raise changed(id, (node.id, _BODY)) from error


def check_that_all_are_its_own(about: Conversation, nodes: Iterable[Node]) -> None:
    """Raise `StoreUnavailable` for a message that is not its tenant's, or not under its parent.

    A body is bound to the id of its message, which begins with the hash of its digest under its parent, keyed
    by the tenant.
    """
    chain, known = Chain(about.tenant), set[bytes | None]((None,))
    for node in nodes:
        parent = node.parent[:HASH_SIZE] if node.parent is not None else None
        known.add(node.id)
        if node.parent not in known or chain.hash(parent, node.digest) != node.hash:
            raise StoreUnavailable(
                f"message b2:{node.id.hex()} in conversation {about.id} is not where it was written: it was"
                " moved, or is another tenant's"
            )


async def aside(nodes: Sequence[Node], work: Callable[[], T]) -> T:
    """What the work on these messages gives; in a thread where it takes milliseconds."""
    is_large = len(nodes) > _MANY or sum([len(each.body) for each in nodes]) > _LARGE
    return await asyncio.to_thread(work) if is_large else work()
