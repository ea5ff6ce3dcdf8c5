"""A media packet as the frames that a room's listeners are sent, and which of them each is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from streamcodec.wire.packet import restamp
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE, copy_distance, limited
from streamcodec.wire.short_headers import Course, counters_of, without_counters

from .frames import frame_of

MOST_STREAMS_FOLLOWED = 256  # of one listener; beyond these it gets whole headers once


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """serial: the next one for each packet of a stream. frame: with its whole header. short: with a
    short one, for who had the two packets before it; None where the packet does not go on as those
    did.
    """

    stream: int
    serial: int
    frame: bytes
    short: bytes | None = None


class Outgoing:
    """The packets of a stream that are passed on."""

    def __init__(self, number: int, first_serial: int) -> None:
        """first_serial: above 1, and far from those of other streams that had the number."""
        self._number, self._serial = number, first_serial
        self._course = Course()

    def media(self, datagram: bytes) -> Sequence[Media]:
        """The next packet, which `packet.check` has accepted -> what listeners get of it, by how
        far back a copy may lie that they take. Raises MalformedPacket for a malformed copy.
        """
        distance = copy_distance(datagram)
        stamped = restamp(datagram, self._number)
        self._serial += 1
        continues = self._course.add(counters_of(stamped))
        whole = self._media(stamped, continues)
        if not distance:
            return [whole] * (MAX_COPY_DISTANCE + 1)
        plain = self._media(limited(stamped, 0), continues)
        return [plain] * distance + [whole] * (MAX_COPY_DISTANCE + 1 - distance)

    def _media(self, datagram: bytes, continues: bool) -> Media:
        short = frame_of(without_counters(datagram)) if continues else None
        return Media(self._number, self._serial, frame_of(datagram), short)


class Following:
    """What a listener has had of each stream."""

    def __init__(self) -> None:
        # By stream: twice the serial of the last packet, and 1 more if it had the one before, too.
        self._had: dict[int, int] = {}

    def frame_of(self, media: Media) -> bytes:
        """What the listener is sent now of a packet."""
        had = self._had.get(media.stream, 0)
        follows = had >> 1 == media.serial - 1
        if not follows and len(self._had) >= MOST_STREAMS_FOLLOWED:
            self._had.clear()
        self._had[media.stream] = media.serial << 1 | follows
        return media.short if media.short is not None and follows and had & 1 else media.frame
