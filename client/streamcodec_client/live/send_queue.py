"""Packets that wait for the socket. Knows no clock: times are arguments."""

from __future__ import annotations

import dataclasses
from collections import deque

from streamcodec.wire.packet import Flags

from .outgoing import Outgoing

QUEUE_LIMIT_MS = 200.0  # what waits longer for the socket would be played too late
CARRIED_FLAGS = Flags.RESET | Flags.DISCONTINUITY


class SendQueue:
    """Keeps packets for at most `limit_ms`, drops the oldest first, and gives none that was encoded
    for another connection than the one it is sent over.

    Where a dropped packet told of a reset or a gap, the next one of its connection tells of it.
    """

    def __init__(self, limit_ms: float = QUEUE_LIMIT_MS) -> None:
        self._limit_ns = round(limit_ms * 1e6)
        self._waiting: deque[Outgoing] = deque()
        self._carried = Flags(0)  # what dropped packets told of
        self._connection = 0  # for which they were encoded
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, outgoing: Outgoing, now_ns: int) -> None:
        """Adds a packet behind the others."""
        self._waiting.append(outgoing)
        self._drop_old(now_ns)

    def take(self, now_ns: int, connection: int | None) -> Outgoing | None:
        """The oldest packet that is worth sending over `connection`; None where there is none."""
        self._drop_old(now_ns)
        while self._waiting:
            outgoing = self._waiting.popleft()
            if outgoing.connection != connection:
                self.dropped += 1
                continue
            carried = self._carried if connection == self._connection else Flags(0)
            self._carried = Flags(0)
            packet = dataclasses.replace(outgoing.packet, flags=outgoing.packet.flags | carried)
            return dataclasses.replace(outgoing, packet=packet)
        return None

    def _drop_old(self, now_ns: int) -> None:
        while self._waiting and now_ns - self._waiting[0].encoded_ns > self._limit_ns:
            outgoing = self._waiting.popleft()
            self.dropped += 1
            if outgoing.connection != self._connection:
                self._connection, self._carried = outgoing.connection, Flags(0)
            self._carried |= outgoing.packet.flags & CARRIED_FLAGS
