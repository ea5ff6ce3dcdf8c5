"""Jitter buffer with a fixed delay. Sans-I/O: time is an argument."""

from __future__ import annotations

import dataclasses
import math

from ..errors import ConfigError
from ..wire.packet import SEQUENCE_MODULUS, Flags
from ..wire.redundancy import Copy
from .packet_store import PacketStore, Waiting
from .playout import Arrival, Conceal, Play, PlayoutStatistics
from .position import Position
from .sequence import Verdict

# a decoder's continuation is worth hearing for about this long; then silence and a new start
CONCEAL_LIMIT_MS = 60.0
TRIM_WINDOW_MS = 2_000.0  # delay that no packet needed for so long is surplus
TRIM_MARGIN_PACKETS = 1.5  # a smaller surplus is not worth a splice


@dataclasses.dataclass(frozen=True, slots=True)
class WaitWindow:
    """The shortest wait of the packets played in the last `length_ms` of audio."""

    length_ms: float = 0.0
    shortest_ms: float = math.inf

    def add(self, packet_ms: float, waited_ms: float) -> WaitWindow:
        return WaitWindow(self.length_ms + packet_ms, min(self.shortest_ms, waited_ms))


class FixedPlayout:
    """A PlayoutBuffer that plays each packet `target_ms` after the quickest packet of its stretch
    would have arrived.

    A packet that misses its turn is concealed, and dropped when it comes: the delay stays. After
    CONCEAL_LIMIT_MS without a packet the network's delay has changed, or the talker paused: the
    buffer falls silent, and the packets that come next set a new timeline. Delay that no packet
    needed for TRIM_WINDOW_MS is cut out. At most `max_ms` of audio are kept, the oldest dropped
    first, and nothing is played that waited longer.
    """

    def __init__(self, *, packet_ms: float, target_ms: float = 60.0, max_ms: float = 400.0) -> None:
        """Raises ConfigError unless 0 < packet_ms and 0 <= target_ms <= max_ms - 2 packets."""
        self._store = PacketStore(packet_ms, max_ms)
        if not 0 <= target_ms <= max_ms - 2 * packet_ms:
            raise ConfigError(
                f"playout delay must be 0 to {max_ms - 2 * packet_ms:g} ms, got {target_ms:g}"
            )
        self._target_ms = target_ms
        self._position = Position()
        self._waits = WaitWindow()
        self._concealed_run_ms = 0.0  # concealed since a packet was played
        self._concealed = self._underruns = 0
        self._ended = False

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        """`capture_time` sets no delay here: a gap in capture is heard as a pause."""
        number, verdict = self._store.enter(sequence, flags)
        if verdict is Verdict.DUPLICATE:
            return Arrival.DUPLICATE
        if verdict is Verdict.STRAY:
            return Arrival.LATE
        if verdict is Verdict.RESTART:
            self._position = Position()
        if verdict in (Verdict.RESTART, Verdict.GAP):
            self._stop()
        if number < self._first_playable:
            return self._store.refuse()
        if self._store.add(number, Waiting(payload, flags, now_ms, capture_time=capture_time)):
            self._stop()
        return Arrival.BUFFERED

    def recover(self, copy: Copy, now_ms: float) -> bool:
        number = self._store.missing(copy.sequence)
        if number is None or number < self._first_playable:
            return False
        packet = Waiting(
            copy.payload, Flags(0), now_ms, capture_time=copy.capture_time, is_copy=True
        )
        self._store.add(number, packet)
        return number in self._store.waiting

    def poll(self, now_ms: float) -> Play | Conceal | None:
        if self._store.drop_stale(now_ms):
            self._stop()
        waiting, due = self._store.waiting, self._position.due
        if due is not None:
            if due in waiting:
                return self._play(due, now_ms)
            if waiting or (not self._ended and self._concealed_run_ms < CONCEAL_LIMIT_MS):
                return self._conceal(due)
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
            concealed=self._concealed, underruns=self._underruns, target_ms=self._target_ms
        )

    @property
    def _first_playable(self) -> float:
        """The first number whose turn is not over."""
        if self._position.due is not None:
            return self._position.due
        # A new stretch may still play what was concealed at the end of the last one.
        return -math.inf if self._position.played is None else self._position.played + 1

    def _stop(self) -> None:
        """Nothing plays until what waits is due on a new timeline."""
        self._position = self._position.stopped()
        self._concealed_run_ms = 0.0
        self._waits = WaitWindow()

    def _due_ms(self, number: int) -> float:
        """When a new stretch should play `number`. The quickest of the waiting packets says what
        the network's delay is, so that a burst after a stall adds none.
        """
        packet_ms = self._store.packet_ms
        anchor = min(p.at_ms - n * packet_ms for n, p in self._store.waiting.items())
        return anchor + self._target_ms + number * packet_ms

    def _begin(self, now_ms: float) -> Play | None:
        """Begins a new stretch with the oldest packet whose turn is not over, or else with the
        newest, once that is due.
        """
        if not self._store.waiting:
            return None
        first, last = min(self._store.waiting), max(self._store.waiting)
        behind = math.floor((now_ms - self._due_ms(first)) / self._store.packet_ms)
        earliest = min(first + max(behind, 0), last)
        start = min(n for n in self._store.waiting if n >= earliest)
        if self._due_ms(start) > now_ms:
            return None
        self._store.drop_before(start)
        return self._play(start, now_ms)

    def _play(self, number: int, now_ms: float) -> Play:
        packet = self._store.take(number, now_ms)
        play = packet.play(number, now_ms, follows=self._position.follows(number))
        self._position = self._position.after_playing(number, packet.flags)
        self._concealed_run_ms = 0.0
        if self._position.due is None:
            self._stop()
        else:
            self._trim(self._position.due, play.waited_ms)
        return play

    def _conceal(self, number: int) -> Conceal:
        if not self._store.waiting and self._concealed_run_ms == 0:
            self._underruns += 1
        self._position = self._position.after_concealing(number)
        self._concealed_run_ms += self._store.packet_ms
        self._concealed += 1
        return Conceal(number % SEQUENCE_MODULUS)

    def _trim(self, due: int, waited_ms: float) -> None:
        """Skips whole packets of delay that nothing needs: left by a stretch that began with a
        delayed packet, or by a sink that is slower than the source.
        """
        packet_ms = self._store.packet_ms
        self._waits = self._waits.add(packet_ms, waited_ms)
        if self._waits.length_ms < TRIM_WINDOW_MS:
            return
        surplus_ms = self._waits.shortest_ms - self._target_ms
        self._waits = WaitWindow()
        if surplus_ms > TRIM_MARGIN_PACKETS * packet_ms:
            skipped_to = due + int(surplus_ms / packet_ms)
            self._position = self._position.skipped_to(skipped_to)
            self._store.drop_before(skipped_to)
