"""How long packets should wait before they are played: the network's lateness, measured as it
comes. Sans-I/O: time is an argument.

Lateness is what a packet took longer than the quickest of late. Targets follow its upper quantile
in a histogram that forgets: up at once, down slowly, as NetEq does; and down to what was needed of
late, which NetEq does not.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque

BIN_MS = 5.0
BINS = 160  # up to 800 ms: beyond any delay that is played
LONGEST_GAP_MS = 100.0
# so long must a network have been slower than any delay that we play before that is what it is now
SLOWER_MS = 300.0
# ms that lateness falls by in a ms while an outage's backlog is delivered: that is no slower
# network
DRAINING = 0.3


@dataclasses.dataclass(frozen=True)
class DelayRule:
    """How lateness becomes a target."""

    quantile: float = 0.95
    # its worst counts: a stall of 100 ms in two seconds is few packets and much concealment
    block_ms: float = 500.0
    forget: float = 0.983  # a block: half a minute, for networks that stay as they are
    # no more than the worst of so long: for networks that have got better
    recent_ms: float = 5_000.0
    # the quickest packet within it is what lateness is measured from; slides, as clocks drift
    baseline_ms: float = 5_000.0
    first_ms: float = 60.0  # assumed while nothing is known


OURS = DelayRule()
# WebRTC's DelayManager, as published
NETEQ = DelayRule(recent_ms=math.inf, baseline_ms=2_000.0, first_ms=80.0)


class LatenessHistogram:
    """Weights of lateness, newest heaviest; they add up to one."""

    def __init__(self, first_ms: float, forget: float) -> None:
        self._forget = forget
        self._weights = [0.0] * BINS
        self._weights[self._bin(first_ms)] = 1.0
        self._count = 1

    def add(self, lateness_ms: float) -> None:
        self._count += 1
        kept = min(self._forget, 1 - 1 / self._count)  # at first all count alike
        self._weights = [kept * w for w in self._weights]
        self._weights[self._bin(lateness_ms)] += 1 - kept

    def quantile_ms(self, share: float) -> float:
        """Upper edge of the bin in which the cumulative weight reaches `share`."""
        total = 0.0
        for index, weight in enumerate(self._weights):
            total += weight
            if total >= share:
                return (index + 1) * BIN_MS
        return BINS * BIN_MS

    @staticmethod
    def _bin(lateness_ms: float) -> int:
        return min(BINS - 1, max(0, math.ceil(lateness_ms / BIN_MS) - 1))


class DelayTarget:
    """`arrived` for every packet, before any is dropped; `at` says how long the quickest of them
    should wait.
    """

    def __init__(
        self, *, packet_ms: float, min_ms: float, max_ms: float, rule: DelayRule = OURS
    ) -> None:
        self._step_ms_per_ms = packet_ms / 1000  # a packet a second is the quickest descent
        self._min_ms, self._max_ms, self._rule = min_ms, max_ms, rule
        first_ms = min(max_ms, max(min_ms, rule.first_ms))
        self._histogram = LatenessHistogram(first_ms, rule.forget)
        # live time and transit; transits rise from left to right
        self._quickest: deque[tuple[float, float]] = deque()
        self._live_ms = 0.0
        self._last_ms: float | None = None
        # when, and with which transit, packets began to be hopelessly late
        self._slower_since: tuple[float, float] | None = None
        self._block_began_ms: float | None = None
        self._block_worst_ms = 0.0
        self._recent: deque[float] | None = None
        if math.isfinite(rule.recent_ms):
            self._recent = deque(maxlen=round(rule.recent_ms / rule.block_ms))
        self._outage = False
        self._target_ms, self._changed_ms = first_ms, 0.0

    def arrived(self, media_ms: float, now_ms: float) -> None:
        """`media_ms`: time of capture by the sender's clock, from any origin."""
        transit_ms = now_ms - media_ms
        hopeless = bool(self._quickest) and transit_ms - self._quickest[0][1] > self._max_ms
        while self._quickest and self._quickest[-1][1] >= transit_ms:
            self._quickest.pop()
        # By a clock that hardly moves while nothing comes, or nothing but a backlog: what was
        # normal before it is still known then.
        if self._last_ms is not None and not hopeless:
            self._live_ms += min(now_ms - self._last_ms, LONGEST_GAP_MS)
        self._last_ms = now_ms
        self._quickest.append((self._live_ms, transit_ms))
        before_ms = self._quickest[0][1]
        while self._live_ms - self._quickest[0][0] > self._rule.baseline_ms:
            self._quickest.popleft()
        self._baseline_rose(self._quickest[0][1] - before_ms)
        if hopeless:
            self._notice_a_slower_network(transit_ms, now_ms)
        else:
            self._slower_since = None
        if self._block_began_ms is None:
            self._block_began_ms, self._changed_ms = now_ms, now_ms
        if now_ms - self._block_began_ms >= self._rule.block_ms:
            if not self._outage:
                self._histogram.add(self._block_worst_ms)
                if self._recent is not None:
                    self._recent.append(self._block_worst_ms)
            self._block_began_ms, self._block_worst_ms, self._outage = now_ms, 0.0, False
        self._block_worst_ms = max(self._block_worst_ms, transit_ms - self._quickest[0][1])
        # An outage: no delay that we would play bridges it, and what came with it says nothing of
        # what follows.
        self._outage = self._outage or self._block_worst_ms > self._max_ms
        self._follow(now_ms)

    @property
    def baseline_ms(self) -> float | None:
        """Transit of the quickest packet of late: arrival less media time. None before the
        first.
        """
        return self._quickest[0][1] if self._quickest else None

    @property
    def ms(self) -> float:
        return self._target_ms

    @property
    def outage(self) -> bool:
        """Packets have just come that were late beyond any delay that is played."""
        return self._outage

    def forget_baseline(self) -> None:
        """A stream that begins anew has another origin of time; how the network behaves is still
        known.
        """
        self._quickest.clear()
        self._slower_since = None

    def _baseline_rose(self, by_ms: float) -> None:
        """What was late by the quickest packet of before is less late by that of now: the delay
        that is played stays as it is.
        """
        if by_ms <= 0 or self._recent is None:
            return
        self._target_ms = max(self._min_ms, self._target_ms - by_ms)
        self._block_worst_ms = max(0.0, self._block_worst_ms - by_ms)
        for index, worst_ms in enumerate(self._recent):
            self._recent[index] = max(0.0, worst_ms - by_ms)

    def _notice_a_slower_network(self, transit_ms: float, now_ms: float) -> None:
        """A network that has become slower by more than any delay that is played would be silence
        until the baseline has slid.
        """
        if self._slower_since is None:
            self._slower_since = now_ms, transit_ms
        since_ms, first_ms = self._slower_since
        if now_ms - since_ms < SLOWER_MS:
            return
        if first_ms - transit_ms < DRAINING * (now_ms - since_ms):
            self._quickest.clear()
            self._quickest.append((self._live_ms, transit_ms))
            self._block_worst_ms = 0.0
        self._slower_since = None

    def _follow(self, now_ms: float) -> None:
        wanted = self._histogram.quantile_ms(self._rule.quantile)
        if self._recent is not None and len(self._recent) == self._recent.maxlen:
            wanted = min(wanted, max(*self._recent, self._block_worst_ms) + BIN_MS)
        wanted = min(self._max_ms, max(self._min_ms, wanted))
        lowered = self._target_ms - (now_ms - self._changed_ms) * self._step_ms_per_ms
        self._target_ms, self._changed_ms = max(wanted, lowered), now_ms
