"""WAV by its bytes: a header that stays true while the file grows, RF64 where 32 bits do not count
it any more, and what the header of a pipe says. libsndfile knows none of these: its RF64 is
WAVE_FORMAT_EXTENSIBLE also where it need not be RF64, which some readers refuse, and it keeps the
system's errors to itself.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import BinaryIO

import numpy as np

from streamcodec.units import Pcm

SAMPLE_BYTES = 2
FULL_SCALE = 32_768
RIFF_LIMIT = 0xFFFF_FFFF  # bytes that a RIFF header can count
HEADER_BYTES = 80  # of what we write
HEADER_LIMIT = 1 << 20  # bytes in which the samples of what we read must begin
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # encodings of the chunk fmt
DS64_BYTES = 28


class WavWriter:
    """Writes 16-bit WAV into a file that can be sought. Each second of sound the header is written
    anew, so that a file whose writer was killed lacks a second at most.

    Once sizes pass `riff_limit` it is RF64: a chunk ds64 with sizes of 64 bits takes the place of
    the chunk JUNK that was reserved for it. Source: EBU Tech 3306.
    """

    def __init__(
        self, file: BinaryIO, sample_rate: int, channels: int, riff_limit: int = RIFF_LIMIT
    ) -> None:
        """Raises OSError, as the others do."""
        self._file, self._sample_rate, self._channels = file, sample_rate, channels
        self._riff_limit = riff_limit
        self._samples = self._in_header = 0
        self._file.write(self._header())
        self._file.flush()

    def write(self, pcm: Pcm) -> None:
        """float32 [T, C]; beyond full scale it is clipped."""
        self._file.write(as_int16(pcm))
        self._samples += len(pcm)
        if self._samples - self._in_header >= self._sample_rate:
            self.refresh()

    def refresh(self) -> None:
        """Gives all samples, and then a header that counts them, to the system."""
        self._file.seek(0)  # writes what is in Python's buffer
        self._file.write(self._header())
        self._file.seek(HEADER_BYTES + self._samples * self._frame_bytes)
        self._file.flush()
        self._in_header = self._samples

    @property
    def _frame_bytes(self) -> int:
        return SAMPLE_BYTES * self._channels

    def _header(self) -> bytes:
        data = self._samples * self._frame_bytes
        riff = HEADER_BYTES - 8 + data
        if riff <= self._riff_limit:
            first = struct.pack("<4sI4s4sI28x", b"RIFF", riff, b"WAVE", b"JUNK", DS64_BYTES)
        else:
            head = struct.pack("<4sI4s4sI", b"RF64", RIFF_LIMIT, b"WAVE", b"ds64", DS64_BYTES)
            first = head + struct.pack("<QQQI", riff, data, self._samples, 0)
            data = RIFF_LIMIT
        rate, frame = self._sample_rate, self._frame_bytes
        form = struct.pack(
            "<4sIHHIIHH", b"fmt ", 16, PCM, self._channels, rate, rate * frame, frame, 16
        )
        return first + form + struct.pack("<4sI", b"data", data)


def as_int16(pcm: Pcm) -> bytes:
    """float32 [T, C], full scale 1 -> signed 16 bit, little endian, clipped, channels
    interleaved.
    """
    scaled = np.clip(np.rint(pcm * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


@dataclasses.dataclass(frozen=True)
class WavHeader:
    """What stands before the samples of a WAV. encoding: PCM or another number of its registry.
    data_offset: where samples begin, in bytes. data_bytes: how long they are, None where the writer
    did not know.
    """

    sample_rate: int
    channels: int
    encoding: int
    bits: int
    data_offset: int
    data_bytes: int | None


def is_wav(first: bytes) -> bool:
    """Whether a file that begins so is WAV or RF64. 12 bytes are enough."""
    return first[:4] in (b"RIFF", b"RF64") and first[8:12] == b"WAVE"


def parse_header(first: bytes) -> WavHeader | int:
    """The first bytes of a WAV -> its header; where it is longer, how many bytes are needed before
    one can ask again. Raises ValueError for chunks that no WAV has.
    """
    at, form, long_size = 12, None, None
    while len(first) >= at + 8:
        name, size = struct.unpack_from("<4sI", first, at)
        at += 8
        if name == b"data":
            if form is None:
                raise ValueError("no chunk fmt before the samples")
            known = long_size if size == RIFF_LIMIT else size
            return dataclasses.replace(form, data_offset=at, data_bytes=known or None)
        body = first[at : at + size]
        if name in (b"fmt ", b"ds64"):
            if size < 16:
                raise ValueError(f"a chunk {name.decode().strip()} of {size} bytes")
            if len(body) < size:
                return at + int(size)
        if name == b"fmt ":
            encoding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if encoding == EXTENSIBLE and size >= 26:
                (encoding,) = struct.unpack_from("<H", body, 24)  # the GUID begins with it
            form = WavHeader(rate, channels, encoding, bits, 0, None)
        elif name == b"ds64":
            (long_size,) = struct.unpack_from("<Q", body, 8)
        at += int(size + size % 2)
    return at + 8


def are_chunks(first: bytes, at: int, size: int) -> bool:
    """Whether a WAV of `size` bytes has whole chunks, or nothing, from byte `at` to its end, as far
    as its first bytes show. Sound does not look like that.
    """
    while at < size:
        if len(first) < at + 8 or not first[at : at + 4].isascii() or not any(first[at : at + 4]):
            return False
        (length,) = struct.unpack_from("<I", first, at + 4)
        at += 8 + length + length % 2
    return at in (size, size + 1)  # some leave the last byte out, which makes the length even
