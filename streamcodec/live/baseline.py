"""What the lateness of packets is measured from: the transit time of the quickest packet of the
last seconds. Sans-I/O: time is an argument.

Transit is arrival by the listener's clock less capture by the talker's. Its origin is unknown, and
it drifts as the clocks do, so that only differences mean anything.
"""

from __future__ import annotations

import dataclasses
from collections import deque

LONGEST_GAP_MS = 100.0  # a longer time without packets counts as so much of the window
SLOWER_MS = 300.0  # packets must be hopelessly late for so long to prove that the network is slower
# Where lateness falls by more than this (ms per ms), the backlog of an outage is being delivered: a
# network that has become slower delivers packets at the rate at which they were sent.
DRAINING = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class BaselineChange:
    """rise_ms, at least 0: by how much the baseline rose because its quickest packet has become too
    old. replaced: the network has become slower, and its present transit is the baseline now.
    """

    rise_ms: float = 0.0
    replaced: bool = False


class TransitBaseline:
    """The least transit within a sliding window of `window_ms`.

    Packets later than `hopeless_ms`, as in an outage, do not advance the window: what was normal
    before it must still be known after it.
    """

    def __init__(self, window_ms: float, hopeless_ms: float) -> None:
        self._window_ms, self._hopeless_ms = window_ms, hopeless_ms
        # (time in the window, transit); transits rise from left to right
        self._quickest: deque[tuple[float, float]] = deque()
        self._window_now_ms = 0.0
        self._last_arrival_ms: float | None = None
        # arrival and transit of the first of the packets that are hopelessly late now
        self._slower_since: tuple[float, float] | None = None

    @property
    def ms(self) -> float | None:
        """None before the first packet."""
        return self._quickest[0][1] if self._quickest else None

    def add(self, transit_ms: float, now_ms: float) -> BaselineChange:
        before_ms = self.ms
        hopeless = before_ms is not None and transit_ms - before_ms > self._hopeless_ms
        if self._last_arrival_ms is not None and not hopeless:
            self._window_now_ms += min(now_ms - self._last_arrival_ms, LONGEST_GAP_MS)
        self._last_arrival_ms = now_ms
        while self._quickest and self._quickest[-1][1] >= transit_ms:
            self._quickest.pop()
        self._quickest.append((self._window_now_ms, transit_ms))
        oldest_ms = self._quickest[0][1]
        while self._window_now_ms - self._quickest[0][0] > self._window_ms:
            self._quickest.popleft()
        rise_ms = self._quickest[0][1] - oldest_ms
        return BaselineChange(rise_ms, self._replaced(hopeless, transit_ms, now_ms))

    def forget(self) -> None:
        """A stream that begins anew has another origin of capture times."""
        self._quickest.clear()
        self._slower_since = None

    def _replaced(self, hopeless: bool, transit_ms: float, now_ms: float) -> bool:
        """Whether the network has become slower. Without this check, one that is slower than any
        delay that is played would be silence until the window has slid.
        """
        if not hopeless:
            self._slower_since = None
            return False
        if self._slower_since is None:
            self._slower_since = now_ms, transit_ms
        since_ms, first_ms = self._slower_since
        if now_ms - since_ms < SLOWER_MS:
            return False
        self._slower_since = None
        if first_ms - transit_ms >= DRAINING * (now_ms - since_ms):
            return False
        self._quickest.clear()
        self._quickest.append((self._window_now_ms, transit_ms))
        return True
