"""Is a member of a target to be left alone for a while? Pure: whoever asks says what time it is.

Rules: three failures within half a minute take it out for ten seconds, and for twice as long each time that
it fails again, up to five minutes. Then one probe decides. An answer to a request of a client's clears all.
"""

from __future__ import annotations

__all__ = ["Health"]

_FAILURES, _WITHIN = 3, 30.0  # seconds
_FIRST, _MOST = 10.0, 300.0  # seconds


class Health:
    """Of one member. Times are seconds of one clock that never goes back."""

    __slots__ = ("_failed", "_period", "out_until")

    def __init__(self) -> None:
        self._failed: list[float] = []
        self._period = 0.0
        #: When it is to be probed; None where it is not out.
        self.out_until: float | None = None

    @property
    def is_out(self) -> bool:
        return self.out_until is not None

    def failed(self, now: float) -> bool:
        """It could not serve a request; is it out since?"""
        if self.is_out:
            return False
        self._failed = [*(each for each in self._failed if now - each < _WITHIN), now]
        if len(self._failed) < _FAILURES:
            return False
        self._take_out(now)
        return True

    def answered(self) -> None:
        """It has served a request."""
        if self._failed or self._period:
            self._failed = []
            self._period = 0.0
            self.out_until = None

    def probed(self, now: float, *, is_well: bool) -> None:
        """What a probe has found."""
        if is_well:
            self.out_until = None
        elif self.is_out:
            self._take_out(now)

    def _take_out(self, now: float) -> None:
        self._failed = []
        self._period = min(max(2 * self._period, _FIRST), _MOST)
        self.out_until = now + self._period
