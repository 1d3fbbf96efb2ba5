"""Appends to one conversation are served one after another.

A client that sends only what is new relies on the reply before being in the history. Two at once would
both be answered without the other, so the second waits, and is told if it would wait too long. Within this
process they queue here; the first in the queue then takes the lock of the store, which all processes that
share the store respect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext

from sidecar.errors import ConversationBusy
from sidecar.store import Store

__all__ = ["AppendLocks", "line_of"]

_NOBODY_WAITS: AbstractAsyncContextManager[None] = nullcontext()


def line_of(conversation: str, root: bytes | None) -> str:
    """The name under which those stand in line that go on below one first message of a conversation, be that
    a system message; None where nothing was said yet."""
    return conversation if root is None else f"{conversation}-{root.hex()}"


class AppendLocks:
    """Who appends to which conversation now, and who waits for it."""

    def __init__(self, wait: float, store: Store) -> None:
        self._wait = wait
        self._store = store
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def hold(self, conversation: str | None) -> AbstractAsyncContextManager[None]:
        """Hold the conversation; at once for None. Raises `ConversationBusy` after the wait (seconds)."""
        return _NOBODY_WAITS if conversation is None else self._hold(conversation)

    @asynccontextmanager
    async def _hold(self, conversation: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(conversation, asyncio.Lock())
        self._users[conversation] = self._users.get(conversation, 0) + 1
        try:
            async with AsyncExitStack() as stack:
                await self._enter(conversation, lock, stack)
                yield
        finally:
            self._users[conversation] -= 1
            if not self._users[conversation]:
                del self._users[conversation], self._locks[conversation]

    async def _enter(self, conversation: str, lock: asyncio.Lock, stack: AsyncExitStack) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._wait
        try:
            async with asyncio.timeout_at(end):
                await stack.enter_async_context(lock)
            left = max(0.0, end - clock())
            await stack.enter_async_context(self._store.cross_process_lock(conversation, left))
        except TimeoutError:
            raise ConversationBusy(
                "another message to this conversation is still being answered "
                f"(waited `history.append_wait` = {self._wait:g} s)"
            ) from None
