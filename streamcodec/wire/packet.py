"""Media packets on the wire: a 12-byte header and a payload (docs/protocol.md). Parsed once, at the
edge.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

from ..config import MAX_PAYLOAD_BYTES
from ..errors import MalformedPacket, UnsupportedVersion

VERSION = 1
HEADER_BYTES = 12
SEQUENCE_MODULUS = 1 << 32
_HEADER = struct.Struct("!BBHII")
_STREAM = struct.Struct("!H")
_STREAM_OFFSET = 2


class PacketType(enum.IntEnum):
    """Types this version knows. A receiver ignores the others: a relay forwards what a later
    version means by them.
    """

    AUDIO = 0
    AUDIO_WITH_COPIES = 1  # see redundancy


class Flags(enum.IntFlag):
    """RESET: the encoder began anew with this packet. VOICE: somebody speaks. DTX: describes
    silence. DISCONTINUITY: captured after a gap.
    """

    RESET = 0x01
    VOICE = 0x02
    DTX = 0x04
    DISCONTINUITY = 0x08


AUDIO_TYPES = frozenset({PacketType.AUDIO, PacketType.AUDIO_WITH_COPIES})
KNOWN_FLAGS = Flags.RESET | Flags.VOICE | Flags.DTX | Flags.DISCONTINUITY


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """sequence counts the packets of a stream, capture_time its samples at the stream's rate; both
    wrap at 2^32.

    `type` is an int so that packets of later versions can be carried; compare it with PacketType.
    """

    flags: Flags
    stream: int
    sequence: int
    capture_time: int
    payload: bytes
    type: int = PacketType.AUDIO


def serialize(packet: Packet) -> bytes:
    """Raises MalformedPacket where a field does not fit: numbers that wrap must be wrapped by the
    caller.
    """
    for name, limit in (
        ("type", 1 << 4),
        ("stream", 1 << 16),
        ("sequence", SEQUENCE_MODULUS),
        ("capture_time", SEQUENCE_MODULUS),
    ):
        if not 0 <= getattr(packet, name) < limit:
            raise MalformedPacket(f"{name} must be 0 to {limit - 1}, got {getattr(packet, name)}")
    _check_payload(packet.type, packet.flags, len(packet.payload))
    first = VERSION << 4 | packet.type
    return (
        _HEADER.pack(
            first, packet.flags & KNOWN_FLAGS, packet.stream, packet.sequence, packet.capture_time
        )
        + packet.payload
    )


def parse(datagram: bytes) -> Packet:
    """Raises MalformedPacket, and UnsupportedVersion where only the version is to blame. Unknown
    flags are dropped.
    """
    check(datagram)
    first, flags, stream, sequence, capture_time = _HEADER.unpack_from(datagram)
    return Packet(
        Flags(flags) & KNOWN_FLAGS,
        stream,
        sequence,
        capture_time,
        datagram[HEADER_BYTES:],
        first & 0x0F,
    )


def check(datagram: bytes) -> None:
    """What a relay asks of a datagram that it forwards unread. Raises like `parse`."""
    if not datagram:
        raise MalformedPacket(f"need {HEADER_BYTES} header bytes, got 0")
    if (version := datagram[0] >> 4) != VERSION:
        raise UnsupportedVersion(
            f"packet of protocol version {version}: this program speaks {VERSION}"
        )
    if len(datagram) < HEADER_BYTES:
        raise MalformedPacket(f"need {HEADER_BYTES} header bytes, got {len(datagram)}")
    _check_payload(datagram[0] & 0x0F, datagram[1], len(datagram) - HEADER_BYTES)


def restamp(datagram: bytes, stream: int) -> bytes:
    """The same datagram under the stream number that the relay gave its talker: nobody can speak
    for another.
    """
    return (
        datagram[:_STREAM_OFFSET] + _STREAM.pack(stream) + datagram[_STREAM_OFFSET + _STREAM.size :]
    )


def sequence_distance(newer: int, older: int) -> int:
    """newer - older on the circle of 2^32: -2^31 .. 2^31 - 1."""
    half = SEQUENCE_MODULUS >> 1
    return (newer - older + half) % SEQUENCE_MODULUS - half


def _check_payload(kind: int, flags: int, size: int) -> None:
    if size > MAX_PAYLOAD_BYTES:
        raise MalformedPacket(f"payload of {size} bytes: at most {MAX_PAYLOAD_BYTES} are allowed")
    if size == 0 and kind == PacketType.AUDIO and not flags & Flags.DTX:
        raise MalformedPacket("empty payload: only a packet with the DTX flag may have none")
