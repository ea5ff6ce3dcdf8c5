"""Token buckets: how much one sender may ask of a relay. Knows no clock: times are arguments."""

from __future__ import annotations

import enum


class Spent(enum.Enum):
    """WITHIN: it may pass. OVER: too much for now, it is dropped. EXHAUSTED: as much again was
    dropped, and nothing of this sender is to be expected to fit.
    """

    WITHIN = enum.auto()
    OVER = enum.auto()
    EXHAUSTED = enum.auto()


class Budget:
    """So much a second on average, and `burst` at once."""

    __slots__ = ("_at_ms", "_burst", "_left", "_per_ms")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_ms, self._burst = per_second / 1_000, burst
        self._left, self._at_ms = burst, 0.0

    def spend(self, amount: float, now_ms: float) -> Spent:
        earned = self._per_ms * max(0.0, now_ms - self._at_ms)
        self._left = min(self._burst, self._left + earned) - amount
        self._at_ms = now_ms
        if self._left >= 0:
            return Spent.WITHIN
        if self._left > -self._burst:
            return Spent.OVER
        self._left = -self._burst
        return Spent.EXHAUSTED
