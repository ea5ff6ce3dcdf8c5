"""Jitter buffer: packets come in when the network likes, one leaves per packet duration. Sans-I/O:
time is an argument.

The buffer is pulled by the sound sink, so it has no clock of its own to drift: `poll` is called
whenever audio needs one packet more.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import math
from typing import Protocol

from ..errors import ConfigError
from ..wire.packet import SEQUENCE_MODULUS, Flags
from ..wire.redundancy import Copy
from .sequence import SequenceLedger, Verdict

# a decoder's continuation is worth hearing for about this long; then silence and a new start
CONCEAL_LIMIT_MS = 60.0
TRIM_WINDOW_MS = 2_000.0  # delay that no packet of so long a time has needed is surplus
TRIM_MARGIN_PACKETS = 1.5  # surplus below this is not worth a splice


class Arrival(enum.Enum):
    """What became of a packet that was received."""

    BUFFERED = "buffered"
    LATE = "late"  # its turn was over: it will not be played
    DUPLICATE = "duplicate"


@dataclasses.dataclass(frozen=True, slots=True)
class Play:
    """Decode and play this payload. Where it does not `follow` what was polled before, the decoder
    must be reset first.
    """

    payload: bytes
    sequence: int
    flags: Flags
    waited_ms: float
    follows: bool
    speed: float = 1.0  # how much faster than it was spoken it should be played
    capture_time: int = 0  # as on the wire


@dataclasses.dataclass(frozen=True, slots=True)
class Conceal:
    """Packet `sequence` is due and not here: play a substitute of one packet's length."""

    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutStatistics:
    """Counts since the beginning. received = played - recovered + late + duplicate + skipped + what
    is buffered, without copies.
    """

    received: int
    played: int
    lost: int  # sequence numbers that never came
    late: int  # came after their turn
    duplicate: int
    skipped: int  # came in time and were dropped to keep the delay bounded
    concealed: int  # polls that were answered with Conceal
    underruns: int  # times that the buffer ran empty while playing
    restarts: int  # times that the sequence numbers began anew
    recovered: int  # played from a coarser copy that a later packet brought
    buffer_ms: float
    delay_ms: float  # from arrival to poll, smoothed
    target_ms: float


class PlayoutBuffer(Protocol):
    """What a receiver needs of a jitter buffer. Not thread-safe: one thread receives and polls."""

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        """A packet arrived. `sequence` and `capture_time` as on the wire, mod 2^32."""
        ...

    def recover(self, copy: Copy, now_ms: float) -> bool:
        """A later packet, which was received before, brought a coarser copy of this one. True where
        it will be of use.
        """
        ...

    def poll(self, now_ms: float) -> Play | Conceal | None:
        """Audio needs one packet more. None: nothing is due, play silence and ask again soon."""
        ...

    def next_event_at(self) -> float | None:
        """When `poll` will next have something to give, in the same milliseconds; None while there
        is nothing to wait for.
        """
        ...

    def end(self) -> None:
        """No more will come: play what is here and conceal nothing after it."""
        ...

    def resume(self) -> None:
        """Takes `end` back: the talker was only muted."""
        ...

    @property
    def drained(self) -> bool:
        """Ended, and all was played."""
        ...

    def statistics(self) -> PlayoutStatistics: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A packet that has come and whose turn has not. media_ms: time of capture, where the buffer
    minds it.
    """

    payload: bytes
    flags: Flags
    at_ms: float
    media_ms: float = 0.0
    capture_time: int = 0
    is_copy: bool = False


class JitterBuffer(abc.ABC):
    """What every playout buffer does: admits a packet once, counts what becomes of it, and keeps
    nothing that has grown stale.

    When a packet is due, and what is done where none is there, is the buffer's own.
    """

    def __init__(self, packet_ms: float, max_ms: float) -> None:
        """Raises ConfigError unless 0 < packet_ms."""
        if not packet_ms > 0:
            raise ConfigError(f"packet duration must be above 0 ms, got {packet_ms:g}")
        self._packet_ms, self._max_ms = packet_ms, max_ms
        self._capacity = math.ceil(max_ms / packet_ms)
        self._ledger = SequenceLedger(self._capacity)  # sequence numbers in here are unwrapped
        self._packets: dict[int, Waiting] = {}
        self._next: int | None = None  # whose turn it is; None while nothing plays
        self._paused = False  # what was played last said that nothing follows for now
        self._polled: int | None = None  # last sequence that was heard or concealed
        self._last_poll_ms = 0.0
        self._ended = False
        self._played = self._late = self._skipped = self._concealed = self._underruns = (
            self._recovered
        ) = 0
        self._delay_ms = 0.0

    def next_event_at(self) -> float | None:
        if self._next is not None:
            return self._last_poll_ms + self._packet_ms
        return self._due_ms(min(self._packets)) if self._packets else None

    def recover(self, copy: Copy, now_ms: float) -> bool:
        number = self._ledger.missing(copy.sequence)
        if number is None or number in self._packets or number < self._first_playable:
            return False
        self._keep(number, self._copied(copy, now_ms))
        return number in self._packets

    def end(self) -> None:
        self._ended = True

    def resume(self) -> None:
        self._ended = False

    @property
    def drained(self) -> bool:
        return self._ended and not self._packets

    def statistics(self) -> PlayoutStatistics:
        return PlayoutStatistics(
            received=self._ledger.received,
            played=self._played,
            lost=self._ledger.lost,
            late=self._late,
            duplicate=self._ledger.duplicates,
            skipped=self._skipped,
            concealed=self._concealed,
            underruns=self._underruns,
            restarts=self._ledger.restarts,
            recovered=self._recovered,
            buffer_ms=len(self._packets) * self._packet_ms,
            delay_ms=self._delay_ms,
            target_ms=self._wanted_ms,
        )

    @property
    @abc.abstractmethod
    def _wanted_ms(self) -> float:
        """The delay that is aimed at now."""

    @property
    @abc.abstractmethod
    def _first_playable(self) -> float:
        """The first number whose turn is not over."""

    @abc.abstractmethod
    def _rebuffer(self) -> None:
        """Whose turn it was may never come: nothing plays until what waits is due."""

    @abc.abstractmethod
    def _due_ms(self, number: int) -> float:
        """When a waiting packet should be played."""

    @abc.abstractmethod
    def _start(self, now_ms: float) -> int | None:
        """The packet that a new stretch begins with, None where there is none."""

    @abc.abstractmethod
    def _play(self, number: int, now_ms: float) -> Play:
        """A waiting packet's turn has come."""

    def _copied(self, copy: Copy, now_ms: float) -> Waiting:
        return Waiting(copy.payload, Flags(0), now_ms, capture_time=copy.capture_time, is_copy=True)

    def _begin(self, now_ms: float) -> Play | None:
        """Nothing plays: a new stretch, once its first packet is due."""
        start = self._start(now_ms)
        if start is None or self._due_ms(start) > now_ms:
            return None
        self._drop_before(start)
        return self._play(start, now_ms)

    def _admit(self, sequence: int, flags: Flags) -> tuple[int, Arrival | None]:
        """-> unwrapped number, and what became of a packet that is not to be looked at any
        further.
        """
        number, verdict = self._ledger.enter(sequence, flags)
        if verdict is Verdict.RESTART:
            self._restart()
        if verdict is Verdict.GAP:
            self._rebuffer()
        if verdict is Verdict.DUPLICATE:
            return number, Arrival.DUPLICATE
        return number, self._too_late() if verdict is Verdict.STRAY else None

    def _too_late(self) -> Arrival:
        self._late += 1
        return Arrival.LATE

    def _restart(self) -> None:
        for waiting in list(self._packets):
            self._drop(waiting)
        self._polled = None
        self._paused = False
        self._rebuffer()

    def _take(self, number: int, now_ms: float) -> tuple[Waiting, float, bool]:
        """The packet that is played now -> it, how long it waited, and whether it follows what was
        polled before.
        """
        packet = self._packets.pop(number)
        waited_ms = now_ms - packet.at_ms
        follows = self._polled is not None and number == self._polled + 1
        # After a packet that describes silence there is a pause, and no loss.
        self._paused = Flags.DTX in packet.flags
        self._next, self._polled = None if self._paused else number + 1, number
        self._played += 1
        self._recovered += packet.is_copy
        self._delay_ms += (waited_ms - self._delay_ms) / min(self._played, 16)
        return packet, waited_ms, follows

    def _keep(self, number: int, packet: Waiting) -> bool:
        """True where the oldest had to go for it: memory is bounded whatever a talker sends, and
        however fast.
        """
        self._packets[number] = packet
        full = len(self._packets) > self._capacity
        if full:
            self._drop(min(self._packets))
        return full

    def _drop(self, number: int) -> None:
        self._skipped += not self._packets.pop(number).is_copy

    def _drop_before(self, number: int) -> None:
        for passed in [n for n in self._packets if n < number]:
            self._drop(passed)

    def _drop_stale(self, now_ms: float) -> bool:
        """True where there were any."""
        stale = [n for n, packet in self._packets.items() if now_ms - packet.at_ms > self._max_ms]
        for number in stale:
            self._drop(number)
        return bool(stale)


class FixedPlayout(JitterBuffer):
    """Every packet is played `target_ms` after the quickest packet of its stretch would have
    arrived.

    A packet that misses its turn is concealed and dropped when it comes: the delay stays. When the
    buffer has run empty for CONCEAL_LIMIT_MS the network's delay has changed (or the talker
    paused): it falls silent, and the next packets set the timeline anew. Delay that was never
    needed for TRIM_WINDOW_MS is cut out. Memory is bounded by `max_ms` of audio, oldest dropped
    first, and nothing is played that waited longer than that.
    """

    def __init__(self, *, packet_ms: float, target_ms: float = 60.0, max_ms: float = 400.0) -> None:
        """Raises ConfigError unless 0 < packet_ms and 0 <= target_ms <= max_ms - 2 packets."""
        super().__init__(packet_ms, max_ms)
        if not 0 <= target_ms <= max_ms - 2 * packet_ms:
            raise ConfigError(
                f"playout delay must be 0 to {max_ms - 2 * packet_ms:g} ms, got {target_ms:g}"
            )
        self._target_ms = target_ms
        self._played_to: int | None = None  # last sequence that was heard
        self._concealed_run_ms = 0.0
        self._least_wait_ms, self._window_ms = math.inf, 0.0

    def receive(
        self, sequence: int, capture_time: int, payload: bytes, flags: Flags, now_ms: float
    ) -> Arrival:
        """`capture_time` is not needed by a fixed delay: a gap in capture arrives as a pause."""
        number, arrival = self._admit(sequence, flags)
        if arrival is not None:
            return arrival
        if number < self._first_playable:
            return self._too_late()
        if self._keep(number, Waiting(payload, flags, now_ms, capture_time=capture_time)):
            self._rebuffer()
        return Arrival.BUFFERED

    def poll(self, now_ms: float) -> Play | Conceal | None:
        self._last_poll_ms = now_ms
        if self._drop_stale(now_ms):
            self._rebuffer()
        if self._next is not None:
            if self._next in self._packets:
                return self._play(self._next, now_ms)
            if self._packets or (not self._ended and self._concealed_run_ms < CONCEAL_LIMIT_MS):
                return self._conceal(self._next)
            self._rebuffer()
        return self._begin(now_ms)

    @property
    def _wanted_ms(self) -> float:
        return self._target_ms

    def _restart(self) -> None:
        super()._restart()
        self._played_to = None

    @property
    def _first_playable(self) -> float:
        if self._next is not None:
            return self._next
        # A stretch that begins may still play what was concealed at the end of the last one: nobody
        # has heard it.
        return -math.inf if self._played_to is None else self._played_to + 1

    def _rebuffer(self) -> None:
        self._next = None
        self._concealed_run_ms = 0.0
        self._least_wait_ms, self._window_ms = math.inf, 0.0

    def _due_ms(self, number: int) -> float:
        """The quickest of the waiting packets says what the network's delay is; a burst after a
        stall is no reason for more.
        """
        anchor = min(arrived.at_ms - n * self._packet_ms for n, arrived in self._packets.items())
        return anchor + self._target_ms + number * self._packet_ms

    def _start(self, now_ms: float) -> int | None:
        """The packet that a new stretch begins with: the oldest whose turn is not over, or the last
        one there is.
        """
        if not self._packets:
            return None
        first, last = min(self._packets), max(self._packets)
        behind = math.floor((now_ms - self._due_ms(first)) / self._packet_ms)
        earliest = min(first + max(behind, 0), last)
        return min(n for n in self._packets if n >= earliest)

    def _play(self, number: int, now_ms: float) -> Play:
        packet, waited_ms, follows = self._take(number, now_ms)
        self._played_to = number
        self._concealed_run_ms = 0.0
        if self._next is None:
            self._rebuffer()
        else:
            self._trim(waited_ms)
        sequence = number % SEQUENCE_MODULUS
        return Play(
            packet.payload,
            sequence,
            packet.flags,
            waited_ms,
            follows,
            capture_time=packet.capture_time,
        )

    def _conceal(self, number: int) -> Conceal:
        if not self._packets and self._concealed_run_ms == 0:
            self._underruns += 1
        self._next, self._polled = number + 1, number
        self._concealed_run_ms += self._packet_ms
        self._concealed += 1
        return Conceal(number % SEQUENCE_MODULUS)

    def _trim(self, waited_ms: float) -> None:
        """A stretch that began with a delayed packet, or a sink slower than the source, leaves
        delay that nothing needs.
        """
        self._least_wait_ms = min(self._least_wait_ms, waited_ms)
        self._window_ms += self._packet_ms
        if self._window_ms < TRIM_WINDOW_MS:
            return
        surplus_ms = self._least_wait_ms - self._target_ms
        self._least_wait_ms, self._window_ms = math.inf, 0.0
        if surplus_ms <= TRIM_MARGIN_PACKETS * self._packet_ms:
            return
        assert self._next is not None
        self._next += int(surplus_ms / self._packet_ms)
        self._drop_before(self._next)
