"""How fast packets should be played, so that their delay meets its target."""

from __future__ import annotations

from collections import deque

FINE_SPEED = 0.002  # three cents of pitch, which nobody hears: up to here audio is resampled
ROUNDING = 1e-9  # 1.002 - 1 is a little more than 0.002
FINE_TIME_MS = 5_000.0  # in which a small error of delay is made up
# Errors of delay above which time is scaled. LATE_MS is where FINE_TIME_MS reaches FINE_SPEED; at
# 20 less was concealed and scaled, with more delay (docs/playout.md).
LATE_MS, EARLY_MS = 10.0, 8.0
SETTLED_MS = 4.0  # error of delay at which time scaling ends
FAST, FASTER, SLOW = 1.12, 1.3, 0.85
FASTER_MS = 80.0  # error of delay above which FASTER is played
NEEDED_PACKETS = 25  # delay that one of so many packets did not wait is no surplus
NEEDED_MARGIN_MS = 5.0
# packets that waited less than this on average came almost too late, whatever the target says
TIGHT_PACKETS, TIGHT_MS = 5, 12.0


def is_fine(speed: float) -> bool:
    """Within FINE_SPEED of one: met by resampling. Any other speed is met by time scaling, which
    keeps the pitch.
    """
    return abs(speed - 1) <= FINE_SPEED + ROUNDING


class SpeedControl:
    """The speed of each packet, from how late it is and how long the last packets waited."""

    def __init__(self) -> None:
        self._speed = 1.0
        self._waits: deque[float] = deque(maxlen=NEEDED_PACKETS)

    def next(self, error_ms: float, waited_ms: float) -> float:
        """For the packet that is played now. error_ms: by how much its delay exceeds the target;
        waited_ms: from its arrival to now.
        """
        self._waits.append(waited_ms)
        # Where the network has just become slower the target does not know yet, but packets that
        # barely came in time show it.
        surplus_ms = min(self._waits) - NEEDED_MARGIN_MS
        last = list(self._waits)[-TIGHT_PACKETS:]
        tight_ms = sum(last) / len(last) - TIGHT_MS
        self._speed = _speed(min(error_ms, max(surplus_ms, 0.0), tight_ms), self._speed)
        return self._speed


def _speed(error_ms: float, before: float) -> float:
    """Time scaling that has begun goes on until the error has settled."""
    scaling = not is_fine(before)
    if error_ms > LATE_MS or (scaling and before > 1 and error_ms > SETTLED_MS):
        return FASTER if error_ms > FASTER_MS else FAST
    if error_ms < -EARLY_MS or (scaling and before < 1 and error_ms < -SETTLED_MS):
        return SLOW
    return 1 + min(FINE_SPEED, max(-FINE_SPEED, error_ms / FINE_TIME_MS))
