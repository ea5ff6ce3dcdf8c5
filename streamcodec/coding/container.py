"""The .sc file: a stream header, then length-prefixed payloads (docs/bitstream.md). Bytes only;
what is whole in a cut file can be read.

    "SCV3" | length u16 | header: JSON | its CRC-32 u32 | { payload length LEB128 | payload } ...

Integers are big-endian. A length of 0 marks a payload that was lost before it was written.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from ..config import (
    MAX_CHANNELS,
    MAX_LEVEL,
    MAX_PAYLOAD_BYTES,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
)
from ..errors import ContainerError

MAGIC = b"SCV3"
MAX_HEADER_BYTES = 4_096
MAX_COUNT = 1 << 53  # of samples and payloads: more than any file holds, and exact as a float
HASH = re.compile("[0-9a-f]{16}")


@dataclasses.dataclass(frozen=True)
class StreamHeader:
    """model: hash of the weights. sample_rate: of the model, Hz. packet_samples: of one payload, at
    that rate.

    source_rate: of the recording, Hz. samples: its length at that rate, None where unknown.

    base_level: quality level that payloads are cheapest near.

    payloads: how many there should be, None where unknown: this is how a cut file is known to be
    cut.

    high_band: 16 hex digits of the tables that describe it, where payloads do; else empty, and not
    written. joint_stereo: of those that tell the second channel by the first, likewise.
    """

    model: str
    sample_rate: int
    packet_samples: int
    source_rate: int
    channels: int
    base_level: int
    samples: int | None = None
    payloads: int | None = None
    high_band: str = ""
    joint_stereo: str = ""

    def seconds(self, payloads: int) -> float:
        return payloads * self.packet_samples / self.sample_rate


@dataclasses.dataclass(frozen=True)
class Recording:
    """What a file holds. `damage` says in words what is missing or wrong, None for a whole file."""

    header: StreamHeader
    payloads: list[bytes | None]
    damage: str | None


def write_container(file: BinaryIO, header: StreamHeader, payloads: Iterable[bytes | None]) -> int:
    """Returns the number of bytes written. Raises ContainerError, before anything is written, for a
    header or a payload that `read_container` would refuse.
    """
    _check(header)
    fields = {name: value for name, value in dataclasses.asdict(header).items() if value != ""}
    text = json.dumps(fields, separators=(",", ":")).encode()
    parts = [MAGIC, len(text).to_bytes(2, "big"), text, zlib.crc32(text).to_bytes(4, "big")]
    for number, payload in enumerate(payloads):
        if len(payload or b"") > MAX_PAYLOAD_BYTES:
            raise ContainerError(
                f"payload {number} must have at most {MAX_PAYLOAD_BYTES} bytes, "
                f"got {len(payload or b'')}"
            )
        parts += [_leb128(len(payload or b"")), payload or b""]
    return file.write(b"".join(parts))


def read_container(file: BinaryIO) -> Recording:
    """Raises ContainerError where the header cannot be trusted; of what lies behind it, all is read
    up to the damage.
    """
    magic = file.read(4)
    if magic[:3] == MAGIC[:3] and magic != MAGIC:
        raise ContainerError(
            f"file of format {magic[3:].decode('ascii', 'replace')}; "
            f"this program reads {MAGIC[3:].decode()}"
        )
    if not magic:
        raise ContainerError("not a streamcodec file: it is empty (0 bytes)")
    if magic != MAGIC:
        raise ContainerError(f"not a streamcodec file: it begins with {magic!r}, not {MAGIC!r}")
    header = _read_header(file)
    payloads: list[bytes | None] = []
    damage = None
    while (header.payloads is None or len(payloads) < header.payloads) and (first := file.read(1)):
        size = _read_length(file, first[0])
        payload = b"" if size is None else file.read(min(size, MAX_PAYLOAD_BYTES + 1))
        if size is None or len(payload) < size:
            damage = f"the file ends, or is damaged, inside payload {len(payloads)}"
            break
        payloads.append(payload or None)
    if header.payloads is not None and len(payloads) < header.payloads:
        missing_s = header.seconds(header.payloads - len(payloads))
        damage = (
            f"{len(payloads)} of {header.payloads} payloads are whole: "
            f"{missing_s:.2f} s are missing at the end"
        )
    elif header.payloads is not None and file.read(1):
        damage = (
            f"something follows the {header.payloads} payloads that the header names: "
            "it was not read"
        )
    return Recording(header, payloads, damage)


def _read_header(file: BinaryIO) -> StreamHeader:
    size = int.from_bytes(file.read(2), "big")
    if not 0 < size <= MAX_HEADER_BYTES:
        raise ContainerError(f"stream header of {size} bytes: 1 to {MAX_HEADER_BYTES} are allowed")
    text, checksum = file.read(size), file.read(4)
    if len(text) < size or len(checksum) < 4:
        raise ContainerError("the file ends inside its stream header: nothing can be decoded")
    if zlib.crc32(text) != int.from_bytes(checksum, "big"):
        raise ContainerError("the stream header's checksum does not match: the file is damaged")
    try:
        header = StreamHeader(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ContainerError(f"unreadable stream header: {error}") from error
    _check(header)
    return header


def _check(header: StreamHeader) -> None:
    bounds = {
        "sample_rate": (MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        "source_rate": (MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        "packet_samples": (1, MAX_SAMPLE_RATE),
        "channels": (1, MAX_CHANNELS),
        "base_level": (0, MAX_LEVEL),
    }
    for name, (low, high) in bounds.items():
        value = getattr(header, name)
        if type(value) is not int or not low <= value <= high:
            raise ContainerError(f"stream header: {name} must be {low} to {high}, got {value!r}")
    for name in ("samples", "payloads"):
        value = getattr(header, name)
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_COUNT):
            raise ContainerError(f"stream header: {name} must be a count or null, got {value!r}")
    for name in ("model", "high_band", "joint_stereo"):
        value = getattr(header, name)
        named = isinstance(value, str) and HASH.fullmatch(value)
        if not named and (name == "model" or value != ""):
            raise ContainerError(
                f"stream header: {name} must be a hash of 16 hex digits, got {value!r}"
            )


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_length(file: BinaryIO, first: int) -> int | None:
    """None where no writer could have written it: a file that lies about a length must not make us
    allocate it.
    """
    value, shift, byte = first & 0x7F, 7, first
    while byte & 0x80:
        following = file.read(1)
        if not following or shift > 14:
            return None
        byte = following[0]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value if value <= MAX_PAYLOAD_BYTES else None
