"""How long packets should wait before they are played, from the lateness that the network shows.
Sans-I/O: time is an argument.

Lateness is by how much longer a packet took than the quickest of the last seconds. The target
follows an upper quantile of a histogram of lateness that forgets: up at once and down slowly, as in
WebRTC's NetEq. Unlike NetEq it never exceeds what the last seconds needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque

from .baseline import TransitBaseline

BIN_MS = 5.0
BINS = 160  # up to 800 ms: beyond any delay that is played
DESCENT_PACKETS_PER_S = 1.0  # how quickly a target goes down


@dataclasses.dataclass(frozen=True)
class DelayRule:
    """How lateness becomes a target.

    quantile: of the histogram, 0..1. block_ms: the worst lateness of each block enters the
    histogram, since a stall of 100 ms in two seconds is few packets and much concealment. forget:
    weight that the histogram keeps with each block. recent_ms: the target is no more than the worst
    lateness of so long. baseline_ms: lateness is measured from the quickest packet of so long.
    first_ms: the target while nothing is known.
    """

    quantile: float = 0.95
    block_ms: float = 500.0
    forget: float = 0.983
    recent_ms: float = 5_000.0
    baseline_ms: float = 5_000.0
    first_ms: float = 40.0


OURS = DelayRule()
# WebRTC's DelayManager, as published
NETEQ = DelayRule(recent_ms=math.inf, baseline_ms=2_000.0, first_ms=80.0)


class LatenessHistogram:
    """Weights of lateness in bins of BIN_MS, the newest heaviest; they add up to one."""

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
    """How long the quickest packet should wait, between `min_ms` and `max_ms`.

    Call `arrived` for every packet, also for those that are dropped afterwards.
    """

    def __init__(
        self, *, packet_ms: float, min_ms: float, max_ms: float, rule: DelayRule = OURS
    ) -> None:
        self._descent_ms_per_ms = packet_ms * DESCENT_PACKETS_PER_S / 1000
        self._min_ms, self._max_ms, self._rule = min_ms, max_ms, rule
        first_ms = min(max_ms, max(min_ms, rule.first_ms))
        self._baseline = TransitBaseline(rule.baseline_ms, max_ms)
        self._histogram = LatenessHistogram(first_ms, rule.forget)
        self._block_began_ms: float | None = None
        self._block_worst_ms = 0.0
        self._recent: deque[float] | None = None  # worst lateness of the last blocks
        if math.isfinite(rule.recent_ms):
            self._recent = deque(maxlen=round(rule.recent_ms / rule.block_ms))
        self._outage = False
        self._target_ms, self._changed_ms = first_ms, 0.0

    def arrived(self, media_ms: float, now_ms: float) -> None:
        """`media_ms`: time of capture by the sender's clock, from any origin."""
        transit_ms = now_ms - media_ms
        change = self._baseline.add(transit_ms, now_ms)
        if change.rise_ms > 0:
            self._follow_baseline(change.rise_ms)
        if change.replaced:
            self._block_worst_ms = 0.0
        if self._block_began_ms is None:
            self._block_began_ms, self._changed_ms = now_ms, now_ms
        if now_ms - self._block_began_ms >= self._rule.block_ms:
            self._end_block(now_ms)
        assert self._baseline.ms is not None
        self._block_worst_ms = max(self._block_worst_ms, transit_ms - self._baseline.ms)
        self._outage = self._outage or self._block_worst_ms > self._max_ms
        self._update_target(now_ms)

    @property
    def baseline_ms(self) -> float | None:
        """Transit of the quickest packet of the last seconds: arrival less capture time. None
        before the first.
        """
        return self._baseline.ms

    @property
    def ms(self) -> float:
        return self._target_ms

    @property
    def outage(self) -> bool:
        """In this block a packet was later than any delay that is played."""
        return self._outage

    def forget_baseline(self) -> None:
        """A stream that begins anew has another origin of capture times; how the network behaves is
        still known.
        """
        self._baseline.forget()

    def _follow_baseline(self, rise_ms: float) -> None:
        """Lateness is measured from a later time now, and is less by as much: the delay that is
        played stays as it is.
        """
        if self._recent is None:
            return
        self._target_ms = max(self._min_ms, self._target_ms - rise_ms)
        self._block_worst_ms = max(0.0, self._block_worst_ms - rise_ms)
        for index, worst_ms in enumerate(self._recent):
            self._recent[index] = max(0.0, worst_ms - rise_ms)

    def _end_block(self, now_ms: float) -> None:
        """An outage enters no statistics: no delay that is played would bridge it, and it says
        nothing of what follows.
        """
        if not self._outage:
            self._histogram.add(self._block_worst_ms)
            if self._recent is not None:
                self._recent.append(self._block_worst_ms)
        self._block_began_ms, self._block_worst_ms, self._outage = now_ms, 0.0, False

    def _update_target(self, now_ms: float) -> None:
        wanted_ms = self._histogram.quantile_ms(self._rule.quantile)
        if self._recent is not None and len(self._recent) == self._recent.maxlen:
            wanted_ms = min(wanted_ms, max(*self._recent, self._block_worst_ms) + BIN_MS)
        wanted_ms = min(self._max_ms, max(self._min_ms, wanted_ms))
        lowered_ms = self._target_ms - (now_ms - self._changed_ms) * self._descent_ms_per_ms
        self._target_ms, self._changed_ms = max(wanted_ms, lowered_ms), now_ms
