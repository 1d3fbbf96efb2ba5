"""Appends to one thread of a conversation are served one after another.

A client that sends only what is new relies on the reply before being in the history. Two at once would
both be answered without the other, so the second waits, and is told if it would wait too long. Within this
process they queue here; the first in the queue then takes the lock of the store, which all processes that
share the store respect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sidecar.errors import ConversationBusy
from sidecar.store import Store

__all__ = ["AppendLocks", "line_of"]


def line_of(conversation: str, root: bytes | None) -> str:
    """The name under which those stand in line that go on below one first message of a conversation, be that
    a system message; `root` is None where nothing was said yet."""
    return conversation if root is None else f"{conversation}-{root.hex()}"


class AppendLocks:
    """Who holds which line now, and who waits for it. A line has a name: `line_of`, or another one."""

    def __init__(self, wait: float, store: Store) -> None:
        self._wait = wait
        self._store = store
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, line: str) -> AsyncIterator[float]:
        """Hold the line of this name; gives for how many seconds others stood before it. Raises
        `ConversationBusy` after the wait (seconds)."""
        lock = self._locks.setdefault(line, asyncio.Lock())
        self._users[line] = self._users.get(line, 0) + 1
        try:
            async with AsyncExitStack() as stack:
                yield await self._enter(line, lock, stack)
        finally:
            self._users[line] -= 1
            if not self._users[line]:
                del self._users[line], self._locks[line]

    async def _enter(self, line: str, lock: asyncio.Lock, stack: AsyncExitStack) -> float:
        clock = asyncio.get_running_loop().time
        began = clock()
        end = began + self._wait
        try:
            async with asyncio.timeout_at(end):
                await stack.enter_async_context(lock)
            is_first = clock()
            left = max(0.0, end - is_first)
            was_held = await stack.enter_async_context(self._store.cross_process_lock(line, left))
            return (clock() if was_held else is_first) - began
        except TimeoutError:
            raise ConversationBusy(
                "another message to this conversation is still being answered "
                f"(waited `history.append_wait` = {self._wait:g} s)"
            ) from None
