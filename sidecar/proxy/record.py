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
from functools import partial

import msgspec
from msgspec.structs import replace

from sidecar.aiohttp_internals.relayed import RelayedResponse
from sidecar.background.large_work import is_large
from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.message import read
from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import UNSEEN, Conversation, Message, Node, State
from sidecar.dialects.base import Assembled, Reply, Translation
from sidecar.doctor.outages import Lost
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import new_nodes, phases_of
from sidecar.exchange.outcome import CONTENT_FILTER, Answered, Progress, exchange_of, reason
from sidecar.exchange.plan import Plan, RecordedPlan, Thin, Unrecorded, Whole
from sidecar.exchange.threads import system_of, talks_apart, thread_after
from sidecar.exchange.usage import tokens_of
from sidecar.proxy.echoes import echoes_of
from sidecar.proxy.kept import MAX_REPLY, Kept
from sidecar.proxy.named_later import echo_of_name
from sidecar.proxy.observers import tell
from sidecar.proxy.reply_state import state_of
from sidecar.proxy.services import Services
from sidecar.proxy.silent_cut import counted
from sidecar.proxy.slot_files import save_later
from sidecar.proxy.translated import Translated, is_late, translation_of
from sidecar.proxy.unrecorded import finish
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.random_ids import token
from sidecar.upstream.content_encoding import COMPRESSED, READABLE, coding_of, decompressed
from sidecar.upstream.response import UpstreamResponse

__all__ = ["Recording", "recording_of"]

log = logging.getLogger("sidecar.proxy")

_MAX_PENDING_WRITES = 256  # turns that wait to be written
_END = 16 << 10  # bytes of a reply in which an engine counts what it did
_LARGE_REPLY = 256 << 10  # bytes of a reply that take a while to read
_MAX_RATIO = 32  # as many bytes a packed one may well have

_Said = tuple[Assembled, list[tuple[Reply, Message]]]


class Recording(msgspec.Struct, eq=False):
    """One reply on its way into the store. Extend `kept.data`, then `commit` once."""

    services: Services
    call: ChatCall
    plan: RecordedPlan
    conversation: Conversation
    composed: UpstreamRequest
    progress: Progress
    kept: Kept
    streamed: bool
    coding: str = "identity"
    #: What its client gets in place of it.
    translation: Translation | None = None
    #: It ends where its connection does, so that an end looks like a break.
    is_unframed: bool = False
    #: Its client has left before the end.
    is_unseen: bool = False
    #: What its client gets; None where nobody waits for it.
    response: RelayedResponse | None = None

    @property
    def is_relied_on(self) -> bool:
        """Would the client miss this turn in the next, since it may send only what is new?"""
        if self.services.settings.history.if_store_fails == "refuse":
            return True
        begins = isinstance(self.plan, Whole) and self.plan.parent is None
        return isinstance(self.plan, Thin) or (begins and self.call.brings_no_history)

    @property
    def is_refused_if_lost(self) -> bool:
        """Does its client get an error if it cannot be stored?"""
        is_late = self.services.settings.history.commit == "after_end"
        return self.is_relied_on and not self.is_unseen and not is_late

    @property
    def may_be_late(self) -> bool:
        """May the client see the end before it is stored? Not if the store cannot keep up with that."""
        if self.services.settings.history.commit == "after_end":
            return self.services.store.waiting()[1] < _MAX_PENDING_WRITES
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

    async def drop(self) -> None:
        """Keep nothing."""
        self.kept.release()
        self.progress.is_recorded = False

    async def _commit(self, ended: State) -> None:
        now, data = time.monotonic(), self.kept.take()
        end = bytes(data[-_END:]) if self.services.background.slot_files is not None else b""
        if len(data) * (_MAX_RATIO if self.coding in COMPRESSED else 1) > _LARGE_REPLY:
            assembled, replies = await asyncio.to_thread(self._read, data)
        else:
            assembled, replies = self._read(data)
        del data
        if self._is_refused(assembled, replies):
            self.progress.error = reason(ended, assembled, "") or CONTENT_FILTER
            finish(self.services, self.progress)
            return
        if self.kept.cut_by:
            ended = "partial"
            self.services.metrics.replies_cut.labels(self.kept.cut_by).inc()
            log.warning("only the beginning of a long reply was kept", extra={"limit": self.kept.cut_by})
        elif ended == "complete" and not assembled.replies and assembled.error is None:
            log.warning("a response held no reply that can be read", extra={"coding": self.coding})
        update = (
            await self.services.background.large_work.do(
                "record", partial(self._update_of_large, assembled, replies, ended)
            )
            if self._is_large
            else self._update(assembled, replies, ended)
        )
        exchange = self._exchange(update, assembled, ended, now)
        if self.translation is not None:
            ended = "failed" if assembled.error is not None else ended
            exchange = await self._with_told(self.translation, exchange, update, ended)
        try:
            await self._store(replace(update, exchange=exchange))
            if end and "complete" in self.progress.recorded:
                has_grown = self.progress.difference is not None and self.progress.difference.cause == "grown"
                save_later(self.services, self.call, self.composed, self.plan.conversation.id, end, has_grown)
        except StoreUnavailable as error:
            # No row is left of it, for that is part of what could not be written; the log line says why.
            if self.is_refused_if_lost and self.response is not None and not self.response.prepared:
                self.progress.status = error.status
            exchange = self._as_seen(exchange, error.code, now)
            raise
        finally:
            ended_at = time.monotonic()
            self.services.background.store_health.commits.append((exchange.id, ended_at - now))
            if exchange.status != self.progress.status:  # its client was told that the store took too long
                exchange = self._as_seen(exchange, self.progress.error, now)
            tell(self.services.metrics, self.progress, exchange, ended_at)

    def _as_seen(self, exchange: Exchange, error: str | None, began: float) -> Exchange:
        """What was not stored, or not in time, as its client saw the end of it; `began`: when it began to
        wait for the store."""
        ended, limit = time.monotonic(), self.services.settings.timeouts.store
        waited = 0.0 if self.may_be_late else min(ended - began, limit)
        return replace(
            exchange,
            status=self.progress.status,
            error=exchange.error or error,
            duration_ms=int((began + waited - self.progress.arrived) * 1000),
        )

    @property
    def _is_large(self) -> bool:
        return is_large(self.call, self.plan)

    def _is_refused(self, assembled: Assembled, replies: list[tuple[Reply, Message]]) -> bool:
        """Did the upstream refuse the request before a word? With a status of 4xx nothing of it would be kept
        either: a question that is refused must not be asked again with each that follows."""
        if not self.call.dialect.is_refused(assembled, self.composed.body):
            return False
        return not any(_says_something(reply) for reply, _ in replies)

    async def _store(self, update: ConversationUpdate) -> None:
        try:
            await self.services.store.record(update)
        except StoreUnavailable as error:
            lost = Lost(self.conversation.id, self.conversation.key, self.is_refused_if_lost)
            self.services.background.store_health.could_not_write(error, lost=lost)
            raise
        self.services.background.store_health.wrote()
        if self.progress.tracked is not None and update.exchange is not None:
            self.services.background.kept_requests.keep(self.progress.tracked, update.exchange)
        new = update.nodes[len(self.plan.moved) :]
        self.progress.recorded = [node.state for node in new if node.source == "upstream"]
        sent, exchange = self.composed.prompt.sent, update.exchange
        is_whole = "complete" in self.progress.recorded and not self.progress.is_cut_beyond_calibration
        if sent and exchange and exchange.input_tokens and is_whole:
            chat = self.call.chat
            size = len(self.composed.body)
            self.services.background.calibration.report(
                chat.model, sent, chat.tools, exchange.input_tokens, size
            )

    def _exchange(
        self, update: ConversationUpdate, assembled: Assembled, ended: State, now: float
    ) -> Exchange:
        """What happened, in one value; `now` is when the reply had come."""
        progress = self.progress
        nodes = update.nodes[len(self.plan.moved) :]
        replies = [node.id for node in nodes if node.source == "upstream"]
        asked = nodes[: len(nodes) - len(replies)]  # which stand before them
        plan, tokens = self.plan, tokens_of(assembled.usage)
        can_be_read = self.coding in READABLE
        progress.error = reason(ended, assembled, self.kept.cut_by, can_be_read=can_be_read)
        estimated, is_cut = counted(self.services, self.call, progress, tokens.input, assembled.model)
        self.services.requests.cache.count(plan.conversation.id, progress.prompt, progress.counted)
        return exchange_of(
            progress,
            now,
            Answered(
                asked[-1].id if asked else plan.parent.id if plan.parent else None,
                replies,
                assembled.model,
                next((each.finish_reason for each in assembled.replies if each.finish_reason), None),
                tokens,
                estimated,
                is_cut,
                phases_of(self.call, plan, asked),
            ),
        )

    async def _with_told(
        self, translation: Translation, exchange: Exchange, update: ConversationUpdate, ended: State
    ) -> Exchange:
        """With what its client may ask for again."""
        carried = self.plan.carried
        reply = next((node for node in update.nodes if node.id in exchange.detail.replies), None)
        if reply is None:
            told = translation.told(None, None, ended, carried)
        elif len(reply.body) > _LARGE_REPLY:
            told = await asyncio.to_thread(translation.told, reply.fields, reply.usage, reply.state, carried)
        else:
            told = translation.told(reply.fields, reply.usage, reply.state, carried)
        return replace(exchange, detail=replace(exchange.detail, told=told))

    def _read(self, data: bytes) -> _Said:
        """What came, and the replies in it that can be kept."""
        data, is_cut = decompressed(data, self.coding, self.services.settings.limits.max_reply)
        if is_cut:
            self.kept.cut_by = MAX_REPLY
        assembled = self.call.dialect.assembled(data, self.call.chat.choices)
        if self.progress.status is not None and self.progress.status >= 400 and assembled.error is None:
            assembled = replace(assembled, error=data)  # that is what it is, in whatever words
        return assembled, [
            (reply, message) for reply in assembled.replies if (message := self._readable(reply)) is not None
        ]

    def _update_of_large(
        self, assembled: Assembled, readable: list[tuple[Reply, Message]], ended: State
    ) -> ConversationUpdate:
        _ = [each.measure for each in self.composed.prompt.sent]  # asked for later, where nobody may wait
        return self._update(assembled, readable, ended)

    def _update(
        self, assembled: Assembled, readable: list[tuple[Reply, Message]], ended: State
    ) -> ConversationUpdate:
        now = time.time()
        asked_nodes = new_nodes(self.call, self.plan, self.progress.when / 1000)
        parent = asked_nodes[-1] if asked_nodes else self.plan.parent
        state = partial(self._state, assembled, ended)
        replies = [
            self._reply_node(reply, message, parent, assembled, state(reply), now)
            for reply, message in readable
            if ended == "complete" or _says_something(reply)
        ]
        complete = [node for node in replies if node.state == "complete"]
        # What a stopped answer said stands. Asked again in vain, the conversation stays where it was: the
        # answer before is still its answer.
        is_first = bool(asked_nodes) or (parent is not None and self.conversation.tip == parent.id)
        stands = complete or [node for node in replies if node.state == "partial" and is_first]
        tip = stands[0] if stands else asked_nodes[-1] if asked_nodes else None
        thread = thread_after(self.call, self.plan, asked_nodes, replies, tip, now)
        digest = self.composed.prompt.heads.system_hash
        system = None
        if digest is not None and digest != self.conversation.system:
            system = system_of(self.call)
        before = self.conversation
        conversation = Conversation(
            before.id,
            before.tenant,
            before.key,
            before.created_at,
            updated_at=now,
            # Whoever names the chat by the id that it was told is no one who talks in a branch of it.
            tip=tip.id if tip and not talks_apart(self.call, self.plan) else None,
            full=self.call.identity.sends_history or (thread is not None and thread.is_whole),
            system=digest,
            weights=self.composed.weights,
        )
        is_named_later = before.id != self.call.conversation_id and self.call.identity.key is not None
        name = echo_of_name(self.call, self.plan) if is_named_later else []
        return ConversationUpdate(
            conversation=conversation,
            nodes=(*self.plan.moved, *asked_nodes, *replies),
            echoes=(*echoes_of(self.call, self.plan, asked_nodes, replies), *name),
            system=system,
            thread=thread,
            is_found_by_echo=bool(name),
        )

    def _readable(self, reply: Reply) -> Message | None:
        """The message to keep; None for numbers beyond all range, nesting without end: they are relayed, and
        could not be sent again."""
        raw = reply.message
        try:
            if self.call.chat.prefill is not None:
                raw = self.call.dialect.extended(self.call.chat.prefill, raw)
            return self.call.chain.new_message(raw)
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
        chain, is_unseen = self.call.chain, self.is_unseen and state == "complete"
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
            message_id=self.call.identity.message_id,
            # As it was asked for: upstreams answer under longer names, which `same-model` would not know.
            model=self._maker(assembled),
            usage=assembled.usage,
            finish_reason=(reply.finish_reason or "") + UNSEEN if is_unseen else reply.finish_reason,
        )

    def _state(self, assembled: Assembled, ended: State, reply: Reply) -> State:
        if self.kept.cut_by:
            return "partial"  # more may have come than was kept
        there, ends = self.services.there, self.services.requests.ends_told
        upstream = there.name if there is not None else "", self.call.chat.model or ""
        ends.note(*upstream, assembled)
        is_end_told = self.streamed and self.is_unframed and ends.would(*upstream)
        return state_of(reply, assembled, ended, is_end_told=is_end_told)

    def _maker(self, assembled: Assembled) -> str | None:
        there, model = self.services.there, self.call.chat.model or assembled.model
        return model if there is None else there.maker(model)


def recording_of(
    services: Services,
    call: ChatCall,
    plan: Plan,
    upstream: UpstreamResponse,
    composed: UpstreamRequest,
    progress: Progress,
    translated: Translated | None,
) -> Recording | None:
    """What keeps the reply to what was composed; None for one that has no place in a history."""
    if isinstance(plan, Unrecorded) or (upstream.status >= 300 and not is_late(translated, progress)):
        return None
    limits, coding = services.settings.limits, coding_of(upstream.headers)
    compact = call.dialect.compacted if coding not in COMPRESSED else None
    kept = Kept(limits.max_reply, services.requests.replies, compact)
    progress.is_recorded = True
    about = services, call, plan, plan.conversation, composed, progress, kept, progress.streamed, coding
    return Recording(*about, translation_of(translated, upstream.status), upstream.is_unframed)


def _says_something(reply: Reply) -> bool:
    return any(value for name, value in read(reply.message).items() if name != "role")
