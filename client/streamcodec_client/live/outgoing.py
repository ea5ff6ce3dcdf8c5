"""Packets on their way out: the numbers, flags and copies that they get when they are sent."""

from __future__ import annotations

import dataclasses

from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet
from streamcodec.wire.redundancy import CopyHistory
from streamcodec.wire.session import StreamInfo


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """A packet, the connection that it was encoded for, and when (monotonic ns) it passed the
    stages before the socket.
    """

    packet: Packet
    connection: int
    captured_ns: int  # when the last sample of the packet was captured
    encode_start_ns: int
    encoded_ns: int
    copy: bytes = b""  # the same sound at lower quality, for later packets to carry


class PacketSequence:
    """Finishes packets in the order in which they are sent, so that a packet which is left out
    leaves no gap in the sequence numbers.
    """

    def __init__(self, info: StreamInfo) -> None:
        self._history = CopyHistory(info.redundancy, info.packet_samples)
        self._next = 0
        self._marks = Flags(0)

    def carry_copies(self, distance: int) -> None:
        """How many packets back the copy lies that each packet carries from now on, at most what
        the stream's info announced; 0: none. May be called from any thread.
        """
        self._history.distance = distance

    def mark(self, flags: Flags) -> None:
        """The next packet has these flags besides its own."""
        self._marks |= flags

    def finish(self, outgoing: Outgoing, flags: Flags = Flags(0)) -> Outgoing:  # noqa: B008 - immutable
        """The packet with its sequence number, its flags and the copy of an earlier packet."""
        flags, self._marks = flags | self._marks, Flags(0)
        packet = dataclasses.replace(
            outgoing.packet, flags=flags, sequence=self._next % SEQUENCE_MODULUS
        )
        self._next += 1
        return dataclasses.replace(outgoing, packet=self._history.add(packet, outgoing.copy))
