"""What is encrypted of each value, and to which place it is bound.

Rule: nothing is believed that is not encrypted, but in a store of which some is not yet (`is_mixed`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from sidecar.conversation.records import Detail, Exchange, Snapshot, Summary, Thread, detail_of, packed
from sidecar.conversation.tree import Node
from sidecar.errors import StoreUnavailable
from sidecar.store.encrypted.cipher import Seal, is_sealed
from sidecar.store.exchanges import columns_of

__all__ = ["Content"]

_BODY, _USAGE, _SYSTEM, _SUMMARY = b"body", b"usage", b"system", b"summary"
_EXCHANGE = b"exchange"
_PROMPT, _MODEL, _TOOLS = b"thread's system", b"thread's model", b"thread's tools"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, ...]).decode


class Content:
    """Encrypts and decrypts values, each with the id of its conversation."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self.is_mixed = True

    def seal_node(self, id: str, node: Node) -> Node:
        usage = self._seal.seal(node.usage, id, node.id, _USAGE) if node.usage is not None else None
        return replace(node, body=self._seal.seal(node.body, id, node.id, _BODY), usage=usage)

    def open_node(self, id: str, node: Node) -> Node:
        usage = self._open(node.usage, id, node.id, _USAGE) if node.usage is not None else None
        return replace(node, body=self._open(node.body, id, node.id, _BODY), usage=usage)

    def open_nodes(self, id: str, nodes: Iterable[Node]) -> list[Node]:
        return [self.open_node(id, node) for node in nodes]

    def seal_system(self, id: str, system: bytes) -> bytes:
        return self._seal.seal(system, id, _SYSTEM)

    def open_system(self, id: str, system: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        return self._open(system[0], id, _SYSTEM), self._open(system[1], id, _SYSTEM)

    def seal_summary(self, id: str, summary: Summary) -> Summary:
        return replace(summary, text=self._seal.seal_text(summary.text, id, summary.hash, _SUMMARY))

    def open_summary(self, id: str, summary: Summary) -> Summary:
        return replace(summary, text=self._open_text(summary.text, id, summary.hash, _SUMMARY))

    def seal_exchange(self, id: str, exchange: Exchange) -> Exchange:
        sealed = self._seal.seal(packed(exchange.detail), id, exchange.id, _EXCHANGE, columns_of(exchange))
        return replace(exchange, detail=Detail(sealed=sealed))

    def open_exchange(self, id: str, exchange: Exchange) -> Exchange:
        sealed = exchange.detail.sealed
        if sealed is None:
            self._check_plain(id)
            return exchange
        detail = self._seal.open(sealed, id, exchange.id, _EXCHANGE, columns_of(exchange))
        return replace(exchange, detail=detail_of(detail))

    def seal_thread(self, id: str, thread: Thread) -> Thread:
        """Each of the three by itself, since a turn may leave the model as it is; the tools as one name. They
        mostly are what they were a turn ago."""
        seal, root, system, model = self._seal, thread.root, thread.system, thread.model
        return replace(
            thread,
            system=seal.seal_alike(system, id, root, _PROMPT) if system is not None else None,
            model=seal.seal_text_alike(model, id, root, _MODEL) if model is not None else None,
            tools=(seal.seal_text_alike(_encode(thread.tools).decode(), id, root, _TOOLS),),
        )

    def open_thread(self, id: str, thread: Thread) -> Thread:
        root, system, model = thread.root, thread.system, thread.model
        return replace(
            thread,
            system=self._open(system, id, root, _PROMPT) if system is not None else None,
            model=self._open_text(model, id, root, _MODEL) if model is not None else None,
            tools=self._open_tools(id, thread),
        )

    def _open_tools(self, id: str, thread: Thread) -> tuple[str, ...]:
        if len(thread.tools) != 1 or not self._seal.is_sealed_text(thread.tools[0]):
            self._check_plain(id)
            return thread.tools
        return _decode(self._seal.open_text(thread.tools[0], id, thread.root, _TOOLS))

    def sealed(self, whole: Snapshot) -> Snapshot:
        """All of it but the conversation's tenant."""
        id, system = whole.conversation.id, whole.system
        return replace(
            whole,
            nodes=tuple(self.seal_node(id, node) for node in whole.nodes),
            system=(self.seal_system(id, system[0]), self.seal_system(id, system[1])) if system else None,
            summaries=tuple(self.seal_summary(id, each) for each in whole.summaries),
            exchanges=tuple(self.seal_exchange(id, each) for each in whole.exchanges),
            threads=tuple(self.seal_thread(id, each) for each in whole.threads),
        )

    def opened(self, whole: Snapshot) -> Snapshot:
        """All of it but the conversation's tenant."""
        id = whole.conversation.id
        return replace(
            whole,
            nodes=tuple(self.open_nodes(id, whole.nodes)),
            system=self.open_system(id, whole.system) if whole.system else None,
            summaries=tuple(self.open_summary(id, each) for each in whole.summaries),
            exchanges=tuple(self.open_exchange(id, each) for each in whole.exchanges),
            threads=tuple(self.open_thread(id, each) for each in whole.threads),
        )

    def is_newest(self, whole: Snapshot) -> bool:
        """Is all of it encrypted with the first key?"""
        pieces = [piece for node in whole.nodes for piece in (node.body, node.usage)]
        pieces += [each.detail.sealed or b"" for each in whole.exchanges]
        pieces += [*(whole.system or ()), *(each.system for each in whole.threads)]
        texts = [each.text for each in whole.summaries]
        for each in whole.threads:
            texts += [*([each.model] if each.model is not None else []), each.tools[0] if each.tools else ""]
        return all(self._seal.is_newest(piece) for piece in pieces if piece is not None) and all(
            map(self._seal.is_newest_text, texts)
        )

    def _open(self, data: bytes, id: str, *place: bytes) -> bytes:
        if not is_sealed(data):
            self._check_plain(id)
            return data
        return self._seal.open(data, id, *place)

    def _open_text(self, text: str, id: str, *place: bytes) -> str:
        if not self._seal.is_sealed_text(text):
            self._check_plain(id)
            return text
        return self._seal.open_text(text, id, *place)

    def _check_plain(self, id: str) -> None:
        if not self.is_mixed:
            raise StoreUnavailable(
                f"something in conversation {id} is not encrypted, and all of it was: who wrote it?"
            )
