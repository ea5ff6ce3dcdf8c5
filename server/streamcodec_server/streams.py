"""Numbers of streams, and who may resume which stream. Sans-I/O."""

from __future__ import annotations

from streamcodec.wire.packet import STREAM_NUMBERS

from .members import Member, Stream

MAX_DEPARTED = 4_096


class StreamRegister:
    """Gives out stream numbers, and finds the stream of an earlier session by that session's
    secret: while its connection still counts as open, or for a time after it broke.
    """

    def __init__(self, departed_ms: float) -> None:
        """departed_ms: for how long a stream can be resumed whose talker has left."""
        self._departed_ms = departed_ms
        self._last_number = 0
        self._in_use: set[int] = set()
        # By their own session and by the one that they resumed: where the welcome was lost with the
        # connection, the client knows only the earlier session.
        self._talkers: dict[str, Member] = {}
        # session -> room name, stream number and when it left; oldest first, at most MAX_DEPARTED
        self._departed: dict[str, tuple[str, int, float]] = {}

    def unused_number(self) -> int | None:
        """None if all are in use. Numbers are given out in turn, because listeners may still hold
        packets of a talker that has just left.
        """
        for _ in range(STREAM_NUMBERS):
            self._last_number = (self._last_number + 1) % STREAM_NUMBERS
            if self._last_number not in self._in_use:
                return self._last_number
        return None

    def connected(self, session: str, room_name: str) -> Member | None:
        """The member of that room whose stream the session may resume."""
        member = self._talkers.get(session)
        in_room = member is not None and member.room is not None and member.room.name == room_name
        return member if in_room else None

    def take_departed(self, session: str, room_name: str, now_ms: float) -> int | None:
        """The stream number of a session that has left that room not long ago, if it is not in use;
        the session is forgotten.
        """
        left_room, number, left_ms = self._departed.get(session, ("", -1, 0.0))
        if left_room != room_name or number in self._in_use:
            return None
        if now_ms - left_ms > self._departed_ms:
            return None
        del self._departed[session]
        return number

    def add(self, member: Member, stream: Stream) -> None:
        self._in_use.add(stream.number)
        for session in _sessions(member, stream):
            self._talkers[session] = member

    def remove(self, member: Member, stream: Stream) -> None:
        self._in_use.discard(stream.number)
        for session in _sessions(member, stream):
            self._talkers.pop(session, None)

    def depart(self, member: Member, stream: Stream, room_name: str, now_ms: float) -> None:
        """Like `remove`; the stream can be resumed."""
        self.remove(member, stream)
        for session in _sessions(member, stream):
            self._departed[session] = room_name, stream.number, now_ms
        while len(self._departed) > MAX_DEPARTED:
            del self._departed[next(iter(self._departed))]


def _sessions(member: Member, stream: Stream) -> tuple[str, ...]:
    return (member.session, stream.resumed) if stream.resumed else (member.session,)
