"""Packets that carry coarser copies of those before them, so that a loss is heard as lower quality
and not as a hole. Sans-I/O.

The idea is libopus' DRED (Valin et al. 2022), with ordinary payloads of a low quality level in
place of a second format. Where nothing is lost on the way, as over TCP, it is bits for nothing: off
unless asked for.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

from ..config import MAX_PAYLOAD_BYTES
from ..errors import ConfigError, MalformedPacket
from .packet import HEADER_BYTES, SEQUENCE_MODULUS, Flags, Packet, PacketType

MAX_COPIES = 4
MAX_COPY_BYTES = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """A coarser payload of the packet `sequence`; numbers as on the wire."""

    sequence: int
    capture_time: int
    payload: bytes


class CopyHistory:
    """What the last packets said, for those that follow."""

    def __init__(self, copies: int, packet_samples: int) -> None:
        """Raises ConfigError for more copies than a packet may carry."""
        if not 0 <= copies <= MAX_COPIES:
            raise ConfigError(
                f"a packet can carry 0 to {MAX_COPIES} copies of earlier ones, got {copies}"
            )
        self._packet_samples = packet_samples
        self.wanted = copies  # of those that are kept, so many are carried
        self._copies: deque[bytes] = deque(maxlen=copies)  # newest first
        self._expected: int | None = None  # capture time of the packet that follows the newest

    def add(self, packet: Packet, copy: bytes) -> Packet:
        """The packet with the copies it should carry. `copy`: its own coarser payload, kept for
        later ones.
        """
        if self._copies.maxlen == 0:
            return packet
        if Flags.RESET in packet.flags or packet.capture_time != self._expected:
            # a copy is known by its distance: behind a gap it would be taken for another time
            self._copies.clear()
        self._expected = (packet.capture_time + self._packet_samples) % SEQUENCE_MODULUS
        carried = packet
        copies = list(self._copies)[: self.wanted]
        if any(copies) and packet.payload:
            payload = join(copies, packet.payload)
            if len(payload) <= MAX_PAYLOAD_BYTES:
                carried = dataclasses.replace(
                    packet, type=PacketType.AUDIO_WITH_COPIES, payload=payload
                )
        self._copies.appendleft(copy if len(copy) <= MAX_COPY_BYTES else b"")
        return carried


def join(copies: Sequence[bytes], payload: bytes) -> bytes:
    """Newest first -> number of copies, length of each (0: none of that packet), the copies, the
    payload.
    """
    return bytes([len(copies), *map(len, copies)]) + b"".join(copies) + payload


def limited(datagram: bytes, most: int) -> bytes:
    """A datagram with the newest `most` of its copies, for a listener that takes no more; others
    are given back as they are.

    Raises MalformedPacket for copies that are none.
    """
    if not datagram or datagram[0] & 0x0F != PacketType.AUDIO_WITH_COPIES:
        return datagram
    header, data = datagram[:HEADER_BYTES], datagram[HEADER_BYTES:]
    lengths, start = _layout(data)
    if most >= len(lengths):
        return datagram
    end = start + sum(lengths)
    kept = lengths[:most]
    if any(kept):
        return header + bytes([most]) + kept + data[start : start + sum(kept)] + data[end:]
    return bytes([header[0] & 0xF0 | PacketType.AUDIO]) + header[1:] + data[end:]


def separate(packet: Packet, packet_samples: int) -> tuple[Packet, list[Copy]]:
    """A packet as it would be without redundancy, and the copies that it carries, newest first.
    Raises MalformedPacket.
    """
    if packet.type != PacketType.AUDIO_WITH_COPIES:
        return packet, []
    data = packet.payload
    lengths, start = _layout(data)
    copies = []
    for back, length in enumerate(lengths, start=1):
        if length:
            sequence = (packet.sequence - back) % SEQUENCE_MODULUS
            capture_time = (packet.capture_time - back * packet_samples) % SEQUENCE_MODULUS
            copies.append(Copy(sequence, capture_time, data[start : start + length]))
        start += length
    return dataclasses.replace(packet, type=PacketType.AUDIO, payload=data[start:]), copies


def _layout(data: bytes) -> tuple[bytes, int]:
    """-> length of each copy, and where the first begins. Raises MalformedPacket."""
    count = data[0] if data else 0
    lengths = data[1 : 1 + count]
    start = 1 + count
    if not 0 < count <= MAX_COPIES or len(lengths) < count or start + sum(lengths) >= len(data):
        raise MalformedPacket(
            f"packet of {len(data)} bytes with {count} copies: 1 to {MAX_COPIES}, and a payload, must fit in it"
        )
    return lengths, start
