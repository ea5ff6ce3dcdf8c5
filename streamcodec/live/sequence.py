"""Counters of one stream, mod 2^32 on the wire: unwrapped, and sequence numbers checked for
duplicates, gaps and restarts, and counted.
"""

from __future__ import annotations

import enum

from ..wire.packet import Flags, sequence_distance

LONGEST_LOSS = 1 << 16  # packets in a row; a sequence that continues further ahead is a new one


class Verdict(enum.Enum):
    """What a sequence number means."""

    NEW = "new"
    DUPLICATE = "duplicate"
    STRAY = "stray"  # far behind the newest: a very old packet
    GAP = "gap"  # new, and so far ahead that the packets in between are lost
    RESTART = "restart"  # new, and the first of a sequence that begins anew


class Unwrapper:
    """Turns a counter mod 2^32, such as capture time, into a number that goes on counting. Steps
    must be less than 2^31, in either direction.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        if self._last is None:
            self._last = value
        else:
            self._last += sequence_distance(value, self._last)
        return self._last

    def restart(self) -> None:
        """The next value has another origin."""
        self._last = None


class SequenceLedger:
    """Which sequence numbers have come, as unwrapped numbers.

    capacity: two packets of one sequence that are further apart are a gap, a stray packet or a
    restart; memory is bounded by a few times as many numbers.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._highest: int | None = None
        self._lowest = 0
        self._seen: set[int] = set()
        self._expected_restart: int | None = None
        self._unique = self._lost_before = 0
        self.received = self.duplicates = self.restarts = 0

    def enter(self, sequence: int, flags: Flags) -> tuple[int, Verdict]:
        """For every packet that arrives, `sequence` mod 2^32 -> its unwrapped number, and what it
        means.
        """
        self.received += 1
        number = sequence
        if self._highest is None:
            self._highest = self._lowest = number
        else:
            number = self._highest + sequence_distance(sequence, self._highest)
        jump = number - self._highest
        if self._begins_anew(jump, number, flags):
            self._restart(number)
            self._note(number)
            return number, Verdict.RESTART
        if jump < -self._capacity:
            self._expected_restart = number + 1
            return number, Verdict.STRAY
        if number in self._seen:
            self.duplicates += 1
            return number, Verdict.DUPLICATE
        self._note(number)
        return number, Verdict.GAP if jump > self._capacity else Verdict.NEW

    def missing(self, sequence: int) -> int | None:
        """The unwrapped number of a packet that has not come though later ones have; None where it
        has come, or is too old or too new to be missing.
        """
        if self._highest is None:
            return None
        number = self._highest + sequence_distance(sequence, self._highest)
        within = max(self._lowest, self._highest - self._capacity) <= number < self._highest
        return number if within and number not in self._seen else None

    @property
    def lost(self) -> int:
        """Numbers that never came."""
        missing = 0 if self._highest is None else self._highest - self._lowest + 1 - self._unique
        return self._lost_before + missing

    def _begins_anew(self, jump: int, number: int, flags: Flags) -> bool:
        """A far step ahead is an outage, whose packets are lost, and a far step back is a stray
        packet; unless the packet has the RESET flag, or its successor comes too (RFC 3550, appendix
        A.1).
        """
        if abs(jump) <= self._capacity:
            return False
        return (
            Flags.RESET in flags
            or jump > LONGEST_LOSS
            or (jump < 0 and number == self._expected_restart)
        )

    def _restart(self, number: int) -> None:
        self._lost_before = self.lost
        self._unique = 0
        self._seen.clear()
        self._highest = self._lowest = number
        self._expected_restart = None
        self.restarts += 1

    def _note(self, number: int) -> None:
        assert self._highest is not None
        self._unique += 1
        self._highest = max(self._highest, number)
        self._lowest = min(self._lowest, number)
        self._seen.add(number)
        if len(self._seen) > 4 * self._capacity:
            self._seen = {n for n in self._seen if n >= self._highest - self._capacity}
