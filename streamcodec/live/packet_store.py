"""Packets that have arrived and have not been played yet. Sans-I/O: time is an argument.

When a packet is due, and what is played where it is missing, is decided by the playout buffer that
owns the store.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from ..errors import ConfigError
from ..wire.packet import SEQUENCE_MODULUS, Flags
from .playout import Arrival, Play, PlayoutStatistics
from .sequence import SequenceLedger, Verdict

SMOOTHED_PACKETS = 16  # weight of one packet's delay in the mean that is reported: 1/16


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A packet that waits to be played.

    at_ms: when it arrived. media_ms: when it was captured, by the sender's clock from any origin;
    0 in buffers that do not use it. capture_time: as on the wire. is_copy: a coarser copy that a
    later packet carried.
    """

    payload: bytes
    flags: Flags
    at_ms: float
    media_ms: float = 0.0
    capture_time: int = 0
    is_copy: bool = False

    def play(self, number: int, now_ms: float, *, follows: bool, speed: float = 1.0) -> Play:
        return Play(
            self.payload,
            number % SEQUENCE_MODULUS,
            self.flags,
            now_ms - self.at_ms,
            follows,
            speed,
            self.capture_time,
        )


class PacketStore:
    """Waiting packets by unwrapped sequence number; each number is accepted once, and what becomes
    of it is counted.

    Bounded by `max_ms` of audio, however fast packets come: the oldest is dropped first.
    """

    def __init__(self, packet_ms: float, max_ms: float) -> None:
        """Raises ConfigError unless 0 < packet_ms."""
        if not packet_ms > 0:
            raise ConfigError(f"packet duration must be above 0 ms, got {packet_ms:g}")
        self.packet_ms, self.max_ms = packet_ms, max_ms
        self._capacity = math.ceil(max_ms / packet_ms)
        self._ledger = SequenceLedger(self._capacity)
        self._packets: dict[int, Waiting] = {}
        self._late = self._skipped = self._played = self._recovered = 0
        self._delay_ms = 0.0

    @property
    def waiting(self) -> Mapping[int, Waiting]:
        """By unwrapped number, in no order."""
        return self._packets

    def enter(self, sequence: int, flags: Flags) -> tuple[int, Verdict]:
        """Counts a packet that arrived, `sequence` mod 2^32 -> its unwrapped number, and what that
        means. RESTART drops everything that waits; DUPLICATE and STRAY must not be added.
        """
        number, verdict = self._ledger.enter(sequence, flags)
        if verdict is Verdict.RESTART:
            self.drop(list(self._packets))
        elif verdict is Verdict.STRAY:
            self._late += 1
        return number, verdict

    def refuse(self) -> Arrival:
        """Counts a packet that entered after its turn."""
        self._late += 1
        return Arrival.LATE

    def missing(self, sequence: int) -> int | None:
        """The unwrapped number of a packet that neither came nor waits as a copy, though later ones
        came; None for any other.
        """
        number = self._ledger.missing(sequence)
        return None if number in self._packets else number

    def add(self, number: int, packet: Waiting) -> bool:
        """Adds a packet, in place of its copy if that waits. True where the store was full and its
        oldest was dropped.
        """
        self._packets[number] = packet
        full = len(self._packets) > self._capacity
        if full:
            self.drop([min(self._packets)])
        return full

    def take(self, number: int, now_ms: float) -> Waiting:
        """Removes a waiting packet because it is played now."""
        packet = self._packets.pop(number)
        self._played += 1
        self._recovered += packet.is_copy
        waited_ms = now_ms - packet.at_ms
        self._delay_ms += (waited_ms - self._delay_ms) / min(self._played, SMOOTHED_PACKETS)
        return packet

    def drop(self, numbers: Iterable[int]) -> None:
        """Removes waiting packets that will not be played."""
        for number in numbers:
            self._skipped += not self._packets.pop(number).is_copy

    def drop_before(self, number: int) -> None:
        self.drop([n for n in self._packets if n < number])

    def drop_stale(self, now_ms: float) -> bool:
        """Drops what has waited longer than `max_ms`. True where there was any."""
        stale = [n for n, packet in self._packets.items() if now_ms - packet.at_ms > self.max_ms]
        self.drop(stale)
        return bool(stale)

    def statistics(self, *, concealed: int, underruns: int, target_ms: float) -> PlayoutStatistics:
        """The store's counts with those that only the playout buffer knows."""
        return PlayoutStatistics(
            received=self._ledger.received,
            played=self._played,
            lost=self._ledger.lost,
            late=self._late,
            duplicate=self._ledger.duplicates,
            skipped=self._skipped,
            concealed=concealed,
            underruns=underruns,
            restarts=self._ledger.restarts,
            recovered=self._recovered,
            buffer_ms=len(self._packets) * self.packet_ms,
            delay_ms=self._delay_ms,
            target_ms=target_ms,
        )
