"""The clock of the live path: CLOCK_MONOTONIC, which all processes of a machine share. Tests use
clocks of their own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, in nanoseconds from an arbitrary beginning."""

    def now_ns(self) -> int: ...

    def sleep(self, seconds: float) -> None:
        """Blocks the calling thread; must not be called on the event loop."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def milliseconds(nanoseconds: int) -> float:
    return nanoseconds / 1e6
