"""Adaptive jitter buffer: as little delay as the network allows, and no delay that stays once it is
not needed. Sans-I/O.

Play asks for a `speed` besides the payload: within FINE_SPEED of one to hold the delay against
clocks that drift (to be done by resampling), beyond that to win delay back, or to gain some, while
somebody speaks (by time-scale modification).
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque

from ..errors import ConfigError
from ..wire.packet import SEQUENCE_MODULUS, Flags
from ..wire.redundancy import Copy
from .delay import OURS, DelayRule, DelayTarget
from .playout import Arrival, Conceal, JitterBuffer, Play, Waiting
from .sequence import Unwrapper

LEAST_SPAN_MS = 120.0  # two packets of the longest kind
LONGEST_MS = 2_000.0
# concealed in the hope that the next packet is only late; then silence and a new start
STALL_LIMIT_MS = 120.0
FINE_SPEED = 0.002  # three cents: nobody hears it
FINE_TIME_MS = 5_000.0  # in which a small error of delay is made up
LATE_MS, EARLY_MS = 20.0, 8.0  # error of delay at which time is scaled
SETTLED_MS = 4.0  # and down to which
FAST, FASTER, SLOW = 1.12, 1.3, 0.85
FASTER_MS = 80.0
NEEDED_PACKETS = 25  # delay that one of so many did not wait out is no surplus
NEEDED_MARGIN_MS = 5.0
# so little wait in the mean of so few is too little, whatever the target says
TIGHT_PACKETS, TIGHT_MS = 5, 16.0
JUMP_MS = 240.0  # what is that late is skipped: nobody wants to hear seconds of it, however quickly
# what comes first after a pause was held back to see whether it is voice: it is played although
# late
PAUSE_SLACK_MS = 80.0
OUTAGE_JUMP_MS = 40.0  # after an outage the conversation has moved on: what is late is stale


@dataclasses.dataclass(frozen=True)
class DelayBounds:
    """Of an adaptive delay. min_ms: held on the quietest network. max_ms: nothing that waited
    longer is played.
    """

    min_ms: float = 20.0
    max_ms: float = 400.0

    def __post_init__(self) -> None:
        if not (self.min_ms >= 0 and self.min_ms + LEAST_SPAN_MS <= self.max_ms <= LONGEST_MS):
            raise ConfigError(
                f"adaptive playout delay must lie within 0..{LONGEST_MS:g} ms and leave {LEAST_SPAN_MS:g} ms between its bounds, "
                f"got {self.min_ms:g}..{self.max_ms:g}"
            )


DEFAULT_BOUNDS = DelayBounds()


class AdaptivePlayout(JitterBuffer):
    """Every packet is played DelayTarget after the quickest packet of late would have arrived.

    When the buffer is empty the next packet is late, or lost: what is played in between is
    concealed, and the packet is still played when it comes, so that the delay grows at once by what
    the network needs. Surplus is played away. Memory is bounded by the greatest delay's worth of
    audio.
    """

    def __init__(
        self,
        *,
        packet_ms: float,
        samples_per_ms: float,
        bounds: DelayBounds = DEFAULT_BOUNDS,
        rule: DelayRule = OURS,
    ) -> None:
        """`samples_per_ms`: of capture times. Raises ConfigError unless 0 < packet_ms <=
        LEAST_SPAN_MS / 2.
        """
        super().__init__(packet_ms, bounds.max_ms)
        if packet_ms > LEAST_SPAN_MS / 2:
            raise ConfigError(
                f"packet duration must be at most {LEAST_SPAN_MS / 2:g} ms, got {packet_ms:g}"
            )
        self._samples_per_ms = samples_per_ms
        longest_ms = bounds.max_ms - 2 * packet_ms
        self._target = DelayTarget(
            packet_ms=packet_ms, min_ms=bounds.min_ms, max_ms=longest_ms, rule=rule
        )
        self._captures = Unwrapper()
        self._stalled = 0  # polls in a row that found nothing
        self._speed = 1.0
        self._waits: deque[float] = deque(maxlen=NEEDED_PACKETS)

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        number, arrival = self._admit(sequence, flags)
        if arrival is not None:
            return arrival
        media_ms = self._media_ms(capture_time)
        self._target.arrived(media_ms, now_ms)
        if number < self._first_playable:
            return self._too_late()
        if self._keep(number, Waiting(payload, flags, now_ms, media_ms, capture_time)):
            self._rebuffer()
        return Arrival.BUFFERED

    def poll(self, now_ms: float) -> Play | Conceal | None:
        """`now_ms`: when what is given will begin to be played."""
        self._last_poll_ms = now_ms
        self._drop_stale(now_ms)
        self._drop_overdue(now_ms)
        if self._next is not None:
            self._skip_what_was_concealed()
            if self._next in self._packets:
                return self._play(self._next, now_ms)
            if self._packets:
                return self._conceal(advance=True)
            if not self._ended and self._stalled * self._packet_ms < STALL_LIMIT_MS:
                return self._conceal(advance=False)
            self._rebuffer()
        return self._begin(now_ms)

    def _copied(self, copy: Copy, now_ms: float) -> Waiting:
        """A copy is as late as the packet that brings it is behind: where packets are lost, the
        delay grows to wait for copies.
        """
        media_ms = self._media_ms(copy.capture_time)
        self._target.arrived(media_ms, now_ms)
        return dataclasses.replace(super()._copied(copy, now_ms), media_ms=media_ms)

    @property
    def _first_playable(self) -> float:
        turns = [
            turn
            for turn in (self._next, None if self._polled is None else self._polled + 1)
            if turn is not None
        ]
        return max(turns, default=-math.inf)

    def _rebuffer(self) -> None:
        self._next, self._stalled = None, 0

    def _drop_overdue(self, now_ms: float) -> None:
        """After an outage TCP delivers at last what was said when it began: later than any delay
        that is played, however short it has waited here.
        """
        latest_ms = self._max_ms - self._target.ms
        overdue = [n for n in self._packets if now_ms - self._due_ms(n) > latest_ms]
        if not overdue:
            return
        for number in overdue:
            self._drop(number)
        if self._next is not None:
            self._next = max(self._next, max(overdue) + 1)

    @property
    def _wanted_ms(self) -> float:
        return self._target.ms

    def _media_ms(self, capture_time: int) -> float:
        return self._captures.unwrap(capture_time) / self._samples_per_ms

    def _due_ms(self, number: int) -> float:
        baseline_ms = self._target.baseline_ms
        assert baseline_ms is not None  # a packet is here, so one has arrived
        return baseline_ms + self._packets[number].media_ms + self._target.ms

    def _start(self, now_ms: float) -> int | None:
        """The oldest packet whose turn is not over, or the last one there is."""
        waiting = sorted(self._packets)
        if not waiting:
            return None
        slack_ms = max(self._packet_ms, PAUSE_SLACK_MS if self._paused else 0.0)
        return next((n for n in waiting if self._due_ms(n) > now_ms - slack_ms), waiting[-1])

    def _skip_what_was_concealed(self) -> None:
        """Packets came after a stall, and not the one that was waited for: it is lost, and its
        substitute has been heard.
        """
        assert self._next is not None
        if self._stalled and self._packets and self._next not in self._packets:
            self._next = min(self._next + self._stalled, min(self._packets))
            # what the decoder continued with stands for it: it need not begin anew
            self._polled = self._next - 1
        if self._packets:
            self._stalled = 0

    def _play(self, number: int, now_ms: float) -> Play:
        error_ms = now_ms - self._due_ms(number)
        if (
            error_ms > (OUTAGE_JUMP_MS if self._target.outage else JUMP_MS)
            and len(self._packets) > 1
        ):
            following = self._start(now_ms)
            assert following is not None
            if following > number:
                self._drop_before(following)
                number, error_ms = following, now_ms - self._due_ms(following)
        packet, waited_ms, follows = self._take(number, now_ms)
        self._stalled = 0
        self._waits.append(waited_ms)
        # Where the network has just become slower, the target does not know yet: packets that
        # barely came in time do.
        surplus_ms = min(self._waits) - NEEDED_MARGIN_MS
        last = list(self._waits)[-TIGHT_PACKETS:]
        tight_ms = sum(last) / len(last) - TIGHT_MS
        self._speed = _speed(min(error_ms, max(surplus_ms, 0.0), tight_ms), self._speed)
        sequence = number % SEQUENCE_MODULUS
        return Play(
            packet.payload,
            sequence,
            packet.flags,
            waited_ms,
            follows,
            self._speed,
            packet.capture_time,
        )

    def _conceal(self, *, advance: bool) -> Conceal:
        assert self._next is not None
        if not advance and not self._stalled:
            self._underruns += 1
        number = self._next + self._stalled
        self._concealed += 1
        if advance:
            self._next, self._polled = self._next + 1, self._next
        else:
            self._stalled += 1
        return Conceal(number % SEQUENCE_MODULUS)

    def _restart(self) -> None:
        super()._restart()
        self._target.forget()
        self._captures.restart()


def _speed(error_ms: float, before: float) -> float:
    """How fast to play what is `error_ms` later than it should be. Scaling goes on until the delay
    has settled.
    """
    scaling = abs(before - 1) > FINE_SPEED
    if error_ms > LATE_MS or (scaling and before > 1 and error_ms > SETTLED_MS):
        return FASTER if error_ms > FASTER_MS else FAST
    if error_ms < -EARLY_MS or (scaling and before < 1 and error_ms < -SETTLED_MS):
        return SLOW
    return 1 + min(FINE_SPEED, max(-FINE_SPEED, error_ms / FINE_TIME_MS))
