"""Jitter buffer with an adaptive delay: as short as the network allows. Sans-I/O: time is an
argument.

Each Play asks for a speed. It keeps the delay constant where the clocks of talker and listener
drift, reduces delay that is no longer needed, and adds some where packets barely come in time.
"""

from __future__ import annotations

import dataclasses
import math

from ..errors import ConfigError
from ..wire.packet import SEQUENCE_MODULUS, Flags
from ..wire.redundancy import Copy
from .delay import OURS, DelayRule, DelayTarget
from .packet_store import PacketStore, Waiting
from .playout import Arrival, Conceal, Play, PlayoutStatistics
from .position import Position
from .sequence import Unwrapper, Verdict
from .speed import SpeedControl

LEAST_SPAN_MS = 120.0  # between the bounds of the delay: two packets of the longest kind
LONGEST_MS = 2_000.0
# concealed while the next packet may only be late; then silence and a new start
STALL_LIMIT_MS = 120.0
# packets that are later than this are skipped: playing seconds of them faster would take too long
JUMP_MS = 240.0
OUTAGE_JUMP_MS = 40.0  # the same after an outage: the conversation has moved on
# how late the first packets after a pause may be played: the sender held them back until it knew
# that they are voice
PAUSE_SLACK_MS = 80.0


@dataclasses.dataclass(frozen=True)
class DelayBounds:
    """Bounds of an adaptive delay. min_ms: kept on the quietest network. max_ms: nothing is played
    that waited longer.

    Raises ConfigError unless 0 <= min_ms, min_ms + 120 <= max_ms and max_ms <= 2000.
    """

    min_ms: float = 10.0
    max_ms: float = 400.0

    def __post_init__(self) -> None:
        if not (self.min_ms >= 0 and self.min_ms + LEAST_SPAN_MS <= self.max_ms <= LONGEST_MS):
            raise ConfigError(
                f"adaptive playout delay must lie within 0..{LONGEST_MS:g} ms and leave "
                f"{LEAST_SPAN_MS:g} ms between its bounds, got {self.min_ms:g}..{self.max_ms:g}"
            )


DEFAULT_BOUNDS = DelayBounds()


class AdaptivePlayout:
    """A PlayoutBuffer that plays each packet DelayTarget after the quickest packet of the last
    seconds would have arrived.

    While the buffer is empty the next packet is late or lost: its time is concealed, and it is
    still played when it comes, so that the delay grows at once by what the network needs. Surplus
    delay is reduced by playing faster. At most `bounds.max_ms` of audio are kept, the oldest
    dropped first.
    """

    def __init__(
        self,
        *,
        packet_ms: float,
        samples_per_ms: float,
        bounds: DelayBounds = DEFAULT_BOUNDS,
        rule: DelayRule = OURS,
    ) -> None:
        """samples_per_ms: unit of capture times. Raises ConfigError unless 0 < packet_ms <=
        LEAST_SPAN_MS / 2.
        """
        self._store = PacketStore(packet_ms, bounds.max_ms)
        if packet_ms > LEAST_SPAN_MS / 2:
            raise ConfigError(
                f"packet duration must be at most {LEAST_SPAN_MS / 2:g} ms, got {packet_ms:g}"
            )
        self._target = DelayTarget(
            packet_ms=packet_ms,
            min_ms=bounds.min_ms,
            max_ms=bounds.max_ms - 2 * packet_ms,
            rule=rule,
        )
        self._samples_per_ms = samples_per_ms
        self._captures = Unwrapper()
        self._position = Position()
        self._speed = SpeedControl()
        self._stalled = 0  # packets concealed since the buffer ran empty
        self._concealed = self._underruns = 0
        self._ended = False

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        number, verdict = self._store.enter(sequence, flags)
        if verdict is Verdict.DUPLICATE:
            return Arrival.DUPLICATE
        if verdict is Verdict.STRAY:
            return Arrival.LATE
        if verdict is Verdict.RESTART:
            self._position = Position()
            self._target.forget_baseline()
            self._captures.restart()
        if verdict in (Verdict.RESTART, Verdict.GAP):
            self._stop()
        media_ms = self._measure(capture_time, now_ms)
        if number < self._first_playable:
            return self._store.refuse()
        if self._store.add(number, Waiting(payload, flags, now_ms, media_ms, capture_time)):
            self._stop()
        return Arrival.BUFFERED

    def recover(self, copy: Copy, now_ms: float) -> bool:
        """A copy is as late as the packet that brings it is behind: where packets are lost, the
        delay grows to wait for copies.
        """
        number = self._store.missing(copy.sequence)
        if number is None or number < self._first_playable:
            return False
        media_ms = self._measure(copy.capture_time, now_ms)
        self._store.add(
            number,
            Waiting(copy.payload, Flags(0), now_ms, media_ms, copy.capture_time, is_copy=True),
        )
        return number in self._store.waiting

    def poll(self, now_ms: float) -> Play | Conceal | None:
        self._store.drop_stale(now_ms)
        self._drop_overdue(now_ms)
        self._skip_what_was_concealed()
        waiting, due = self._store.waiting, self._position.due
        if due is not None:
            if due in waiting:
                return self._play(due, now_ms)
            if waiting:
                return self._conceal_lost(due)
            if not self._ended and self._stalled * self._store.packet_ms < STALL_LIMIT_MS:
                return self._conceal_late(due)
            self._stop()
        return self._begin(now_ms)

    def end(self) -> None:
        self._ended = True

    def resume(self) -> None:
        self._ended = False

    @property
    def drained(self) -> bool:
        return self._ended and not self._store.waiting

    def statistics(self) -> PlayoutStatistics:
        return self._store.statistics(
            concealed=self._concealed, underruns=self._underruns, target_ms=self._target.ms
        )

    @property
    def _first_playable(self) -> float:
        """The first number whose turn is not over."""
        due, polled = self._position.due, self._position.polled
        return max(-math.inf if due is None else due, -math.inf if polled is None else polled + 1)

    def _measure(self, capture_time: int, now_ms: float) -> float:
        """Tells the target of an arrival -> its capture time in ms."""
        media_ms = self._captures.unwrap(capture_time) / self._samples_per_ms
        self._target.arrived(media_ms, now_ms)
        return media_ms

    def _stop(self) -> None:
        """Nothing plays until what waits is due."""
        self._position = self._position.stopped()
        self._stalled = 0

    def _due_ms(self, number: int) -> float:
        """When a waiting packet should be played."""
        baseline_ms = self._target.baseline_ms
        assert baseline_ms is not None  # a packet waits, so one has arrived
        return baseline_ms + self._store.waiting[number].media_ms + self._target.ms

    def _drop_overdue(self, now_ms: float) -> None:
        """After an outage TCP delivers what was captured when it began: later than any delay that
        is played, however short it has waited here.
        """
        latest_ms = self._store.max_ms - self._target.ms
        overdue = [n for n in self._store.waiting if now_ms - self._due_ms(n) > latest_ms]
        self._store.drop(overdue)
        due = self._position.due
        if overdue and due is not None:
            self._position = self._position.skipped_to(max(due, max(overdue) + 1))

    def _skip_what_was_concealed(self) -> None:
        """Where packets came after a stall, and not the one that was waited for, that one is lost.
        It has been concealed already, which is what the decoder goes on from.
        """
        waiting, due = self._store.waiting, self._position.due
        if due is None or not waiting:
            return
        if self._stalled and due not in waiting:
            goes_on_with = min(due + self._stalled, min(waiting))
            self._position = self._position.after_concealing(goes_on_with - 1)
        self._stalled = 0

    def _start(self, now_ms: float) -> int:
        """The oldest packet whose turn is not over, or else the newest. Something must wait."""
        slack_ms = max(self._store.packet_ms, PAUSE_SLACK_MS if self._position.paused else 0.0)
        waiting = sorted(self._store.waiting)
        return next((n for n in waiting if self._due_ms(n) > now_ms - slack_ms), waiting[-1])

    def _begin(self, now_ms: float) -> Play | None:
        """Begins a new stretch once its first packet is due."""
        if not self._store.waiting:
            return None
        start = self._start(now_ms)
        if self._due_ms(start) > now_ms:
            return None
        self._store.drop_before(start)
        return self._play(start, now_ms)

    def _play(self, number: int, now_ms: float) -> Play:
        latest_ms = OUTAGE_JUMP_MS if self._target.outage else JUMP_MS
        if now_ms - self._due_ms(number) > latest_ms:
            number = max(number, self._start(now_ms))
            self._store.drop_before(number)
        error_ms = now_ms - self._due_ms(number)
        packet = self._store.take(number, now_ms)
        speed = self._speed.next(error_ms, now_ms - packet.at_ms)
        play = packet.play(number, now_ms, follows=self._position.follows(number), speed=speed)
        self._position = self._position.after_playing(number, packet.flags)
        self._stalled = 0
        return play

    def _conceal_lost(self, number: int) -> Conceal:
        """Later packets wait: the one that is due is lost, and its turn is over."""
        self._concealed += 1
        self._position = self._position.after_concealing(number)
        return Conceal(number % SEQUENCE_MODULUS)

    def _conceal_late(self, due: int) -> Conceal:
        """Nothing waits: the packet that is due may only be late, and keeps its turn."""
        if not self._stalled:
            self._underruns += 1
        number = due + self._stalled
        self._concealed += 1
        self._stalled += 1
        return Conceal(number % SEQUENCE_MODULUS)
