"""Discontinuous transmission: which packets of a talker who falls silent are sent. Sans-I/O; counts
packets, knows no clock.

What comes out keeps the order in which it came in. A pause is announced by a packet with the DTX
flag, which is what the background sounds like, and by the next one, in case that is lost; another
follows every DESCRIPTION_MS, and nothing else until somebody speaks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

from ..wire.packet import Flags

HANGOVER_MS = 240.0  # sent after the last active packet: the ends of words are faint
PRE_ROLL_MS = 60.0  # sent before the first active packet: so are their beginnings
DESCRIPTION_MS = 400.0
ANNOUNCEMENTS = 2  # of a pause: one that is lost would make it a loss
T = TypeVar("T")


class DtxGate(Generic[T]):
    """`push` for every packet of the encoder -> those to be sent now, with the flags that say what
    they are.
    """

    def __init__(self, packet_ms: float) -> None:
        self._hangover = math.ceil(HANGOVER_MS / packet_ms)
        self._description = max(1, math.floor(DESCRIPTION_MS / packet_ms))
        self._held: deque[T] = deque(maxlen=math.ceil(PRE_ROLL_MS / packet_ms))
        self._quiet = 0  # packets since somebody spoke
        self._since_description = 0

    @property
    def silent(self) -> bool:
        return self._quiet > self._hangover

    def push(self, packet: T, active: bool) -> list[tuple[T, Flags]]:
        if active:
            said = [(held, Flags.VOICE) for held in self._held]
            self._held.clear()
            self._quiet = 0
            return [*said, (packet, Flags.VOICE)]
        self._quiet += 1
        if not self.silent:
            return [(packet, Flags(0))]
        self._since_description += 1
        begins = self._quiet <= self._hangover + ANNOUNCEMENTS
        if begins or self._since_description >= self._description:
            self._held.clear()  # what is older than a description has been described
            self._since_description = 0
            return [(packet, Flags.DTX)]
        self._held.append(packet)
        return []

    def reset(self) -> None:
        """A new connection: whoever listens there begins with what is said next."""
        self._held.clear()
        self._quiet = self._since_description = 0
