"""Discontinuous transmission (DTX): which packets are sent while the talker is silent. Sans-I/O:
counts packets, knows no clock.

A pause is announced by two packets with the DTX flag, in case one is lost. They hold the background
noise, from which the listener makes comfort noise; another one follows every DESCRIPTION_MS, and
nothing else until the talker speaks again. Packets keep their order.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

from ..wire.packet import Flags

HANGOVER_MS = 240.0  # sent after the last active packet, since the ends of words are faint
PRE_ROLL_MS = 60.0  # sent before the first active packet, since the beginnings are faint too
DESCRIPTION_MS = 400.0  # between descriptions of the background noise
ANNOUNCEMENTS = 2  # packets with the DTX flag at the beginning of a pause
T = TypeVar("T")


class DtxGate(Generic[T]):
    """Decides which packets are sent. T: whatever stands for a packet."""

    def __init__(self, packet_ms: float) -> None:
        self._hangover = math.ceil(HANGOVER_MS / packet_ms)
        self._description = max(1, math.floor(DESCRIPTION_MS / packet_ms))
        self._held: deque[T] = deque(maxlen=math.ceil(PRE_ROLL_MS / packet_ms))
        self._quiet = 0  # packets since the last active one
        self._since_description = 0

    @property
    def silent(self) -> bool:
        """A pause has begun: not every packet is sent."""
        return self._quiet > self._hangover

    def push(self, packet: T, active: bool) -> list[tuple[T, Flags]]:
        """For every packet of the encoder; active: it holds voice -> those to be sent now, with
        their flags.
        """
        if active:
            pre_roll = [(held, Flags.VOICE) for held in self._held]
            self._held.clear()
            self._quiet = 0
            return [*pre_roll, (packet, Flags.VOICE)]
        self._quiet += 1
        if not self.silent:
            return [(packet, Flags(0))]
        self._since_description += 1
        begins = self._quiet <= self._hangover + ANNOUNCEMENTS
        if begins or self._since_description >= self._description:
            self._held.clear()  # a pre-roll must not overtake a description that has been sent
            self._since_description = 0
            return [(packet, Flags.DTX)]
        self._held.append(packet)
        return []

    def reset(self) -> None:
        """A new connection: its listeners begin with the packets that are pushed from now on."""
        self._held.clear()
        self._quiet = self._since_description = 0
