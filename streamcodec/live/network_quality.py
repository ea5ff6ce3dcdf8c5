"""What a receiver can tell of a network and a call: jitter, drift of the talker's clock, and the
E-model's rating. Sans-I/O.
"""

from __future__ import annotations

import math
from collections import deque

# Drift is the slope of a line through the quickest packet of each block: those met no queue, so
# their transit times differ by the drift of the clocks alone.
BLOCK_MS = 10_000.0
LEAST_BLOCKS, MOST_BLOCKS = 3, 30
JITTER_SHARE = 16  # RFC 3550: each packet moves the estimate by a sixteenth


class ArrivalStatistics:
    """Jitter and drift of one stream. Call `arrived` for every packet, late ones too.

    jitter_ms: interarrival jitter of RFC 3550, the smoothed difference between the transit times of
    successive packets. drift_ppm: how much slower the talker's clock runs than ours; None before
    there is half a minute to judge by. A change of route looks like drift for five minutes.
    """

    def __init__(self) -> None:
        self.jitter_ms = 0.0
        self.drift_ppm: float | None = None
        self._last_transit_ms: float | None = None
        self._block_began_ms = 0.0
        # transit time of the quickest packet in a block, and when that packet came
        self._block: tuple[float, float] | None = None
        self._blocks: deque[tuple[float, float]] = deque(maxlen=MOST_BLOCKS)

    def arrived(self, media_ms: float, now_ms: float) -> None:
        """`media_ms`: time of capture by the talker's clock, from any origin, unwrapped."""
        transit_ms = now_ms - media_ms
        if self._last_transit_ms is not None:
            self.jitter_ms += (
                abs(transit_ms - self._last_transit_ms) - self.jitter_ms
            ) / JITTER_SHARE
        self._last_transit_ms = transit_ms
        if self._block is None:
            self._block_began_ms = now_ms
        elif now_ms - self._block_began_ms >= BLOCK_MS:
            self._blocks.append(self._block)
            self.drift_ppm = _drift_ppm(self._blocks)
            self._block, self._block_began_ms = None, now_ms
        if self._block is None or transit_ms < self._block[0]:
            self._block = transit_ms, now_ms

    def restart(self) -> None:
        """Capture times begin anew, from another origin."""
        self._last_transit_ms = self._block = self.drift_ppm = None
        self._blocks.clear()


def _drift_ppm(blocks: deque[tuple[float, float]]) -> float | None:
    """Slope of transit time over time, least squares."""
    if len(blocks) < LEAST_BLOCKS:
        return None
    mean_at = sum(at for _, at in blocks) / len(blocks)
    mean_transit = sum(transit for transit, _ in blocks) / len(blocks)
    spread = sum((at - mean_at) ** 2 for _, at in blocks)
    products = sum((at - mean_at) * (transit - mean_transit) for transit, at in blocks)
    return 1e6 * products / spread


def transmission_rating(delay_ms: float, lost_share: float, robustness: float = 10.0) -> float:
    """E-model rating R, 0 to 93.2, of a call with this delay from mouth to ear and this share of
    packets concealed; the codec counts as transparent.

    Source: ITU-T G.107 as simplified by Cole and Rosenbluth (2001): echo-free delay, and packets
    lost at random; `robustness` is G.113's Bpl, 10 for a codec that conceals.
    """
    delay = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - 177.3)
    loss = 95 * lost_share / (lost_share + robustness / 100) if lost_share else 0.0
    return max(0.0, 93.2 - delay - loss)


def mean_opinion(rating: float) -> float:
    """Rating R -> mean opinion score, 1 to 4.41 (ITU-T G.107, annex B). Raises ValueError for a
    rating that is not finite.
    """
    if not math.isfinite(rating):
        raise ValueError(f"rating must be a number, got {rating}")
    r = min(100.0, max(0.0, rating))
    return max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r))
