"""The logic of a relay: who is in which room, and what each member still has to be sent. Sans-I/O:
time is an argument, and what is to be sent lies in the members' mailboxes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from streamcodec.errors import MalformedMessage, StreamcodecError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.packet import STREAM_NUMBERS, restamp
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE, limited
from streamcodec.wire.session import (
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Report,
    StreamEnd,
    StreamStart,
    StreamUpdate,
    Time,
    Welcome,
)

from .mailbox import Counters, Mailbox
from .members import Member, Room, Stream
from .streams import StreamRegister


class Refused(StreamcodecError):
    """A client asked for something that it may not have. The relay closes with `code`."""

    def __init__(self, code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class RoomLimits:
    """max_queue_ms: media that has waited longer is dropped, oldest first. too_slow_ms: a listener
    that keeps losing media for so long is disconnected. max_talkers, max_listeners: of each room.
    rooms: names of the only rooms; None: the first member of a room creates it.
    """

    max_queue_ms: float = 400.0
    too_slow_ms: float = 10_000.0
    max_talkers: int = 32
    max_listeners: int = 10_000
    max_rooms: int = 1_000
    rooms: frozenset[str] | None = None


class Rooms:
    """All rooms of a relay. Methods return the members that have something new in their mailboxes.

    The caller disconnects the members in `overflowed`, which read too slowly, and those in
    `replaced`, whose clients have opened another connection; it removes them from these sets.
    """

    def __init__(self, limits: RoomLimits | None = None) -> None:
        self.limits = limits or RoomLimits()
        self.counters = Counters()
        self.overflowed: set[Member] = set()
        self.replaced: set[Member] = set()
        self._rooms: dict[str, Room] = {}
        self._streams = StreamRegister()
        self._joined = 0

    @property
    def rooms(self) -> dict[str, Room]:
        """By name; only rooms that have members."""
        return self._rooms

    def join(self, hello: Hello) -> tuple[Member, list[Member]]:
        """-> the new member, and everybody who has something to be sent. Raises Refused.

        A talker that names its previous session keeps its stream number, even if that session's
        connection still counts as open: the earlier member is then replaced.
        """
        room = self._room_for(hello)
        previous = self._streams.connected(hello.resume, room.name) if hello.role.talks else None
        self._check_space(room, hello, previous)
        stream = self._stream_for(hello, previous) if hello.role.talks else None
        member = self._add_member(room, hello, stream)
        self._greet(room, member)
        told = [member]
        if stream is not None:
            told += self._tell(room.listeners(but=member), stream.start())
        return member, told + self._tell_copies_wanted(room)

    def leave(self, member: Member) -> list[Member]:
        """Does nothing for a member that has left before."""
        room, member.room = member.room, None
        self.overflowed.discard(member)
        if room is None:
            return []
        room.remove(member)
        if not room.members:
            del self._rooms[room.name]
        told = self._tell_copies_wanted(room)
        if member.stream is not None:
            self._streams.depart(member, member.stream, room.name)
            told += self._tell(room.listeners(), StreamEnd(member.stream.number))
        return told

    def publish(self, member: Member, datagram: bytes, now_ms: float) -> list[Member]:
        """Puts a media packet, which `packet.check` has accepted, into the listeners' mailboxes.
        Raises Refused for a member that only listens, and MalformedPacket for a malformed copy.
        """
        if member.stream is None or member.room is None:
            raise self._refusal(
                CloseCode.POLICY_VIOLATION, "this connection listens: it may not send media"
            )
        stamped = restamp(datagram, member.stream.number)
        by_distance = [limited(stamped, most) for most in range(MAX_COPY_DISTANCE + 1)]
        self.counters.packets_in += 1
        self.counters.bytes_in += len(datagram)
        told = []
        for listener in member.room.listeners(but=member):
            if not listener.mailbox.put_media(by_distance[listener.copies], now_ms):
                self.overflowed.add(listener)
            told.append(listener)
        return told

    def control(self, member: Member, message: Message, now_ms: float) -> list[Member]:
        """Answers or forwards a control message of a member that has joined. Raises Refused for a
        message that the member may not send, and MalformedMessage where a report becomes too long
        with the sender's name in it.
        """
        room, stream = member.room, member.stream
        if room is None:
            return []
        match message:
            case Time():
                return self._tell([member], Time(message.sent_ms, now_ms))
            case Report() if member.role.listens:
                return self._forward_report(room, member, message, now_ms)
            case Capture() if stream is not None:
                capture = Capture(message.capture_time, message.relay_ms, stream.number)
                return self._tell(room.listeners(but=member), capture)
            case Mute() if stream is not None:
                stream.muted = message.muted
                mute = Mute(message.muted, stream.number)
                return self._tell(room.listeners(but=member), mute)
            case StreamUpdate() if stream is not None:
                stream.info = message.info
                return self._tell(room.listeners(but=member), stream.start())
        raise self._refusal(
            CloseCode.POLICY_VIOLATION,
            f"a {member.role} connection may not send {type(message).__name__} now",
        )

    def _room_for(self, hello: Hello) -> Room:
        """The room that a client asks for; a new one is registered only when it gets a member."""
        if self.limits.rooms is not None and hello.room not in self.limits.rooms:
            raise self._refusal(
                CloseCode.NO_SUCH_ROOM,
                f"no room {hello.room}: this relay has {', '.join(sorted(self.limits.rooms))}",
            )
        if hello.room in self._rooms:
            return self._rooms[hello.room]
        if len(self._rooms) >= self.limits.max_rooms:
            raise self._full(f"the relay has {len(self._rooms)} rooms")
        return Room(hello.room)

    def _check_space(self, room: Room, hello: Hello, previous: Member | None) -> None:
        """Raises Refused where the room is full. A member that is to be replaced does not count."""
        talkers = len(room.talkers) - (previous is not None)
        listeners = room.listening - (previous is not None and previous.role.listens)
        if hello.role.talks and talkers >= self.limits.max_talkers:
            raise self._full(f"room {hello.room} has {talkers} talkers")
        if hello.role.listens and listeners >= self.limits.max_listeners:
            raise self._full(f"room {hello.room} has {listeners} listeners")

    def _stream_for(self, hello: Hello, previous: Member | None) -> Stream:
        """The stream that the hello resumes, or a new one. Removes the member that is replaced."""
        assert hello.stream_info is not None, "parse_message accepts no talker without stream_info"
        if previous is not None:
            number = self._replace(previous)
        else:
            number = self._streams.take_departed(hello.resume, hello.room)
        if number is not None:
            return Stream(number, hello.name, hello.stream_info, resumed=hello.resume)
        if (number := self._streams.unused_number()) is None:
            raise self._refusal(
                CloseCode.TRY_AGAIN_LATER, f"all {STREAM_NUMBERS} stream numbers are taken"
            )
        return Stream(number, hello.name, hello.stream_info)

    def _replace(self, previous: Member) -> int | None:
        """Removes a member without a stream_end -> the number of its stream, which goes on."""
        room, previous.room = previous.room, None
        assert room is not None
        assert previous.stream is not None
        room.remove(previous)
        self._streams.remove(previous, previous.stream)
        self.overflowed.discard(previous)
        self.replaced.add(previous)
        return previous.stream.number

    def _add_member(self, room: Room, hello: Hello, stream: Stream | None) -> Member:
        self._joined += 1
        mailbox = Mailbox(self.limits.max_queue_ms, self.limits.too_slow_ms, self.counters)
        member = Member(hello.role, hello.name, self._joined, mailbox, hello.copies, stream, room)
        room.add(member)
        self._rooms[room.name] = room
        if stream is not None:
            self._streams.add(member, stream)
        return member

    def _greet(self, room: Room, member: Member) -> None:
        """Puts the welcome into a new member's mailbox, and what it must know of each talker."""
        others = [stream for talker, stream in room.talkers.items() if talker is not member]
        number = None if member.stream is None else member.stream.number
        talking, listening = len(room.talkers), room.listening
        welcome = Welcome(member.session, room.name, number, (), talking, listening)
        texts = _introduce(welcome, [stream.start() for stream in others])
        mutes = [Mute(muted=True, stream=stream.number) for stream in others if stream.muted]
        for text in (*texts, *map(serialize_message, mutes)):
            member.mailbox.put_control(text)

    def _forward_report(
        self, room: Room, member: Member, report: Report, now_ms: float
    ) -> list[Member]:
        talkers = [
            talker
            for talker, stream in room.talkers.items()
            if stream.number == report.stream
            and talker is not member
            and stream.reports.passes(now_ms)
        ]
        signed = Report(report.stream, report.statistics, member.name, member.number)
        return self._tell(talkers, signed)

    def _tell_copies_wanted(self, room: Room) -> list[Member]:
        """Tells each talker for which the number has changed."""
        told = []
        for talker, stream in room.talkers.items():
            wanted = room.copies_wanted(talker)
            if wanted != stream.copies_wanted:
                stream.copies_wanted = wanted
                told += self._tell([talker], CopiesWanted(wanted))
        return told

    def _tell(self, members: Iterable[Member], message: Message) -> list[Member]:
        text, told = serialize_message(message), []
        for member in members:
            if not member.mailbox.put_control(text):
                self.overflowed.add(member)
            told.append(member)
        return told

    def _full(self, what: str) -> Refused:
        return self._refusal(CloseCode.TRY_AGAIN_LATER, f"{what}: that is all it takes")

    def _refusal(self, code: CloseCode, message: str) -> Refused:
        self.counters.refused += 1
        return Refused(code, message)


def _introduce(welcome: Welcome, streams: list[StreamStart]) -> list[str]:
    """The welcome with as many streams as one message holds, and a stream_start for each of the
    rest.
    """
    for count in range(len(streams), 0, -1):
        try:
            text = serialize_message(dataclasses.replace(welcome, streams=tuple(streams[:count])))
        except MalformedMessage:
            continue
        return [text, *(serialize_message(s) for s in streams[count:])]
    return [serialize_message(welcome), *(serialize_message(s) for s in streams)]
