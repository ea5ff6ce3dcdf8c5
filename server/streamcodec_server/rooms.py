"""Who is in which room, and what each listener still has to be sent. Sans-I/O: time is an argument,
deliveries lie in mailboxes.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from collections.abc import Iterable

from streamcodec.errors import MalformedMessage, StreamcodecError
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.packet import restamp
from streamcodec.wire.redundancy import MAX_COPIES, limited
from streamcodec.wire.session import (
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Report,
    Role,
    StreamEnd,
    StreamInfo,
    StreamStart,
    StreamUpdate,
    Time,
    Welcome,
)

STREAM_NUMBERS = 1 << 16
MAX_CONTROL_BACKLOG = 256
MAX_REPORTS_PER_S = 10  # that reach one talker: of a thousand listeners a sample
MAX_DEPARTED = 4_096  # talkers whose streams can be resumed after their connections broke


class Refused(StreamcodecError):
    """A client asked for what it cannot have; the connection ends with `code`."""

    def __init__(self, code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class RoomLimits:
    """max_queue_ms: media older than this is dropped, oldest first, before it is sent. too_slow_ms:
    a listener that has been dropping for so long without a pause is sent away. rooms: the only ones
    there are; None lets the first to come make a room.
    """

    max_queue_ms: float = 400.0
    too_slow_ms: float = 10_000.0
    max_talkers: int = 32
    max_listeners: int = 10_000
    max_rooms: int = 1_000
    rooms: frozenset[str] | None = None


@dataclasses.dataclass
class Counters:
    """Of the whole relay since it started. Dropped: media that grew too old in a
    listener's queue.
    """

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    refused: int = 0


class Mailbox:
    """What one member still has to be sent, in the order it came: control messages, all of them,
    and media bounded by age, not by bytes.

    TCP's own back-pressure comes minutes too late at these bit rates, so age is measured here, from
    the moment a packet arrived.
    """

    def __init__(self, limits: RoomLimits, counters: Counters) -> None:
        self._limits, self._counters = limits, counters
        self._control: deque[tuple[int, str]] = deque()  # and how many media had arrived before it
        self._media: deque[tuple[float, bytes]] = deque()  # and when it arrived
        self._media_arrived = 0
        self._dropping_since: float | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._control) + len(self._media)

    def put_control(self, text: str) -> bool:
        """False where a member reads so little that even control messages pile up: it must be sent
        away.
        """
        self._control.append((self._media_arrived, text))
        return len(self._control) <= MAX_CONTROL_BACKLOG

    def put_media(self, datagram: bytes, now_ms: float) -> bool:
        """False where the member has been too slow for too long: it must be sent away."""
        self._expire(now_ms)
        self._media.append((now_ms, datagram))
        self._media_arrived += 1
        return (
            self._dropping_since is None or now_ms - self._dropping_since < self._limits.too_slow_ms
        )

    def take(self, now_ms: float) -> str | bytes | None:
        """Next to be sent: control whose turn it is, or the oldest media that is not too old. None:
        nothing is waiting.
        """
        self._expire(now_ms)
        # A stream's end must not overtake its last words, nor its new info what was made with the
        # old.
        if self._control and self._control[0][0] <= self._media_arrived - len(self._media):
            return self._control.popleft()[1]
        if not self._media:
            # all that there was has been taken; what comes after a pause finds no grudge
            self._dropping_since = None
            return None
        arrived_ms, datagram = self._media.popleft()
        if now_ms - arrived_ms < self._limits.max_queue_ms / 2:
            self._dropping_since = None  # it has caught up
        self._counters.packets_out += 1
        self._counters.bytes_out += len(datagram)
        return datagram

    def _expire(self, now_ms: float) -> None:
        while self._media and now_ms - self._media[0][0] > self._limits.max_queue_ms:
            self._media.popleft()
            self.dropped += 1
            self._counters.dropped += 1
            if self._dropping_since is None:
                self._dropping_since = now_ms


class Member:
    """One connection in a room. Identity is the object: two members may bear the same name."""

    def __init__(self, role: Role, name: str, mailbox: Mailbox, number: int) -> None:
        self.role, self.name, self.mailbox, self.number = role, name, mailbox, number
        self.session = secrets.token_hex(8)  # who knows it may resume the stream
        self.resumed = ""  # the session before, whose stream goes on
        self.stream: int | None = None
        self.info: StreamInfo | None = None
        self.muted = False
        self.copies = 0  # of how many packets before one it takes copies
        self.copies_wanted = 0  # of its own packets, as it has been told
        self.reports, self.reports_since_ms = 0, 0.0
        self.room: Room | None = None


class Room:
    """Talkers and listeners of one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Member, None] = {}  # an ordered set: who came first is told first
        self._talkers: dict[Member, None] = {}
        self._takers = [0] * (MAX_COPIES + 1)  # listeners by the number of copies that they take

    def add(self, member: Member) -> None:
        self.members[member] = None
        if member.role.talks:
            self._talkers[member] = None
        self._takers[member.copies] += member.role.listens

    def remove(self, member: Member) -> None:
        del self.members[member]
        self._talkers.pop(member, None)
        self._takers[member.copies] -= member.role.listens

    @property
    def listening(self) -> int:
        """How many listen."""
        return sum(self._takers)

    def copies_wanted(self, talker: Member) -> int:
        """The most copies that any of its listeners takes."""
        own = talker.copies if talker.role.listens else None
        return max((n for n, takers in enumerate(self._takers) if takers > (n == own)), default=0)

    def listeners(self, but: Member | None = None) -> Iterable[Member]:
        return (m for m in self.members if m.role.listens and m is not but)

    def talkers(self) -> tuple[Member, ...]:
        return tuple(self._talkers)


class Rooms:
    """All rooms of a relay. Methods return the members that have something new to be sent. Those to
    be sent away are in `overflowed`; connections that their own clients have given up for another,
    in `replaced`.
    """

    def __init__(self, limits: RoomLimits | None = None) -> None:
        self.limits = limits or RoomLimits()
        self.counters = Counters()
        self.overflowed: set[Member] = set()
        self.replaced: set[Member] = set()
        self._talking: dict[str, Member] = {}  # by session
        self._resumed: dict[str, Member] = {}  # of those, by the session before
        self._departed: dict[str, tuple[str, int]] = {}  # session -> room and stream, oldest first
        self._rooms: dict[str, Room] = {}
        self._next_stream = self._joined = 0
        self._streams: set[int] = set()

    @property
    def rooms(self) -> dict[str, Room]:
        return self._rooms

    def join(self, hello: Hello) -> tuple[Member, list[Member]]:
        """-> the new member, its welcome in its mailbox, and everybody who has something to be
        sent. Raises Refused.

        A talker that names its last session keeps its stream's number, whether or not we have seen
        that connection break.
        """
        room = self._room_for(hello)
        before = self._earlier_connection(hello)
        talkers = [t for t in room.talkers() if t is not before]
        listeners = room.listening - (before is not None and before.role.listens)
        if hello.role.talks and len(talkers) >= self.limits.max_talkers:
            raise self._refusal(
                CloseCode.TRY_AGAIN_LATER,
                f"room {hello.room} has {len(talkers)} talkers: that is all it takes",
            )
        if hello.role.listens and listeners >= self.limits.max_listeners:
            raise self._refusal(
                CloseCode.TRY_AGAIN_LATER,
                f"room {hello.room} has {listeners} listeners: that is all it takes",
            )
        self._joined += 1
        member = Member(hello.role, hello.name, Mailbox(self.limits, self.counters), self._joined)
        member.room, member.copies = room, hello.copies if hello.role.listens else 0
        streams = [
            StreamStart(t.stream, t.name, t.info)
            for t in talkers
            if t.stream is not None and t.info is not None
        ]
        told: list[Member] = [member]
        if hello.role.talks:
            resumed = self._departed_stream(hello) if before is None else self._replace(before)
            member.stream, member.info = (
                self._new_stream() if resumed is None else resumed,
                hello.stream_info,
            )
            self._streams.add(member.stream)
            self._talking[member.session] = member
            member.resumed = hello.resume if resumed is not None else ""
            if member.resumed:
                self._resumed[member.resumed] = member
        self._rooms[room.name] = room
        room.add(member)
        talking, listening = len(talkers) + hello.role.talks, listeners + hello.role.listens
        welcome = Welcome(member.session, room.name, member.stream, (), talking, listening)
        for text in _introduce(welcome, streams):
            member.mailbox.put_control(text)
        for talker in talkers:
            if talker.muted and talker.stream is not None:
                member.mailbox.put_control(
                    serialize_message(Mute(muted=True, stream=talker.stream))
                )
        if member.stream is not None and member.info is not None:
            told += self._tell(
                room.listeners(but=member), StreamStart(member.stream, member.name, member.info)
            )
        return member, told + self._tell_wanted(room)

    def leave(self, member: Member) -> list[Member]:
        """Leaving twice is leaving once."""
        room, member.room = member.room, None
        self.overflowed.discard(member)
        if room is None:
            return []
        room.remove(member)
        if not room.members:
            del self._rooms[room.name]
        told = self._tell_wanted(room)
        if member.stream is None:
            return told
        self._forget(member)
        for session in filter(None, (member.session, member.resumed)):
            self._departed[session] = room.name, member.stream
        while len(self._departed) > MAX_DEPARTED:
            del self._departed[next(iter(self._departed))]
        return told + self._tell(room.listeners(), StreamEnd(member.stream))

    def publish(self, member: Member, datagram: bytes, now_ms: float) -> list[Member]:
        """A checked media datagram from a talker -> listeners to wake. Raises Refused for a member
        that only listens, and MalformedPacket for copies that are none.
        """
        if member.stream is None or member.room is None:
            raise self._refusal(
                CloseCode.POLICY_VIOLATION, "this connection listens: it may not send media"
            )
        stamped = restamp(datagram, member.stream)
        # by the number of copies that a listener takes
        forms = [limited(stamped, most) for most in range(MAX_COPIES + 1)]
        self.counters.packets_in += 1
        self.counters.bytes_in += len(datagram)
        woken = []
        for listener in member.room.listeners(but=member):
            if not listener.mailbox.put_media(forms[listener.copies], now_ms):
                self.overflowed.add(listener)
            woken.append(listener)
        return woken

    def control(self, member: Member, message: Message, now_ms: float) -> list[Member]:
        """A control message of a member that has joined -> members to wake. Raises Refused for one
        that is not its to send, and MalformedMessage where it grows too long with the sender's name
        in it.
        """
        room = member.room
        if room is None:
            return []
        if isinstance(message, Report) and member.role.listens:
            talkers = [
                t
                for t in room.talkers()
                if t.stream == message.stream and t is not member and _takes_report(t, now_ms)
            ]
            return self._tell(
                talkers, Report(message.stream, message.statistics, member.name, member.number)
            )
        if isinstance(message, Time):
            return self._tell([member], Time(message.sent_ms, now_ms))
        if isinstance(message, Capture) and member.stream is not None:
            return self._tell(
                room.listeners(but=member),
                Capture(message.capture_time, message.relay_ms, member.stream),
            )
        if isinstance(message, Mute) and member.stream is not None:
            member.muted = message.muted
            return self._tell(room.listeners(but=member), Mute(message.muted, member.stream))
        if isinstance(message, StreamUpdate) and member.stream is not None:
            member.info = message.info
            return self._tell(
                room.listeners(but=member), StreamStart(member.stream, member.name, message.info)
            )
        raise self._refusal(
            CloseCode.POLICY_VIOLATION,
            f"a {member.role} connection may not send {type(message).__name__} now",
        )

    def _earlier_connection(self, hello: Hello) -> Member | None:
        """The member whose stream goes on, where we have not seen its connection break. The welcome
        of a connection may get lost with it: then the client names the session before once more.
        """
        before = self._talking.get(hello.resume) or self._resumed.get(hello.resume)
        known = (
            before is not None
            and before.room is not None
            and before.room.name == hello.room
            and hello.role.talks
        )
        return before if known else None

    def _replace(self, before: Member) -> int | None:
        """Takes a member out without a goodbye -> the number of its stream."""
        assert before.room is not None
        before.room.remove(before)
        before.room = None  # leaving later, it leaves nothing
        self.overflowed.discard(before)
        self.replaced.add(before)
        self._forget(before)
        return before.stream

    def _departed_stream(self, hello: Hello) -> int | None:
        """The number of a stream whose connection broke, if it is still free."""
        room, stream = self._departed.get(hello.resume, ("", -1))
        if room != hello.room or stream in self._streams:
            return None
        del self._departed[hello.resume]
        return stream

    def _forget(self, member: Member) -> None:
        if member.stream is not None:
            self._streams.discard(member.stream)
        self._talking.pop(member.session, None)
        if self._resumed.get(member.resumed) is member:
            del self._resumed[member.resumed]

    def _room_for(self, hello: Hello) -> Room:
        if self.limits.rooms is not None and hello.room not in self.limits.rooms:
            raise self._refusal(
                CloseCode.NO_SUCH_ROOM,
                f"no room {hello.room}: this relay has {', '.join(sorted(self.limits.rooms))}",
            )
        if hello.room in self._rooms:
            return self._rooms[hello.room]
        if len(self._rooms) >= self.limits.max_rooms:
            raise self._refusal(
                CloseCode.TRY_AGAIN_LATER,
                f"the relay has {len(self._rooms)} rooms: that is all it takes",
            )
        return Room(hello.room)

    def _new_stream(self) -> int:
        """Numbers are not used again soon: a listener may still have packets of the talker that
        left.
        """
        for _ in range(STREAM_NUMBERS):
            self._next_stream = (self._next_stream + 1) % STREAM_NUMBERS
            if self._next_stream not in self._streams:
                self._streams.add(self._next_stream)
                return self._next_stream
        raise self._refusal(
            CloseCode.TRY_AGAIN_LATER, f"all {STREAM_NUMBERS} stream numbers are taken"
        )

    def _tell_wanted(self, room: Room) -> list[Member]:
        """Each talker, where the number of copies that its listeners take has changed."""
        told = []
        for talker in room.talkers():
            wanted = room.copies_wanted(talker)
            if wanted != talker.copies_wanted:
                talker.copies_wanted = wanted
                told += self._tell([talker], CopiesWanted(wanted))
        return told

    def _tell(self, members: Iterable[Member], message: Message) -> list[Member]:
        text, told = serialize_message(message), []
        for member in members:
            if not member.mailbox.put_control(text):
                self.overflowed.add(member)
            told.append(member)
        return told

    def _refusal(self, code: CloseCode, message: str) -> Refused:
        self.counters.refused += 1
        return Refused(code, message)


def _takes_report(talker: Member, now_ms: float) -> bool:
    """Whoever talks to a thousand listeners reads the first few reports of each second."""
    if now_ms - talker.reports_since_ms >= 1_000:
        talker.reports, talker.reports_since_ms = 0, now_ms
    talker.reports += 1
    return talker.reports <= MAX_REPORTS_PER_S


def _introduce(welcome: Welcome, streams: list[StreamStart]) -> list[str]:
    """A welcome with as many streams as one message holds, and a stream_start for each that it does
    not.
    """
    for count in range(len(streams), 0, -1):
        try:
            text = serialize_message(dataclasses.replace(welcome, streams=tuple(streams[:count])))
        except MalformedMessage:
            continue
        return [text, *(serialize_message(s) for s in streams[count:])]
    return [serialize_message(welcome), *(serialize_message(s) for s in streams)]
