"""The copy of a reply into the store.

A `Recording` collects the bytes of one reply as they pass and makes a turn of them at the end: the
request's new messages, then every reply. States: `complete`; `partial` where the client left first, or the
reply is larger than what is kept of one; `failed` where the upstream broke off or said so. A reply of which
nothing came is no message. A long one is read in a thread, so that others are served meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from operator import is_

from sidecar.conversation.history import Conversation, Message, Node, State
from sidecar.conversation.message import read, text_of
from sidecar.conversation.records import Turn
from sidecar.errors import StoreUnavailable
from sidecar.proxy.compose import Composed
from sidecar.proxy.context import Context
from sidecar.proxy.entropy import token
from sidecar.proxy.kept import MAX_REPLY, Kept
from sidecar.proxy.load import Plan
from sidecar.proxy.receive import Asked
from sidecar.streaming.assembly import Assembled, Reply, from_body
from sidecar.streaming.compact import compacted
from sidecar.streaming.joining import encode
from sidecar.streaming.parts import content
from sidecar.upstream.content_encoding import COMPRESSED, coding_of, decompressed
from sidecar.upstream.response import UpstreamResponse

__all__ = ["Recording", "recording_of"]

log = logging.getLogger("sidecar.proxy")

_BEHIND = 256  # turns that wait to be written
_OF_A_PREFILL = frozenset(("prefix", "partial"))  # flags of the request, and nothing of the answer
_LONG = 256 << 10  # bytes of a reply that take a while to read
_TIMES = 32  # as many bytes a packed one may well have

_Said = tuple[Assembled, list[tuple[Reply, Message]]]


@dataclass(slots=True)
class Recording:
    """One reply on its way into the store. Extend `kept.data`, then `commit` once."""

    context: Context
    asked: Asked
    plan: Plan
    conversation: Conversation
    composed: Composed
    kept: Kept
    streamed: bool
    coding: str = "identity"

    @property
    def is_relied_on(self) -> bool:
        """Would the client miss this turn in the next, since it may send only what is new?"""
        if self.context.settings.history.if_store_fails == "refuse":
            return True
        return self.plan.line is not None or (self.asked.may_append and not self.conversation.full)

    @property
    def may_be_late(self) -> bool:
        """May the client see the end before it is stored? Not if the store cannot keep up with that."""
        if self.context.settings.history.commit == "after_end":
            return self.context.store.waiting()[1] < _BEHIND
        # The store is known to fail, and the client has been told.
        return self.plan.degraded and not self.is_relied_on

    async def commit(self, ended: State) -> None:
        """Keep what came. `ended` says how: `complete` for a clean end of the response.

        When this returns, the turn is durable. Raises `StoreUnavailable` if it could not be written.
        """
        try:
            await self._commit(ended)
        finally:
            self.kept.release()

    async def _commit(self, ended: State) -> None:
        data = self.kept.take()
        if len(data) * (_TIMES if self.coding in COMPRESSED else 1) > _LONG:
            assembled, replies = await asyncio.to_thread(self._read, data)
        else:
            assembled, replies = self._read(data)
        del data
        if self.kept.cut_by:
            ended = "partial"
            self.context.metrics.replies_cut.labels(self.kept.cut_by).inc()
            log.warning("only the beginning of a long reply was kept", extra={"limit": self.kept.cut_by})
        elif ended == "complete" and not assembled.replies and assembled.error is None:
            log.warning("a response held no reply that can be read", extra={"coding": self.coding})
        turn = self._turn(assembled, replies, ended)
        try:
            await self.context.store.record(turn)
        except StoreUnavailable as error:
            self.context.store_health.could_not_write(error)
            raise
        self.context.store_health.wrote()
        for node in turn.nodes:
            if node.source == "upstream":
                self.context.metrics.replies.labels(node.state).inc()
        sent = self.composed.sent
        if sent and assembled.usage and any(_is_whole_reply(node) for node in turn.nodes):
            chat = self.asked.chat
            self.context.learned.report(chat.model, sent, chat.tools, assembled.usage)

    def _read(self, data: bytes) -> _Said:
        """What came, and the replies in it that can be kept."""
        data, is_cut = decompressed(data, self.coding, self.context.settings.limits.max_reply)
        if is_cut:
            self.kept.cut_by = MAX_REPLY
        assembled = from_body(data, self.asked.chat.choices)
        return assembled, [
            (reply, message) for reply in assembled.replies if (message := self._readable(reply)) is not None
        ]

    def _turn(self, assembled: Assembled, readable: list[tuple[Reply, Message]], ended: State) -> Turn:
        now = time.time()
        asked_nodes = self._asked_nodes(now)
        parent = asked_nodes[-1] if asked_nodes else self.plan.parent
        cut: State | None = "partial" if self.kept.cut_by else None  # more may have come than was kept
        replies = [
            self._reply_node(reply, message, parent, assembled, cut or _state(reply, assembled, ended), now)
            for reply, message in readable
            if ended == "complete" or _says_something(reply)
        ]
        complete = [node for node in replies if node.state == "complete"]
        # Asked again in vain, the conversation stays where it was: the answer before is still its answer.
        tip = complete[0] if complete else asked_nodes[-1] if asked_nodes else None
        system = b"[" + b",".join(each.raw for each in self.asked.chat.system) + b"]"
        digest = self.asked.chain.hash(None, system) if self.asked.chat.system else None
        before = self.conversation
        conversation = Conversation(
            before.id,
            before.tenant,
            before.key,
            before.created_at,
            updated_at=now,
            tip=tip.id if tip else None,
            full=self.asked.is_full,
            system=digest,
            weights=self.composed.weights,
        )
        return Turn(
            conversation=conversation,
            nodes=(*asked_nodes, *replies),
            echoes=self._echoes(asked_nodes, replies),
            system=system if digest is not None and digest != self.conversation.system else None,
        )

    def _asked_nodes(self, now: float) -> list[Node]:
        """The request's new messages, as nodes under the place where the request continues."""
        nodes: list[Node] = []
        parent, chain, path = self.plan.parent, self.asked.chain, self.asked.chat.path
        at = len(path) - len(self.plan.new)
        hashes, exacts = self._told(at)
        for number, message in enumerate(self.plan.new):
            newest = message is path.messages[-1]
            parent = Node(
                chain.message_id(parent, message.digest, hashes[number] if hashes else None),
                parent.id if parent else None,
                message.digest,
                exacts[number] if exacts else chain.exact(parent.exact if parent else b"", message),
                message.role,
                message.raw,
                source="client",
                state="complete",
                created_at=now,
                message_id=self.asked.identity.user_message_id if newest and message.role == "user" else None,
            )
            nodes.append(parent)
        return nodes

    def _told(self, at: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The hashes of the new messages, chain and exact chain, where the client has told them: as far
        as its path is the stored one up to their place. Nothing of a chain that is not."""
        path, parent = self.asked.chat.path, self.plan.parent
        if not all(map(is_, self.plan.new, path.messages[at:])):
            return (), ()
        before = path.hashes[at - 1 : at] if at else (), path.exacts[at - 1 : at] if at else ()
        known = ((parent.hash,), (parent.exact,)) if parent else ((), ())
        return (
            path.hashes[at:] if before[0] == known[0] else (),
            path.exacts[at:] if before[1] == known[1] else (),
        )

    def _readable(self, reply: Reply) -> Message | None:
        """The message to keep; None for numbers beyond all range, nesting without end: they are relayed, and
        could not be sent again."""
        raw = reply.message
        try:
            if self.asked.chat.prefill is not None:
                raw = _extended(self.asked.chat.prefill, raw)
            return self.asked.chain.new_message(raw)
        except (ValueError, RecursionError) as error:
            log.warning("a reply could not be recorded", extra={"error": str(error)})
            return None

    def _reply_node(
        self,
        reply: Reply,
        message: Message,
        parent: Node | None,
        assembled: Assembled,
        state: State,
        now: float,
    ) -> Node:
        chain = self.asked.chain
        return Node(
            chain.reply_id(parent, message.digest, token(8)),
            parent.id if parent else None,
            message.digest,
            chain.exact(parent.exact if parent else b"", message),
            message.role,
            message.raw,
            source="upstream",
            state=state,
            created_at=now,
            message_id=self.asked.identity.message_id,
            # As it was asked for: upstreams answer under longer names, which `same-model` would not know.
            model=self.asked.chat.model or assembled.model,
            usage=assembled.usage,
            finish_reason=reply.finish_reason,
        )

    def _echoes(self, asked_nodes: list[Node], replies: list[Node]) -> tuple[tuple[bytes, bytes], ...]:
        """Under which hashes the client will name these nodes, where its own chain has left ours."""
        path, chain = self.asked.chat.path, self.asked.chain
        if self.plan.line is not None or not path.hashes:
            return ()
        nodes = [self.plan.parent, *asked_nodes] if self.plan.parent else asked_nodes
        known = zip(reversed(path.hashes), reversed(nodes), strict=False)
        echoes = [(hash, node.id) for hash, node in known if hash != node.hash]
        if echoes:
            echoes += [(chain.hash(path.hashes[-1], reply.digest), reply.id) for reply in replies]
        return tuple(echoes)


def recording_of(
    context: Context, asked: Asked, plan: Plan, upstream: UpstreamResponse, composed: Composed
) -> Recording | None:
    """What keeps the reply to what was composed; None for one that has no place in a history."""
    if plan.conversation is None or upstream.status >= 300:
        return None
    limits, coding = context.settings.limits, coding_of(upstream.headers)
    compact = compacted if coding not in COMPRESSED else None
    kept = Kept(limits.max_reply, context.replies, compact)
    streamed = upstream.content_type == "text/event-stream"
    return Recording(context, asked, plan, plan.conversation, composed, kept, streamed, coding)


def _state(reply: Reply, assembled: Assembled, ended: State) -> State:
    """A reply with its finish reason is whole, whatever became of the connection after that, unless the
    upstream told of an error, or went on after the reason. Without one the end of the response decides; of a
    stream that was not ended by its own rules and held what is no JSON, that was no clean end."""
    if reply.failed or assembled.error is not None:
        return "failed"
    if reply.settled:
        return "complete"
    is_odd = assembled.ignored and not assembled.done and reply.finish_reason is None
    return "failed" if is_odd and ended == "complete" else ended


def _is_whole_reply(node: Node) -> bool:
    return node.source == "upstream" and node.state == "complete"


def _says_something(reply: Reply) -> bool:
    return any(value for name, value in read(reply.message).items() if name != "role")


def _extended(prefill: Message, raw: bytes) -> bytes:
    """The reply joined to the assistant message that it goes on from.

    Some upstreams begin it with that message (Mistral, vLLM with `echo`): it is then whole as it is.
    """
    reply, before = read(raw), read(prefill.raw)
    joined = {name: value for name, value in before.items() if name not in _OF_A_PREFILL} | reply
    if not reply.get("content"):
        joined["content"] = before.get("content")
    elif not _begins_with(text_of(reply), text_of(before)):
        joined["content"] = content(before.get("content"), reply["content"])
    return encode(joined)


def _begins_with(text: str, prefill: str) -> bool:
    return bool(prefill.strip()) and text.lstrip().startswith(prefill.strip())
