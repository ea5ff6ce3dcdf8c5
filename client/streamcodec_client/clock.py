"""The one clock of the live path: CLOCK_MONOTONIC, which all processes of a machine share. Tests
bring their own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Nanoseconds from some beginning, never backwards."""

    def now_ns(self) -> int: ...

    def sleep(self, seconds: float) -> None:
        """Blocks the calling thread; never called on the event loop."""
        ...


class MonotonicClock:
    """The machine's."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def milliseconds(nanoseconds: int) -> float:
    return nanoseconds / 1e6
