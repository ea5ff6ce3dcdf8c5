"""Packets that also carry a copy of an earlier packet at a lower quality level, so that a lost
packet is heard at lower quality instead of being concealed. Sans-I/O.

The idea is libopus' DRED (Valin et al. 2022), with an ordinary payload of a low quality level in
place of a second format. Losses come in bursts: a copy that lies some packets back outlives a burst
of as many, for the bits of one (decision 0018).
"""

from __future__ import annotations

import dataclasses
from collections import deque

from ..config import MAX_PAYLOAD_BYTES
from ..errors import ConfigError, MalformedPacket
from .packet import HEADER_BYTES, SEQUENCE_MODULUS, TYPES, Flags, Packet, PacketType

MAX_COPY_DISTANCE = 4
USUAL_COPY_DISTANCE = 4  # a burst of 80 ms, and as much delay where packets are lost
SHORT_LENGTHS = 63  # of copies whose length fits beside the distance; others take a byte more
MAX_COPY_BYTES = SHORT_LENGTHS + 255


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """A payload of lower quality for the packet `sequence`; numbers as on the wire."""

    sequence: int
    capture_time: int
    payload: bytes


class CopyHistory:
    """A sender's store of the copies that its next packets carry.

    distance: how many packets back the copy lies that a packet carries, 0 for none; may be changed
    at any time, and is never more than `farthest`.
    """

    def __init__(self, farthest: int, packet_samples: int) -> None:
        """Raises ConfigError for a distance that no packet can name."""
        if not 0 <= farthest <= MAX_COPY_DISTANCE:
            raise ConfigError(
                "a packet can carry a copy of one of the "
                f"{MAX_COPY_DISTANCE} packets before it, got a distance of {farthest}"
            )
        self._packet_samples = packet_samples
        self.distance = farthest
        self._copies: deque[bytes] = deque(maxlen=farthest)  # newest first
        self._expected: int | None = None  # capture time of the packet that follows the newest

    def add(self, packet: Packet, copy: bytes) -> Packet:
        """-> the packet together with the copy that it should carry. `copy`: the packet's own
        payload at lower quality, kept for the packets that follow.
        """
        if self._copies.maxlen == 0:
            return packet
        if Flags.RESET in packet.flags or packet.capture_time != self._expected:
            # A receiver derives a copy's capture time from its distance: after a gap it would
            # derive a wrong one.
            self._copies.clear()
        self._expected = (packet.capture_time + self._packet_samples) % SEQUENCE_MODULUS
        carried = packet
        distance = self.distance
        if 0 < distance <= len(self._copies) and packet.payload:
            earlier = self._copies[distance - 1]
            payload = join(earlier, distance, packet.payload)
            if earlier and len(payload) <= MAX_PAYLOAD_BYTES:
                carried = dataclasses.replace(
                    packet, type=PacketType.AUDIO_WITH_COPY, payload=payload
                )
        self._copies.appendleft(copy if len(copy) <= MAX_COPY_BYTES else b"")
        return carried


def join(copy: bytes, distance: int, payload: bytes) -> bytes:
    """The copy of the packet `distance` packets back, and the packet's own payload -> a byte of
    distance - 1 (2 bits) and length (6 bits; 63 for 63 and more, then the rest in a byte of its
    own), the copy, the payload.
    """
    short = min(len(copy), SHORT_LENGTHS)
    head = [(distance - 1) << 6 | short]
    if short == SHORT_LENGTHS:
        head.append(len(copy) - SHORT_LENGTHS)
    return bytes(head) + copy + payload


def copy_distance(datagram: bytes) -> int:
    """How many packets back the copy lies that a packet carries; 0: it has none. Raises
    MalformedPacket for a malformed copy.
    """
    if not datagram or datagram[0] % TYPES != PacketType.AUDIO_WITH_COPY:
        return 0
    return _layout(datagram[HEADER_BYTES:])[0]


def limited(datagram: bytes, farthest: int) -> bytes:
    """A packet without its copy, if that lies farther back than a listener takes. Others are
    returned unchanged. Raises MalformedPacket for a malformed copy.
    """
    if copy_distance(datagram) <= farthest:
        return datagram
    header, content = datagram[:HEADER_BYTES], datagram[HEADER_BYTES:]
    _, _, end = _layout(content)
    return bytes([header[0] & 0xF0 | PacketType.AUDIO]) + header[1:] + content[end:]


def separate(packet: Packet, packet_samples: int) -> tuple[Packet, Copy | None]:
    """-> the packet as it would be without a copy, and the copy that it carries. `packet_samples`:
    samples of each payload. Raises MalformedPacket for a malformed copy.
    """
    if packet.type != PacketType.AUDIO_WITH_COPY:
        return packet, None
    content = packet.payload
    distance, start, end = _layout(content)
    copy = Copy(
        (packet.sequence - distance) % SEQUENCE_MODULUS,
        (packet.capture_time - distance * packet_samples) % SEQUENCE_MODULUS,
        content[start:end],
    )
    return dataclasses.replace(packet, type=PacketType.AUDIO, payload=content[end:]), copy


def _layout(content: bytes) -> tuple[int, int, int]:
    """-> how many packets back the copy lies, where it begins and where it ends. Raises
    MalformedPacket.
    """
    distance, length, start = (content[0] >> 6) + 1 if content else 0, 0, 1
    if content:
        length = content[0] & SHORT_LENGTHS
        if length == SHORT_LENGTHS and len(content) > 1:
            length, start = length + content[1], 2
    if not length or start + length >= len(content):
        raise MalformedPacket(
            f"packet of {len(content)} bytes with a copy of {length}: the copy and a payload, "
            "of at least a byte each, must fit in it"
        )
    return distance, start, start + length
