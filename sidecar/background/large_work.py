"""Work on requests of many megabytes: done in a thread, so that everybody else is served meanwhile.

Rules: there is one such thread, so that streams have no more than one rival for the interpreter; large
requests wait for each other. The interpreter changes threads every few milliseconds, but not within a call
into C: whoever calls one with many megabytes does so in pieces, unless it lets go of the interpreter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sidecar.conversation.pieces import LARGE, MANY
from sidecar.conversation.tree import Node
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan, Thin

__all__ = ["LargeWork", "are_large", "is_large"]

T = TypeVar("T")


def are_large(nodes: Sequence[Node]) -> bool:
    """Does it take milliseconds to look through these messages?"""
    return len(nodes) > MANY or sum([len(each.body) for each in nodes]) > LARGE


def is_large(call: ChatCall, plan: Plan) -> bool:
    """Does it take milliseconds to look through a request, with the history of a client that sends none?"""
    return call.chat.is_large or (isinstance(plan, Thin) and are_large(plan.line))


class LargeWork:
    """The thread. It begins with the first work."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-work")
        self._phase = ""
        self._ended = 0.0  # by the monotonic clock; 0 while there is work

    async def do(self, phase: str, work: Callable[[], T]) -> T:
        """What the work gives, or raises. Cancelled while it waits, it is not begun."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, phase, work)

    def _do(self, phase: str, work: Callable[[], T]) -> T:
        self._phase, self._ended = phase, 0.0
        try:
            return work()
        finally:
            self._ended = time.monotonic()

    def phase_since(self, moment: float) -> str | None:
        """What was last done at this moment or after it, by the monotonic clock; None if nothing was."""
        return self._phase if self._phase and not 0.0 < self._ended < moment else None

    def stop(self) -> None:
        """Take no more work; what is under way ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
