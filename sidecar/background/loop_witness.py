"""How long nobody was served, and what was done meanwhile: the event loop was held.

Rules: a timer that is late shows it, to within its interval; nothing on the path of a request is timed for
that. What is large is done in a thread (`large_work`), with which the loop shares the interpreter: if it was
at work it names the phase, else it was something `other`, on the loop itself or in another process.
"""

from __future__ import annotations

import asyncio
import time

from sidecar.background.large_work import LargeWork
from sidecar.metrics import Metrics

__all__ = ["LoopWitness"]

_LEAST = 0.005  # seconds; what is shorter is no hold
#: Seconds between two looks.
INTERVAL = 0.02


class LoopWitness:
    """The timer."""

    def __init__(self, metrics: Metrics, large_work: LargeWork) -> None:
        self._held = metrics.loop_held
        self._large_work = large_work
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._due = time.monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        late = time.monotonic() - self._due
        if late >= _LEAST:
            self._held[self._large_work.phase_since(self._due) or "other"].observe(late)
        self.start()
