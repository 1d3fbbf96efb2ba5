"""The requests that are being answered now, by conversation: what a client that sends only what is new may be
waiting for, and what it has sent without seeing the end of the answer.

Of this process alone: it tells two messages sent at once, and a message that is sent again, from new ones.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sidecar.exchange.call import ChatCall
from sidecar.exchange.threads import Running, running

__all__ = ["RunningRequests"]

_MAX_UNSEEN = 4096  # conversations
_MAX_NAMED = 4096


class RunningRequests:
    """Those of the clients whose requests do not say by themselves that they bring their history."""

    def __init__(self) -> None:
        self._running: dict[str, list[Running]] = {}
        self._unseen: OrderedDict[str, Running] = OrderedDict()
        #: What is on its way into the store while its client waits for it no more, by conversation; of a chat
        #: that names itself by nothing, by tenant.
        self.unwritten: dict[str | bytes, list[asyncio.Task[Any]]] = {}
        self._left: dict[str, list[asyncio.Event]] = {}
        self._named: OrderedDict[str, str] = OrderedDict()

    @contextmanager
    def entered(self, call: ChatCall) -> Iterator[bool]:
        """For as long as a request is answered; gives whether its client has sent it before, and has seen no
        end of an answer to it."""
        name = call.conversation_id or ""
        mine = running(call)
        there = self._running.setdefault(name, [])
        again = mine in there or self._unseen.get(name) == mine
        there.append(mine)
        try:
            yield again
        except (asyncio.CancelledError, ConnectionResetError):
            self._unseen[name] = mine
            if len(self._unseen) > _MAX_UNSEEN:
                self._unseen.popitem(last=False)
            raise
        else:
            self._unseen.pop(name, None)
        finally:
            there.remove(mine)
            if not there:
                del self._running[name]

    def others(self, call: ChatCall) -> tuple[Running, ...]:
        """What else is being answered in this conversation."""
        if not call.brings_no_history:
            return ()
        there = list(self._running.get(call.conversation_id or "", ()))
        mine = running(call)
        if mine in there:
            there.remove(mine)
        return tuple(there)

    def is_being_written(self, name: str | bytes, commit: asyncio.Task[Any]) -> None:
        """Its client has seen the end of a turn, or left it, that is still on its way into the store."""
        there = self.unwritten.setdefault(name, [])
        if commit not in there:
            there.append(commit)
            commit.add_done_callback(lambda done: self._written(name, done))

    @contextmanager
    def left_behind(self, conversation: str) -> Iterator[asyncio.Event]:
        """For as long as a reply is read whose client has left; the event tells that it must end now."""
        end = asyncio.Event()
        there = self._left.setdefault(conversation, [])
        there.append(end)
        try:
            yield end
        finally:
            there.remove(end)
            if not there:
                del self._left[conversation]

    async def written(self, conversation: str | None) -> None:
        """Wait until what its client has seen of a conversation is stored; what it has left is ended."""
        for end in self._left.get(conversation or "", ()):
            end.set()
        commits = self.unwritten.get(conversation or "")
        if commits is not None:
            await asyncio.wait(tuple(commits))

    async def nearly_written(self, call: ChatCall, patience: float) -> None:
        """Wait until what the client of a whole history has left is stored, which it may bring back: no more
        than `patience` (seconds), for it holds all that it needs. What is still read is not waited for."""
        name = call.conversation_id or call.identity.tenant
        if name not in self._left and (commits := self.unwritten.get(name)):
            await asyncio.wait(tuple(commits), timeout=patience)

    def is_first_name(self, conversation: str, key: str) -> bool:
        """Is this the first name that wants this conversation, which has none? It is recorded only with the
        reply to the request that brings it, and another may be asked for before that."""
        first = self._named.setdefault(conversation, key)
        if len(self._named) > _MAX_NAMED:
            self._named.popitem(last=False)
        return first == key

    def _written(self, name: str | bytes, commit: asyncio.Task[Any]) -> None:
        there = self.unwritten[name]
        there.remove(commit)
        if not there:
            del self.unwritten[name]
