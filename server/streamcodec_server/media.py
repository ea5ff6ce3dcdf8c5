"""A media packet as the frames that a room's listeners are sent, and which of them each is sent."""

from __future__ import annotations

import dataclasses
from array import array

from streamcodec.wire.packet import restamp
from streamcodec.wire.redundancy import copy_distance, limited
from streamcodec.wire.short_headers import Course, counters_of, without_counters

from .frames import frame_of

WHOLE, SHORT = 0, 1  # of the frames of a packet without its copy; with it, two more
WITH_COPY = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """outgoing: the stream that it belongs to; serial: the next one for each of its packets.
    distance: how far back its copy lies; 0: it has none. frames: without that copy, with a whole
    header and with a short one, then with the copy. Short headers are for who had the two packets
    before it; empty where the packet does not go on as those did.
    """

    outgoing: Outgoing
    serial: int
    distance: int
    frames: tuple[bytes, bytes, bytes, bytes]

    def frame_for(self, place: int, copies: int) -> bytes:
        """What the listener in that place is sent now, who takes copies that lie so far back."""
        had = self.outgoing.had_in(place)
        follows = had >> 1 == self.serial - 1
        self.outgoing.had[place] = self.serial << 1 | follows
        kind = WITH_COPY if copies >= self.distance else WHOLE
        short = self.frames[kind + SHORT]
        if not short or self.outgoing.ended or not (follows and had & 1):
            return self.frames[kind]
        return short


class Outgoing:
    """The packets of a stream that are passed on, and which of them each listener has had.

    had: by a listener's place, twice the serial of the last packet that it was sent, and 1 more if
    it was sent the one before, too; it may be shorter than there are places. ended: its talker has
    left: what still waits goes out with whole headers, since nobody looks after `had` any more.
    """

    def __init__(self, number: int) -> None:
        self._number, self._serial = number, 1
        self._course = Course()
        self.ended = False
        self.had = array("q")

    def media(self, datagram: bytes) -> Media:
        """The next packet, which `packet.check` has accepted. Raises MalformedPacket for a
        malformed copy.
        """
        distance = copy_distance(datagram)
        stamped = restamp(datagram, self._number)
        self._serial += 1
        continues = self._course.add(counters_of(stamped))
        copied = _frames(stamped, continues)
        plain = _frames(limited(stamped, 0), continues) if distance else copied
        return Media(self, self._serial, distance, (*plain, *copied))

    def had_in(self, place: int) -> int:
        """What the listener there has had; there is an entry for it now."""
        if place >= len(self.had):
            self.reach(place + 1)
        return self.had[place]

    def reach(self, places: int) -> None:
        """Makes `had` have at least so many entries."""
        self.had.extend([0] * (places - len(self.had)))

    def forget(self, place: int) -> None:
        """Somebody new has the place, who has had nothing."""
        if place < len(self.had):
            self.had[place] = 0


def _frames(datagram: bytes, continues: bool) -> tuple[bytes, bytes]:
    return frame_of(datagram), frame_of(without_counters(datagram)) if continues else b""
