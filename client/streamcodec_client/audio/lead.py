"""How much sound a device is given before its time. Time is an argument."""

from __future__ import annotations

from streamcodec.units import NS

RAISED_MS = 5.0  # each time the device had nothing to play
MOST_RAISED_MS = 20.0
LOWERED_MS_PER_S = 0.2
ONE_STALL_S = 0.1  # a thread that was held up may leave the device without sound several times


class Lead:
    """As little as `least_ms`, and more for some time after the device had nothing to play: a busy
    machine wakes threads late.
    """

    def __init__(self, least_ms: float) -> None:
        self._least_ms = least_ms
        self._raised_ms, self._at_ns = 0.0, 0  # by how much it was raised, and when
        self._stalls = 0

    def ms(self, now_ns: int) -> float:
        lowered_ms = LOWERED_MS_PER_S * (now_ns - self._at_ns) / NS
        return self._least_ms + max(0.0, self._raised_ms - lowered_ms)

    def ran_dry(self, times: int, now_ns: int) -> None:
        """The device had nothing to play: so many `times` since the beginning."""
        if times == self._stalls:
            return
        if not self._stalls or now_ns - self._at_ns > ONE_STALL_S * NS:
            raised_ms = self.ms(now_ns) - self._least_ms + RAISED_MS
            self._raised_ms, self._at_ns = min(MOST_RAISED_MS, raised_ms), now_ns
        self._stalls = times
