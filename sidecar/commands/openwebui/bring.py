"""Chats of Open WebUI into a store.

Rules: a chat has the conversation id, the tenant and the message ids that the next request of it will have,
so that this request continues it. What the store holds already is found again, by what it says or by its id,
and never doubled: the command can be run again, and beside a sidecar that has served these chats for a while.
"""

from __future__ import annotations

import heapq
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

from msgspec import structs

from sidecar.access.tenancy import needs, tenant_by
from sidecar.commands import tenant_selector
from sidecar.commands.openwebui.database import Chat, Database, Unreadable, opened, time_of
from sidecar.commands.openwebui.replay import replayed
from sidecar.commands.progress import Progress
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.conversation.identity import Kind, conversation_id, key_of, kind_of
from sidecar.conversation.message import encode, is_too_deep, visible_text
from sidecar.conversation.records import Snapshot
from sidecar.conversation.tree import Chain, Conversation, Message, Node, State
from sidecar.errors import BadRequest, SidecarError
from sidecar.printable import short
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store_factory import store_in_words, store_of

__all__ = ["Says", "add_arguments", "bring", "run"]

log = logging.getLogger("sidecar.import")

#: What the requests of this Open WebUI say: chat and user, the chat alone, or neither.
Says = Literal["chat-and-user", "chat", "nothing"]

_Messages = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True, frozen=True)
class _Rules:
    """Under which names chats are kept."""

    settings: Settings
    says: Says
    credential: str | None


def add_arguments(parser: ArgumentParser) -> None:
    """Which database, whose chats, and what its requests say of themselves."""
    tenant_selector.add_arguments(parser)
    parser.add_argument("file", metavar="FILE", help="its webui.db, which is only read")
    parser.add_argument(
        "--uploads", metavar="DIR", help="the folder with its images; default: uploads beside the file"
    )
    parser.add_argument(
        "--header-config",
        dest="says",
        choices=("chat-and-user", "chat", "nothing"),
        default="chat-and-user",
        help="which headers its requests carry, see config/guides/openwebui.md; default: chat-and-user",
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Import all chats of this database, or those of one user, into the store, which is created if missing.

    Returns 1 if one of them could not be read: it is skipped and reported, the others are imported.
    """
    who, says = TenantSelector.from_args(args), args.says
    with opened(args.file, args.uploads) as database:
        if database.has_link:
            log.warning("uploads beside the file is a symbolic link and not followed: name it with --uploads")
        by_user = says == "chat-and-user" and needs(settings, user=True)[1]
        asks = replace(who, user="" if by_user else None)
        rules = _Rules(settings, says, asks.credential(settings))
        into, store = store_in_words(settings), store_of(settings)
        await store.open()
        try:
            sys.stderr.write(f"sidecar: the chats go into {into}\n")
            done = await bring(database, store, rules, only=who.user)
        finally:
            await store.close()
    left = "".join(f", left out {done[why]} that {why}" for why in _LEFT_OUT if done[why])
    sys.stderr.write(
        f"sidecar: {done['chats']} chats{left}; new: {done['conversations']} conversations,"
        f" {done['messages']} messages\n"
    )
    return 1 if done[_UNREADABLE] else 0


_TEMPORARY, _UNNAMED, _EMPTY = "are temporary or of channels", "have no usable id", "have no messages"
_UNREADABLE = "cannot be read"
_LEFT_OUT = (_TEMPORARY, _UNNAMED, _EMPTY, _UNREADABLE)
_MAX_REPORTED = 20
_MAX_SIBLINGS = 250


async def bring(database: Database, store: Store, rules: _Rules, *, only: str | None) -> Counter[str]:
    """The work of `run`; counts chats, those left out, and what is new in the store."""
    done: Counter[str] = Counter()
    with Progress("chats", database.count()) as progress:
        for chat in database.chats():
            progress.step()
            if isinstance(chat, Unreadable):
                done["chats"] += 1
                _leave_out(chat, done)
            elif only in (None, chat.user):
                done["chats"] += 1
                await _bring_or_leave_out(chat, database, store, rules, done)
    if done[_UNREADABLE] > _MAX_REPORTED:
        sys.stderr.write(f"sidecar: and {done[_UNREADABLE] - _MAX_REPORTED} more chats are left out\n")
    return done


async def _bring_or_leave_out(
    chat: Chat, database: Database, store: Store, rules: _Rules, done: Counter[str]
) -> None:
    try:
        await _bring_one(chat, database, store, rules, done)
    except Unreadable as error:
        _leave_out(Unreadable(error.message, chat.id), done)
    except SidecarError:  # ours, and so it would be for the next one
        raise
    except UnicodeError:
        _leave_out(Unreadable("it contains half of a surrogate pair", chat.id), done)
    except Exception as error:  # whatever a foreign file may hold, the other chats are not to blame
        log.debug("a chat is left out", exc_info=error)
        _leave_out(Unreadable(f"it has an unknown structure ({type(error).__name__})", chat.id), done)


def _leave_out(error: Unreadable, done: Counter[str]) -> None:
    done[_UNREADABLE] += 1
    if done[_UNREADABLE] <= _MAX_REPORTED:
        sys.stderr.write(f"sidecar: chat {short(str(error.id or '?'))} is left out: {error.message}\n")


async def _bring_one(chat: Chat, database: Database, store: Store, rules: _Rules, done: Counter[str]) -> None:
    if why := _left_out(chat, rules.settings):
        done[why] += 1
        return
    user = chat.user if rules.says == "chat-and-user" else None
    tenant = tenant_by(rules.settings, store.secret, rules.credential, user)
    key = chat.id if rules.says != "nothing" else None
    # Without a key of its own a conversation still needs an id that a second run finds again.
    id = conversation_id(store.secret, tenant, key or f"openwebui {chat.id}")
    before = await store.snapshot(id)
    about = Conversation(id, tenant, key, chat.created_at, chat.updated_at, full=True)
    chain = Chain(tenant)
    image = database.images()
    sent = {
        _storable(each): [_message(chain, raw) for raw in replayed(message, image)]
        for each, message in chat.messages.items()
    }
    grown = _Grown(before or Snapshot(about), chain, chat, sent)
    for message_id in _in_order(chat.messages):
        grown.add(message_id)
    if not grown.new:
        return
    done["conversations"] += before is None
    done["messages"] += len(grown.new)
    await store.add_snapshot(grown.snapshot())


def _message(chain: Chain, raw: bytes) -> Message:
    if is_too_deep(raw):
        raise Unreadable("a message is nested too deeply")
    return chain.message(raw)


def _storable(name: str) -> str:
    """A name that every store can keep, in the store itself and not in JSON."""
    name.encode()
    if "\0" in name:
        raise Unreadable("it contains a name that cannot be stored")
    return name


def _left_out(chat: Chat, settings: Settings) -> str | None:
    if not chat.messages:
        return _EMPTY
    if not chat.id:
        return _UNNAMED
    try:
        key_of(lambda _name: chat.id, ("id",), settings.identity.no_id)
    except BadRequest:
        return _UNNAMED
    names = settings.identity
    kind = kind_of(chat.id, temporary=names.temporary_prefixes, channel=names.channel_prefixes)
    return _TEMPORARY if kind is not Kind.CHAT else None


def _in_order(messages: _Messages) -> Iterator[str]:
    """Parents before children, otherwise oldest first; a message without its parent becomes a root."""
    children: dict[str | None, list[tuple[float, int, str]]] = {}
    for at, (id, each) in enumerate(messages.items()):
        parent = each.get("parentId")
        parent = parent if isinstance(parent, str) and parent in messages and parent != id else None
        children.setdefault(parent, []).append((time_of(each.get("timestamp")) or 0.0, at, id))
    if max(map(len, children.values())) > _MAX_SIBLINGS:
        raise Unreadable(f"more than {_MAX_SIBLINGS} messages follow the same message")
    if None not in children:
        raise Unreadable("its messages form a cycle")
    waiting = children.pop(None, [])
    heapq.heapify(waiting)
    while waiting:
        *_, id = heapq.heappop(waiting)
        yield id
        for child in children.pop(id, []):
            heapq.heappush(waiting, child)


class _Grown:
    """A conversation of the store, and what a chat adds to it."""

    def __init__(
        self, before: Snapshot, chain: Chain, chat: Chat, sent: Mapping[str, Sequence[Message]]
    ) -> None:
        self.new: list[Node] = []
        self._before, self._chain, self._chat, self._sent = before, chain, chat, sent
        self._children: dict[bytes | None, list[Node]] = {}
        for node in before.nodes:
            self._children.setdefault(node.parent, []).append(node)
        #: What the chat says after each of its messages, by digest.
        self._next: dict[str, set[bytes]] = {}
        for id, message in chat.messages.items():
            self._next.setdefault(str(message.get("parentId")), set()).update(
                each.digest for each in sent[id][:1]
            )
        #: Where each of the chat's messages ends; None is before the first.
        self._ends: dict[str, Node | None] = {}
        self._taken: set[bytes] = set()
        self._texts: dict[bytes, str] = {}

    def add(self, id: str) -> None:
        """What this message of the chat is sent as, under its parent."""
        message, sent = self._chat.messages[id], self._sent[id]
        node = self._ends.get(str(message.get("parentId")))
        for at, each in enumerate(sent):
            is_last = at == len(sent) - 1
            after = self._next.get(id, set()) if is_last else {sent[at + 1].digest}
            known = self._found(node, id, each, after)
            if known is None:
                known = self._node(node, id, at, message if is_last else _begun(message), each)
                self.new.append(known)
                self._children.setdefault(node.id if node else None, []).append(known)
            self._taken.add(known.id)
            node = known
        self._ends[id] = node

    def snapshot(self) -> Snapshot:
        """All of it, to put into the store."""
        about = self._before.conversation
        if about.tip is None:
            about = structs.replace(about, tip=self._tip())
        return structs.replace(self._before, conversation=about, nodes=(*self._before.nodes, *self.new))

    def _tip(self) -> bytes | None:
        """Where the user is looking; a client that sends only what is new would go on there."""
        node = self._ends.get(str(self._chat.current)) or next(iter(self.new[-1:]), None)
        known = {each.id: each for each in (*self._before.nodes, *self.new)}
        while node is not None and node.state != "complete":
            node = known.get(node.parent or b"")
        return node.id if node else None

    def _found(self, parent: Node | None, id: str, sent: Message, after: Set[bytes]) -> Node | None:
        """The stored message that this one is, if there is one. `after`: what the chat says next."""

        def rank(node: Node) -> tuple[bool, bool, bool]:
            return node.message_id == id, self._is_followed(node, after), node.id not in self._taken

        children = self._children.get(parent.id if parent else None, ())
        same = [each for each in children if self._is_same(each, id, sent, after)]
        return max(same, key=rank, default=None)

    def _is_same(self, node: Node, id: str, sent: Message, after: Set[bytes]) -> bool:
        if node.role != sent.role:
            return False
        if node.digest == sent.digest:
            # Two answers that read alike are two; a question that reads like another is the same.
            return node.message_id in (None, id) or node.role != "assistant"
        is_known = node.message_id == id or (node.role == "user" and self._is_followed(node, after))
        return is_known and _is_echo(node, self._text(node), sent)

    def _text(self, node: Node) -> str:
        """What a person sees of it, read once: it may be compared with each of its siblings."""
        if node.id not in self._texts:
            self._texts[node.id] = visible_text(node.fields)
        return self._texts[node.id]

    def _is_followed(self, node: Node, after: Set[bytes]) -> bool:
        return any(child.digest in after for child in self._children.get(node.id, ()))

    def _node(self, parent: Node | None, id: str, at: int, message: Mapping[str, Any], sent: Message) -> Node:
        is_reply = sent.role == "assistant"
        chain = self._chain
        # A run later on has to make the same node.
        nonce = blake2b(f"{id} {at}".encode(), digest_size=8).digest()
        model, usage = message.get("model"), message.get("usage")
        return Node(
            id=chain.reply_id(parent, sent.digest, nonce)
            if is_reply
            else chain.message_id(parent, sent.digest),
            parent=parent.id if parent else None,
            digest=sent.digest,
            exact=chain.exact(parent.exact if parent else b"", sent),
            role=sent.role,
            body=sent.raw,
            source="upstream" if is_reply else "client",
            state=_state(message) if is_reply else "complete",
            created_at=time_of(message.get("timestamp")) or self._chat.created_at,
            message_id=id if sent.role in ("assistant", message["role"]) else None,
            model=_storable(model) if is_reply and isinstance(model, str) else None,
            usage=encode(usage) if is_reply and isinstance(usage, dict) else None,
        )


def _is_echo(node: Node, stored: str, sent: Message) -> bool:
    """It is the same message, by all that is around it: is it so by its text, or has the user changed it?"""
    told = visible_text(sent.fields)
    if node.role == "user":
        return bool(told and stored) and (told in stored or stored in told)
    return node.state == "partial" and bool(told) and stored.startswith(told)


def _begun(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is told of a message as a whole, told of one of its steps that came before the last."""
    return {name: value for name, value in message.items() if name not in ("error", "done", "usage")}


def _state(message: Mapping[str, Any]) -> State:
    if message.get("error"):
        return "failed"
    return "partial" if message.get("done") in (False, 0) else "complete"
