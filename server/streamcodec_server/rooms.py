"""The logic of a relay: who is in which room, and what each member is sent. Sans-I/O: time is an
argument, and what members are sent goes to their mailboxes' outlets.
"""

from __future__ import annotations

from collections.abc import Hashable, Sized

from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.packet import STREAM_NUMBERS, Flags, capture_time_of, flags_of
from streamcodec.wire.redundancy import copy_distance
from streamcodec.wire.session import (
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Remove,
    Report,
    Silence,
    StreamEnd,
    StreamUpdate,
    Time,
    Who,
)

from . import presence
from .addresses import Addresses
from .audience import FanOut
from .budget import Budget, Spent
from .distribution import Broadcast, Distributor
from .elsewhere import Elsewhere, Nowhere
from .frames import frame_of
from .introduction import greet
from .limits import FRAGMENTS, RoomLimits
from .mailbox import Counters, Mailbox, Outlet
from .members import Budgets, Member, Room, Stream
from .moderation import REMOVED, Moderation
from .refused import Refused
from .space import no_space
from .streams import StreamRegister

RESET = int(Flags.RESET)  # enums cost more than the rest of a line


class Rooms:
    """All rooms of a relay. What goes to all listeners of a room waits for `distribute`."""

    def __init__(self, limits: RoomLimits | None = None, fan_out: FanOut | None = None) -> None:
        """fan_out: sends to many listeners in one call, where that can be had."""
        self.elsewhere: Elsewhere = Nowhere()
        self.limits = limits or RoomLimits()
        self.counters = Counters()
        self.addresses = Addresses(self.limits.addresses)
        self._rooms: dict[str, Room] = {}
        self._streams = StreamRegister(1_000 * self.limits.departed_s)
        self._moderation = Moderation(self, 1_000 * self.limits.sanction_s)
        self._distributor = Distributor(self.limits.max_queue_ms, self.counters, fan_out)
        self.waiting: Sized = self._distributor.turns  # true while there is something to send
        self._joined = 0

    @property
    def rooms(self) -> dict[str, Room]:
        """By name; only rooms that have members."""
        return self._rooms

    @property
    def full(self) -> bool:
        """Whether no room can be opened any more."""
        fixed = self.limits.rooms
        return fixed is None and len(self._rooms) >= self.limits.max_rooms

    def distribute(self, now_ms: float, deliveries: int) -> int:
        """At most so many of what waits for the listeners of rooms -> how many were made."""
        return self._distributor.step(now_ms, deliveries)

    def resume(self, mailbox: Mailbox) -> None:
        """A member's outlet takes frames again."""
        self._distributor.resume(mailbox)

    def join(
        self,
        hello: Hello,
        outlet: Outlet,
        address: str = "",
        now_ms: float = 0.0,
        *,
        moderates: bool = False,
        remote: bool = False,
    ) -> Member:
        """-> the new member, whose messages go to `outlet`. `remote`: it is connected to another
        relay. Raises Refused.

        A talker that names its previous session keeps its stream number, even if that session's
        connection still counts as open: the earlier member is then replaced, its outlet aborted.
        """
        identity = (hello.room, hello.token, address)
        if self._moderation.is_removed(identity, now_ms):
            raise self.refusal(CloseCode.FORBIDDEN, REMOVED)
        room = self._room_for(hello, address, now_ms)
        resume = hello.resume if hello.role.talks else ""
        previous = self._streams.connected(resume, room.name) if resume else None
        if (full := no_space(self.limits, room, hello, previous, address)) is not None:
            raise self._full(full)
        stream = self._stream_for(hello, previous, now_ms) if hello.role.talks else None
        member = self._add_member(room, hello, stream, outlet, address, now_ms)
        member.identity, member.moderates, member.remote = identity, moderates, remote
        member.joined_ms = now_ms
        try:
            self._introduce(room, member, now_ms)
        except BaseException:  # a member of whom its connection does not know would stay for ever
            self.leave(member, now_ms)
            raise
        return member

    def _introduce(self, room: Room, member: Member, now_ms: float) -> None:
        """Tells a new member of the others, and them of it."""
        greet(room, member)
        stream = member.stream
        if stream is not None:
            self._tell_listeners(room, member, stream.start(), ("stream", stream.number), now_ms)
            self._moderation.welcome(room, member, stream, now_ms)
        self._tell_copies_wanted(room)
        if not (stream is None and self._tell_listening(room, now_ms)) and member.mailbox.watches:
            member.mailbox.put_control(presence.listening_frame(room), "listening")
        if not member.remote:
            self.elsewhere.joined(room, member)

    def leave(self, member: Member, now_ms: float = 0.0) -> None:
        """Does nothing for a member that has left before."""
        room, member.room = member.room, None
        member.mailbox.close()
        if room is None:
            return
        self._remove(room, member)
        if member.stream is not None:
            self._streams.depart(member, member.stream, room.name, now_ms)
            number = member.stream.number
            self._tell_listeners(room, None, StreamEnd(number), ("stream", number), now_ms)
        else:
            self._tell_listening(room, now_ms)
        self._tell_copies_wanted(room)
        if not member.remote:
            self.elsewhere.left(room, member)

    def publish(self, member: Member, datagram: bytes, now_ms: float) -> None:
        """A media packet as it was received, for the room's listeners. Raises Refused for a member
        that only listens or sends too much, and MalformedPacket and UnsupportedVersion as
        `Restorer.restore`; MalformedPacket also for a malformed copy.
        """
        room, stream = member.room, member.stream
        if stream is None:
            raise self.refusal(
                CloseCode.POLICY_VIOLATION, "this connection listens: it may not send media"
            )
        if room is None:
            return
        received = len(datagram)
        datagram = stream.restorer.restore(datagram)
        distance = copy_distance(datagram)  # malformed copies are refused here
        self.counters.packets_in += 1
        self.counters.bytes_in += received
        if not self._affords(member, received, now_ms):
            return
        if flags_of(datagram) & RESET:
            stream.lateness.restart()
        captured, bound_ms = capture_time_of(datagram), self.limits.max_queue_ms
        if stream.silenced:
            return
        if stream.lateness.is_stale(captured, now_ms, bound_ms):
            self.counters.stale += 1
            return
        media = stream.outgoing.media(datagram, distance)
        self._distributor.add_media(room, member, media, now_ms)
        if not member.remote:
            self.elsewhere.said(room, member, datagram)

    def control(self, member: Member, message: Message, now_ms: float) -> None:
        """Answers or forwards a control message of a member that has joined. Raises Refused for a
        message that the member may not send, or for too many, and MalformedMessage where a report
        becomes too long with the sender's name in it.
        """
        room, stream = member.room, member.stream
        if room is None or not self._within(member.budgets.control, 1, "messages", now_ms):
            return
        match message:
            case Time():
                answer = frame_of(serialize_message(Time(message.sent_ms, now_ms)))
                member.mailbox.put_control(answer, "time")
                return
            case Report() if member.role.listens:
                self._forward_report(room, member, message, now_ms)
                return
            case Capture() if stream is not None:
                capture = Capture(message.capture_time, message.relay_ms, stream.number)
                self._tell_listeners(room, member, capture, ("capture", stream.number), now_ms)
                self._tell_others(room, member, capture)
                return
            case Mute() if stream is not None:
                stream.muted = message.muted
                self.tell_quiet(room, member, stream, now_ms)
                return
            case Who() | Remove() | Silence():
                if not member.moderates:
                    raise self.refusal(
                        CloseCode.FORBIDDEN, "only a token with moderate allows that"
                    )
                self._moderation.obey(room, member, message, now_ms)
                return
            case StreamUpdate() if stream is not None:
                stream.info = message.info
                start = stream.start()
                self._tell_listeners(room, member, start, ("stream", stream.number), now_ms)
                self._tell_others(room, member, message)
                return
        raise self.refusal(
            CloseCode.POLICY_VIOLATION,
            f"a {member.role} connection may not send {type(message).__name__} now",
        )

    def from_elsewhere(
        self, member: Member, message: Report | Remove | Silence, now_ms: float
    ) -> None:
        """What somebody at another relay has to say to a talker, or of it."""
        if member.room is None:
            return
        if isinstance(message, Report):
            frame = frame_of(serialize_message(message))
            member.mailbox.put_control(frame, ("report", message.name, message.listener))
        else:
            self._moderation.sanction(member.room, member, message, now_ms)

    def want_elsewhere(self, room: Room, member: Member | None, relay: bytes, copies: int) -> None:
        """How far back a copy may lie that listeners of another relay take: of one talker, or of
        all.
        """
        for talker, stream in room.talkers.items():
            if member in (None, talker):
                stream.wanted_elsewhere.pop(relay, None)
                if copies:
                    stream.wanted_elsewhere[relay] = copies
        self._tell_copies_wanted(room)

    def tell_quiet(self, room: Room, member: Member, stream: Stream, now_ms: float) -> None:
        """Everybody else, whether a talker sends nothing for now."""
        mute = Mute(stream.quiet, stream.number)
        self._tell_listeners(room, member, mute, ("mute", stream.number), now_ms)
        self._tell_others(room, member, mute)

    def _tell_others(self, room: Room, member: Member, message: Message) -> None:
        """Other relays, of what a member of ours has told."""
        if not member.remote:
            self.elsewhere.told(room, member, message)

    def idle_frame(self, member: Member, what: str, now_ms: float) -> None:
        """A frame came that says nothing: a ping or pong, a fragment, a message of a later version.
        Each counts as a message, fragments as packets. Raises Refused where they are too many.
        """
        budgets = member.budgets
        self._within(budgets.packets if what == FRAGMENTS else budgets.control, 1, what, now_ms)

    def _affords(self, member: Member, size: int, now_ms: float) -> bool:
        """Whether a packet is within what its sender may send."""
        packets = member.budgets.packets.spend(1, now_ms)
        size_too = member.budgets.bytes.spend(size, now_ms)
        if packets is Spent.WITHIN and size_too is Spent.WITHIN:
            return True
        self._check_spent(packets, "packets")
        self._check_spent(size_too, "bytes")
        return False

    def _within(self, budget: Budget, amount: float, what: str, now_ms: float) -> bool:
        return self._check_spent(budget.spend(amount, now_ms), what)

    def _check_spent(self, spent: Spent, what: str) -> bool:
        """Counts what is too much -> whether it is not. Raises Refused where it goes on."""
        if spent is Spent.EXHAUSTED:
            raise self.refusal(CloseCode.TOO_FAST, f"too many {what} a second from this client")
        self.counters.throttled += spent is Spent.OVER
        return spent is Spent.WITHIN

    def _room_for(self, hello: Hello, address: str, now_ms: float) -> Room:
        """The room that a client asks for; a new one is registered only when it gets a member."""
        if self.limits.rooms is not None and hello.room not in self.limits.rooms:
            raise self.refusal(CloseCode.NO_SUCH_ROOM, f"this relay has no room {hello.room}")
        if hello.room in self._rooms:
            return self._rooms[hello.room]
        if self.full:
            raise self._full(f"the relay has {len(self._rooms)} rooms")
        if not self.addresses.may_open_room(address, now_ms):
            raise self.refusal(CloseCode.TOO_FAST, "too many new rooms from this address")
        return Room(hello.room)

    def _stream_for(self, hello: Hello, previous: Member | None, now_ms: float) -> Stream:
        """The stream that the hello resumes, or a new one. Removes the member that is replaced."""
        assert hello.stream_info is not None, "parse_message accepts no talker without stream_info"
        if previous is not None:
            number = self._replace(previous)
        else:
            number = self._streams.take_departed(hello.resume, hello.room, now_ms)
        if number is not None:
            return Stream(number, hello.name, hello.stream_info, resumed=hello.resume)
        if (number := self._streams.unused_number()) is None:
            raise self.refusal(
                CloseCode.TRY_AGAIN_LATER, f"all {STREAM_NUMBERS} stream numbers are taken"
            )
        return Stream(number, hello.name, hello.stream_info)

    def _replace(self, previous: Member) -> int | None:
        """Removes a member without a stream_end -> the number of its stream, which goes on. Its
        client no longer reads from it: a close handshake would get no answer.
        """
        room, previous.room = previous.room, None
        assert room is not None
        assert previous.stream is not None
        room.remove(previous)
        self._streams.remove(previous, previous.stream)
        previous.mailbox.abort()
        return previous.stream.number

    def _remove(self, room: Room, member: Member) -> None:
        room.remove(member)
        if not room.members:
            del self._rooms[room.name]
            self._distributor.forget(room)

    def _add_member(
        self,
        room: Room,
        hello: Hello,
        stream: Stream | None,
        outlet: Outlet,
        address: str,
        now_ms: float,
    ) -> Member:
        self._joined += 1
        limits = self.limits
        mailbox = Mailbox(
            outlet, limits.max_queue_ms, self.counters, hello.copies, watches=hello.presence
        )
        rates = (limits.packets_per_s, limits.bytes_per_s, limits.control_per_s)
        budgets = Budgets(*(Budget(rate, limits.burst_s * rate) for rate in rates))
        member = Member(
            hello.role,
            hello.name,
            self._joined,
            address,
            mailbox,
            budgets,
            hello.copies,
            stream,
            room,
        )
        room.add(member)
        self._rooms[room.name] = room
        if stream is not None:
            self._streams.add(member, stream)
        return member

    def _forward_report(self, room: Room, member: Member, report: Report, now_ms: float) -> None:
        for talker, stream in room.talkers.items():
            if stream.number == report.stream and talker is not member:
                break
        else:
            return
        if member.may_report(report.stream, room.listening, now_ms):
            signed = Report(report.stream, report.statistics, member.name, member.number)
            frame = frame_of(serialize_message(signed))
            talker.mailbox.put_control(frame, ("report", member.number))

    def _tell_copies_wanted(self, room: Room) -> None:
        """Tells each talker for which the number has changed."""
        for talker, stream in room.talkers.items():
            wanted = max(room.copies_wanted(talker), *stream.wanted_elsewhere.values(), 0)
            if wanted != stream.copies_wanted:
                stream.copies_wanted = wanted
                frame = frame_of(serialize_message(CopiesWanted(wanted)))
                talker.mailbox.put_control(frame, "copies_wanted")

    def _tell_listeners(
        self, room: Room, sender: Member | None, message: Message, key: Hashable, now_ms: float
    ) -> None:
        frame = frame_of(serialize_message(message))
        self._distributor.add(room, Broadcast(sender, now_ms, control=frame, key=key))

    def _tell_listening(self, room: Room, now_ms: float) -> bool:
        """Those who want to know, who only listens -> whether there was anything new."""
        if (frame := presence.news(room)) is not None:
            news = Broadcast(None, now_ms, control=frame, key="listening", for_watchers=True)
            self._distributor.add(room, news)
        return frame is not None

    def _full(self, what: str) -> Refused:
        return self.refusal(CloseCode.TRY_AGAIN_LATER, f"{what}: that is all it takes")

    def refusal(self, code: CloseCode, message: str) -> Refused:
        """To be raised; it is counted."""
        self.counters.refused += 1
        return Refused(code, message)
