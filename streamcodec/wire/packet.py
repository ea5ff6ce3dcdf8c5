"""Media packets: a 12-byte header and a payload (docs/protocol.md). Sans-I/O.

On the wire most have shorter headers (see `short_headers`).
"""

from __future__ import annotations

import dataclasses
import enum
import struct

from ..config import MAX_PAYLOAD_BYTES
from ..errors import MalformedPacket, UnsupportedVersion

VERSION = 3  # of the protocol: packets, messages and subprotocol
HEADER_BYTES = 12
TYPES = 1 << 3
SHORT = 0x08  # of the first byte: a short header
STREAM_NUMBERS = 1 << 16
SEQUENCE_MODULUS = 1 << 32
_HEADER = struct.Struct("!BBHII")
_STREAM = struct.Struct("!H")
_STREAM_OFFSET = 2


class PacketType(enum.IntEnum):
    """Types that this version knows. Receivers ignore packets of other types; a relay forwards
    them, because they may come from a later version.
    """

    AUDIO = 0
    AUDIO_WITH_COPY = 2  # see wire/redundancy.py; 1 was another form of it


class Flags(enum.IntFlag):
    """RESET: the encoder started from its initial state with this packet. VOICE: voice activity was
    detected. DTX: the payload describes background noise. DISCONTINUITY: samples before this packet
    were never captured.
    """

    RESET = 0x01
    VOICE = 0x02
    DTX = 0x04
    DISCONTINUITY = 0x08


AUDIO_TYPES = frozenset({PacketType.AUDIO, PacketType.AUDIO_WITH_COPY})
KNOWN_FLAGS = Flags.RESET | Flags.VOICE | Flags.DTX | Flags.DISCONTINUITY


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """`sequence` counts the packets of a stream. `capture_time` is the position of the packet's
    first sample, in samples at the stream's rate. Both wrap at 2^32.

    `type` is an int, so that packets of later versions can be represented; compare it with
    PacketType.
    """

    flags: Flags
    stream: int
    sequence: int
    capture_time: int
    payload: bytes
    type: int = PacketType.AUDIO


def serialize(packet: Packet) -> bytes:
    """Raises MalformedPacket where a field is out of range: callers wrap sequence and capture time
    themselves.
    """
    for name, limit in (
        ("type", TYPES),
        ("stream", STREAM_NUMBERS),
        ("sequence", SEQUENCE_MODULUS),
        ("capture_time", SEQUENCE_MODULUS),
    ):
        if not 0 <= getattr(packet, name) < limit:
            raise MalformedPacket(f"{name} must be 0 to {limit - 1}, got {getattr(packet, name)}")
    check_payload(packet.type, packet.flags, len(packet.payload))
    first = VERSION << 4 | packet.type
    flags = packet.flags & KNOWN_FLAGS
    header = _HEADER.pack(first, flags, packet.stream, packet.sequence, packet.capture_time)
    return header + packet.payload


def parse(datagram: bytes) -> Packet:
    """Raises MalformedPacket, and UnsupportedVersion for another protocol version. Unknown flags
    are dropped.
    """
    check(datagram)
    first, flags, stream, sequence, capture_time = _HEADER.unpack_from(datagram)
    payload = datagram[HEADER_BYTES:]
    return Packet(
        Flags(flags) & KNOWN_FLAGS, stream, sequence, capture_time, payload, first % TYPES
    )


def check(datagram: bytes) -> None:
    """Raises what `parse` would raise. A relay checks packets so before it forwards them."""
    if not datagram:
        raise MalformedPacket(f"need {HEADER_BYTES} header bytes, got 0")
    check_version(datagram)
    if datagram[0] & SHORT:
        raise MalformedPacket("short header: only the connection that it came over can restore it")
    if len(datagram) < HEADER_BYTES:
        raise MalformedPacket(f"need {HEADER_BYTES} header bytes, got {len(datagram)}")
    check_payload(datagram[0] % TYPES, datagram[1], len(datagram) - HEADER_BYTES)


def check_version(datagram: bytes) -> None:
    """Of a packet of at least a byte. Raises UnsupportedVersion."""
    if (version := datagram[0] >> 4) != VERSION:
        raise UnsupportedVersion(
            f"packet of protocol version {version}: this program speaks {VERSION}"
        )


def restamp(datagram: bytes, stream: int) -> bytes:
    """The same packet with another stream number. The relay sets the number that it gave the
    sender, so that no client can send packets in another's name.
    """
    end = _STREAM_OFFSET + _STREAM.size
    return datagram[:_STREAM_OFFSET] + _STREAM.pack(stream) + datagram[end:]


def stream_of(datagram: bytes) -> int:
    """Of a packet of at least 4 bytes."""
    number: int = _STREAM.unpack_from(datagram, _STREAM_OFFSET)[0]
    return number


def flags_of(datagram: bytes) -> int:
    """Of a packet that `check` has accepted."""
    return datagram[1]


def capture_time_of(datagram: bytes) -> int:
    """Of a packet that `check` has accepted."""
    return int.from_bytes(datagram[HEADER_BYTES - 4 : HEADER_BYTES], "big")


def sequence_distance(newer: int, older: int) -> int:
    """newer - older modulo 2^32, as a signed number: -2^31 .. 2^31 - 1."""
    half = SEQUENCE_MODULUS >> 1
    return (newer - older + half) % SEQUENCE_MODULUS - half


def check_payload(kind: int, flags: int, size: int) -> None:
    """Of a packet of that type. Raises MalformedPacket."""
    if size > MAX_PAYLOAD_BYTES:
        raise MalformedPacket(f"payload of {size} bytes: at most {MAX_PAYLOAD_BYTES} are allowed")
    if size == 0 and kind == PacketType.AUDIO and not flags & Flags.DTX:
        raise MalformedPacket("empty payload: only a packet with the DTX flag may have none")
