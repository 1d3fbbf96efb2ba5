"""Which conversations are being summed up now, and how much one question about them may hold.

Rules: one job for a conversation at a time and a few in all; one that failed is begun again by a later
request, the later the more often it failed, and never by itself; at the end of the process all stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.background.tasks import Spawn

__all__ = ["SummaryJobs"]

_MAX_CONCURRENT = 4
_MAX_BACKOFF = 32  # requests
_MAX_REMEMBERED_FAILURES = 1000  # conversations whose failures are remembered
# Tokens. With the summary so far, the prompt and the answer they fit into the smallest window in use, 4096,
# of which Ollama says nothing when it cuts what is longer.
_INPUT_BUDGET = 3000
_MIN_INPUT_BUDGET = 200


class SummaryJobs:
    """The jobs under way, by conversation."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._jobs: dict[str, asyncio.Task[None]] = {}
        #: How often in a row it failed, and how many requests are still to pass.
        self._failed: dict[str, tuple[int, int]] = {}
        self._stopped = False
        #: What a question may hold where the window is not known.
        self.room = _INPUT_BUDGET

    def begin(self, conversation: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start this work, unless it has to wait for a later request."""
        if self._stopped or conversation in self._jobs or len(self._jobs) >= _MAX_CONCURRENT:
            return
        times, left = self._failed.get(conversation, (0, 0))
        if left:
            self._failed[conversation] = times, left - 1
            return
        job = self._jobs[conversation] = self._spawn(work())
        job.add_done_callback(lambda _job: self._jobs.pop(conversation))

    def ended(self, conversation: str, *, well: bool) -> None:
        """Remember how it went."""
        times, _ = self._failed.pop(conversation, (0, 0))
        if well:
            return
        self._failed[conversation] = times + 1, min(2**times, _MAX_BACKOFF) - 1
        if len(self._failed) > _MAX_REMEMBERED_FAILURES:
            del self._failed[next(iter(self._failed))]

    def too_long(self) -> None:
        """A question was refused for its length."""
        self.room = max(_MIN_INPUT_BUDGET, self.room // 2)

    def stop(self) -> None:
        """The process ends: a later one makes what is not made now."""
        self._stopped = True
        for job in self._jobs.values():
            job.cancel()
