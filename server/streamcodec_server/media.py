"""A media packet as the frames that a room's listeners are sent, and which of them each is sent."""

from __future__ import annotations

from array import array

from streamcodec.wire.packet import restamp
from streamcodec.wire.redundancy import limited
from streamcodec.wire.short_headers import Course, counters_of, without_counters

from .frames import frame_of

WHOLE, SHORT = 0, 1  # of the frames of a packet without its copy; with it, two more
WITH_COPY = 2


class Media:
    """outgoing: the stream that it belongs to; serial: the next one for each of its packets.
    distance: how far back its copy lies; 0: it has none.
    """

    __slots__ = ("_continues", "_datagram", "_frames", "distance", "outgoing", "serial")

    def __init__(
        self, outgoing: Outgoing, serial: int, datagram: bytes, *, distance: int, continues: bool
    ) -> None:
        """continues: it goes on as the two packets before it did."""
        self.outgoing, self.serial, self.distance = outgoing, serial, distance
        self._datagram, self._continues = datagram, continues
        self._frames: list[bytes | None] = [None] * 4

    @property
    def frames(self) -> list[bytes]:
        """Without its copy, with a whole header and with a short one, then with the copy. Short
        headers are for who had the two packets before it; empty where it does not go on as those
        did.
        """
        return [self.frame(kind) for kind in range(4)]

    def frame(self, kind: int) -> bytes:
        """One of them, made when it is first asked for."""
        made = self._frames[kind]
        if made is None:
            made = self._frames[kind] = self._made(kind)
        return made

    def frame_for(self, place: int, copies: int) -> bytes:
        """What the listener in that place is sent now, who takes copies that lie so far back."""
        outgoing = self.outgoing
        had = outgoing.had_in(place)
        follows = had >> 1 == self.serial - 1
        outgoing.had[place] = self.serial << 1 | follows
        kind = WITH_COPY if copies >= self.distance else WHOLE
        if self._continues and follows and had & 1 and not outgoing.ended:
            kind += SHORT
        return self.frame(kind)

    def _made(self, kind: int) -> bytes:
        if not self.distance and kind >= WITH_COPY:
            return self.frame(kind - WITH_COPY)
        datagram = self._datagram
        if self.distance and kind < WITH_COPY:
            datagram = limited(datagram, 0)
        if not kind & SHORT:
            return frame_of(datagram)
        return frame_of(without_counters(datagram)) if self._continues else b""


class Outgoing:
    """The packets of a stream that are passed on, and which of them each listener has had.

    had: by a listener's place, twice the serial of the last packet that it was sent, and 1 more if
    it was sent the one before, too; it may be shorter than there are places. ended: its talker has
    left: what still waits goes out with whole headers, since nobody looks after `had` any more.
    """

    __slots__ = ("_course", "_number", "_serial", "ended", "had")

    def __init__(self, number: int) -> None:
        self._number, self._serial = number, 1
        self._course = Course()
        self.ended = False
        self.had = array("q")

    def media(self, datagram: bytes, distance: int) -> Media:
        """The next packet, which `packet.check` and `copy_distance` have accepted. distance: how
        far back its copy lies.
        """
        stamped = restamp(datagram, self._number)
        self._serial += 1
        continues = self._course.add(counters_of(stamped))
        return Media(self, self._serial, stamped, distance=distance, continues=continues)

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
