"""Where there are several workers, each writes its histograms once a second where the others see them.

A worker that is killed takes the last second of its histograms with it; counters are written at once.
"""

from __future__ import annotations

import asyncio

from sidecar.metrics import Metrics

__all__ = ["SharedMetrics"]

INTERVAL = 1.0  # seconds


class SharedMetrics:
    """The timer."""

    def __init__(self, metrics: Metrics) -> None:
        self._unwritten = metrics.unwritten
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, if there are other workers."""
        if self._unwritten is not None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._write)

    def stop(self) -> None:
        """Write for the last time."""
        if self._timer is not None:
            self._timer.cancel()
        if self._unwritten is not None:
            self._unwritten.write()

    def _write(self) -> None:
        if self._unwritten:
            self._unwritten.write()
        self.start()
