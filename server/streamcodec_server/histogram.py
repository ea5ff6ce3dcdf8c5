"""How often something took how long. Sans-I/O."""

from __future__ import annotations

import bisect

BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)


class Histogram:
    """counts: of values up to each of BOUNDS_MS and above the one before; last, of those above
    them all. total_ms: the sum of all values.
    """

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0.0

    def add(self, value_ms: float) -> None:
        self.counts[bisect.bisect_left(BOUNDS_MS, value_ms)] += 1
        self.total_ms += value_ms

    def cumulative(self) -> list[tuple[str, int]]:
        """As Prometheus has it: the upper bound in seconds, and how many values were not above."""
        bounds = [*(f"{bound / 1_000:g}" for bound in BOUNDS_MS), "+Inf"]
        found, below = [], 0
        for bound, count in zip(bounds, self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found
