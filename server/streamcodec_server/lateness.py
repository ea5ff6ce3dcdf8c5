"""How much later than usual a stream's packets come. Knows no clock: times are arguments."""

from __future__ import annotations

from streamcodec.wire.packet import SEQUENCE_MODULUS

# How fast the usual delay follows one that has grown, ms a second: faster than any clock drifts.
FORGETTING = 1.0
BEGINNING_ANEW_MS = 60_000.0  # capture times that jump by so much say nothing of a delay
SETTLED_MS = 1_000.0  # who is late for so long has a longer way now, or captures by another clock


class Lateness:
    """A stream's delay from capture to relay beyond its least one, which stands for the way that
    packets take when nothing holds them up: talker and relay share no clock.
    """

    __slots__ = ("_at_ms", "_begun", "_least_ms", "_ms_per_sample", "_stale_since_ms")

    def __init__(self, sample_rate: int) -> None:
        """sample_rate: Hz, of capture times."""
        self._ms_per_sample = 1_000 / sample_rate
        self._begun: tuple[int, float] | None = None  # a capture time, and when it came
        self._least_ms = 0.0  # delay of the earliest packet, against the first one's
        self._at_ms = 0.0
        self._stale_since_ms: float | None = None

    def restart(self) -> None:
        """The next packet comes over another connection, or after a gap of unknown length."""
        self._begun = None

    def is_stale(self, capture_time: int, now_ms: float, bound_ms: float) -> bool:
        """A packet came that was captured then -> whether it is later than usual by more than the
        bound. What was held up comes all at once, and is; where a delay goes on growing for a
        second it becomes the usual one.
        """
        if self.of(capture_time, now_ms) <= bound_ms:
            self._stale_since_ms = None
            return False
        if self._stale_since_ms is None:
            self._stale_since_ms = now_ms
        if now_ms - self._stale_since_ms < SETTLED_MS:
            return True
        self.restart()
        self._stale_since_ms = None
        return False

    def of(self, capture_time: int, now_ms: float) -> float:
        """A packet came that was captured then -> ms, 0 for one that came as early as any."""
        if self._begun is None:
            self._begun, self._least_ms, self._at_ms = (capture_time, now_ms), 0.0, now_ms
            return 0.0
        first, first_ms = self._begun
        half = SEQUENCE_MODULUS >> 1
        samples = (capture_time - first + half) % SEQUENCE_MODULUS - half
        delay_ms = now_ms - first_ms - samples * self._ms_per_sample
        self._least_ms += FORGETTING * (now_ms - self._at_ms) / 1_000
        self._at_ms = now_ms
        late_ms = delay_ms - self._least_ms
        if abs(late_ms) > BEGINNING_ANEW_MS:
            self._begun = None
            return self.of(capture_time, now_ms)
        if late_ms < 0:
            self._least_ms, late_ms = delay_ms, 0.0
        if abs(samples) > half >> 1:  # long before capture times wrap around what was first
            self._begun, self._least_ms = (capture_time, now_ms), -late_ms
        return late_ms
