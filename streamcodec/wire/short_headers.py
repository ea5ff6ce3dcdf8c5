"""Headers of 4 bytes for packets that go on as those before them did (docs/protocol.md). Sans-I/O.

A connection delivers in order, so both its ends can know what the next packet of a stream would
say: the next sequence number, and a capture time as far behind the last one as that was behind the
one before. Such a packet leaves both out. Everybody but the two ends of a connection sees packets
with their whole header.
"""

from __future__ import annotations

import struct

from ..errors import MalformedPacket
from .packet import (
    HEADER_BYTES,
    SEQUENCE_MODULUS,
    SHORT,
    TYPES,
    check,
    check_payload,
    check_version,
    stream_of,
)

SHORT_HEADER_BYTES = 4
_COUNTERS = struct.Struct("!II")  # sequence and capture time, behind the short header


class Course:
    """The counters of a stream's last packet on a connection, and those that would follow."""

    __slots__ = ("_last", "_step", "next")

    def __init__(self) -> None:
        """next: sequence and capture time of the packet that needs no counters; None before there
        were two.
        """
        self.next: tuple[int, int] | None = None
        self._last: int | None = None  # capture time
        self._step = 0  # of capture times, between the last two packets

    def add(self, counters: tuple[int, int]) -> bool:
        """The next packet -> whether it needs no counters."""
        continues = counters == self.next
        sequence, captured = counters
        if not continues and self._last is not None:
            self._step = captured - self._last
        if self._last is not None:
            self.next = (
                (sequence + 1) % SEQUENCE_MODULUS,
                (captured + self._step) % SEQUENCE_MODULUS,
            )
        self._last = captured
        return continues


def counters_of(datagram: bytes) -> tuple[int, int]:
    """Sequence and capture time of a packet that `packet.check` has accepted."""
    sequence, captured = _COUNTERS.unpack_from(datagram, SHORT_HEADER_BYTES)
    return sequence, captured


def without_counters(datagram: bytes) -> bytes:
    """The same packet, whose header becomes short."""
    return bytes([datagram[0] | SHORT]) + datagram[1:SHORT_HEADER_BYTES] + datagram[HEADER_BYTES:]


class Shortener:
    """Of a connection's sending end, for one stream."""

    def __init__(self) -> None:
        self._course = Course()

    def shorten(self, datagram: bytes) -> bytes:
        """A packet as `packet.serialize` makes it -> what is sent."""
        continues = self._course.add(counters_of(datagram))
        return without_counters(datagram) if continues else datagram


class Restorer:
    """Of a connection's receiving end."""

    __slots__ = ("__weakref__", "_courses", "_only")

    def __init__(self, *, one_stream: bool = False) -> None:
        """one_stream: what the connection's packets say of their stream means nothing, as with
        those that a talker sends.
        """
        self._only = Course() if one_stream else None
        self._courses: dict[int, Course] = {}

    def restore(self, datagram: bytes) -> bytes:
        """What was received -> the packet with its whole header, which `packet.check` accepts.
        Raises as that does, and MalformedPacket for a short header that nothing came before.
        """
        if not datagram or not datagram[0] & SHORT:
            check(datagram)
            self._course(datagram).add(counters_of(datagram))
            return datagram
        check_version(datagram)
        if len(datagram) < SHORT_HEADER_BYTES:
            raise MalformedPacket(
                f"need {SHORT_HEADER_BYTES} bytes of a short header, got {len(datagram)}"
            )
        course = self._course(datagram)
        if (counters := course.next) is None:
            raise MalformedPacket(
                "short header: the two packets before it on this connection must be known"
            )
        first = datagram[0] & ~SHORT
        check_payload(first % TYPES, datagram[1], len(datagram) - SHORT_HEADER_BYTES)
        course.add(counters)
        head = bytes((first,)) + datagram[1:SHORT_HEADER_BYTES]
        return head + _COUNTERS.pack(*counters) + datagram[SHORT_HEADER_BYTES:]

    def _course(self, datagram: bytes) -> Course:
        if self._only is not None:
            return self._only
        stream = stream_of(datagram)
        course = self._courses.get(stream)
        if course is None:
            course = self._courses[stream] = Course()
        return course
