"""Packets that also carry copies of earlier packets at a lower quality level, so that a lost packet
is heard at lower quality instead of being concealed. Sans-I/O.

The idea is libopus' DRED (Valin et al. 2022), with ordinary payloads of a low quality level in
place of a second format. Where no packets are lost, as over TCP, copies only cost bits: they are
off by default.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

from ..config import MAX_PAYLOAD_BYTES
from ..errors import ConfigError, MalformedPacket
from .packet import HEADER_BYTES, SEQUENCE_MODULUS, Flags, Packet, PacketType

MAX_COPIES = 4
MAX_COPY_BYTES = 255  # a copy's length is one byte on the wire


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """A payload of lower quality for the packet `sequence`; numbers as on the wire."""

    sequence: int
    capture_time: int
    payload: bytes


class CopyHistory:
    """A sender's store of the copies that its next packets carry. `wanted`: how many of them a
    packet carries; may be changed at any time.
    """

    def __init__(self, copies: int, packet_samples: int) -> None:
        """`copies`: the most to keep. Raises ConfigError for more than a packet may carry."""
        if not 0 <= copies <= MAX_COPIES:
            raise ConfigError(
                f"a packet can carry 0 to {MAX_COPIES} copies of earlier ones, got {copies}"
            )
        self._packet_samples = packet_samples
        self.wanted = copies
        self._copies: deque[bytes] = deque(maxlen=copies)  # newest first
        self._expected: int | None = None  # capture time of the packet that follows the newest

    def add(self, packet: Packet, copy: bytes) -> Packet:
        """-> the packet together with the copies that it should carry. `copy`: the packet's own
        payload at lower quality, kept for the packets that follow.
        """
        if self._copies.maxlen == 0:
            return packet
        if Flags.RESET in packet.flags or packet.capture_time != self._expected:
            # A receiver derives a copy's capture time from its position in the packet: after a gap
            # it would derive a wrong one.
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
    """Copies, newest first, and the packet's own payload -> number of copies, the length of each (0
    where there is no copy of that packet), the copies, the payload.
    """
    return bytes([len(copies), *map(len, copies)]) + b"".join(copies) + payload


def limited(datagram: bytes, most: int) -> bytes:
    """A packet with at most the newest `most` of its copies, for a listener that takes no more.
    Packets without copies, or with few enough, are returned unchanged.

    Raises MalformedPacket for malformed copies.
    """
    if not datagram or datagram[0] & 0x0F != PacketType.AUDIO_WITH_COPIES:
        return datagram
    header, content = datagram[:HEADER_BYTES], datagram[HEADER_BYTES:]
    lengths, start = _layout(content)
    if most >= len(lengths):
        return datagram
    end = start + sum(lengths)
    kept = lengths[:most]
    if any(kept):
        copies = content[start : start + sum(kept)]
        return header + bytes([most]) + kept + copies + content[end:]
    return bytes([header[0] & 0xF0 | PacketType.AUDIO]) + header[1:] + content[end:]


def separate(packet: Packet, packet_samples: int) -> tuple[Packet, list[Copy]]:
    """-> the packet as it would be without copies, and the copies that it carries, newest first.
    `packet_samples`: samples of each payload. Raises MalformedPacket for malformed copies.
    """
    if packet.type != PacketType.AUDIO_WITH_COPIES:
        return packet, []
    content = packet.payload
    lengths, start = _layout(content)
    copies = []
    for back, length in enumerate(lengths, start=1):
        if length:
            sequence = (packet.sequence - back) % SEQUENCE_MODULUS
            capture_time = (packet.capture_time - back * packet_samples) % SEQUENCE_MODULUS
            copies.append(Copy(sequence, capture_time, content[start : start + length]))
        start += length
    return dataclasses.replace(packet, type=PacketType.AUDIO, payload=content[start:]), copies


def _layout(content: bytes) -> tuple[bytes, int]:
    """-> the length of each copy, and where the first one begins. Raises MalformedPacket."""
    count = content[0] if content else 0
    lengths = content[1 : 1 + count]
    start = 1 + count
    if not 0 < count <= MAX_COPIES or len(lengths) < count or start + sum(lengths) >= len(content):
        raise MalformedPacket(
            f"packet of {len(content)} bytes with {count} copies: 1 to {MAX_COPIES}, and a "
            "payload, must fit in it"
        )
    return lengths, start
