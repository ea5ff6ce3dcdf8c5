"""Rooms without a relay: members that join and read their mailboxes."""

from __future__ import annotations

import weakref

from streamcodec.wire.message_json import parse_message
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.session import CloseCode, Hello, Message, Role, StreamInfo
from streamcodec.wire.short_headers import Restorer
from streamcodec_server.frames import message_in
from streamcodec_server.mailbox import HELD
from streamcodec_server.members import Member
from streamcodec_server.rooms import Rooms

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000)


def media(sequence: int, stream: int = 9, at_ms: float | None = None) -> bytes:
    """A packet that was captured at `at_ms`, or 20 ms after the one before."""
    captured = sequence * 320 if at_ms is None else round(16 * at_ms)
    return serialize(Packet(Flags(0), stream, sequence, captured, b"voice"))


class Outlet:
    """A connection that takes nothing until it is drained."""

    def __init__(self) -> None:
        self.writable = self.aborted = False
        self.descriptor = HELD
        self.dismissed: tuple[CloseCode, str] | None = None
        self.frames: list[bytes] = []
        self.room = 0  # for so many frames
        self.restorer = Restorer()

    def write(self, frame: bytes) -> None:
        assert self.writable
        self.frames.append(frame)
        self.room -= 1
        self.writable = self.room > 0

    def abort(self) -> None:
        self.aborted = True

    def dismiss(self, code: CloseCode, reason: str) -> None:
        self.dismissed = code, reason


outlets: weakref.WeakKeyDictionary[Member, Outlet] = weakref.WeakKeyDictionary()


def join(rooms: Rooms, hello: Hello, address: str = "", now_ms: float = 0.0) -> Member:
    outlet = Outlet()
    member = rooms.join(hello, outlet, address, now_ms)
    outlets[member] = outlet
    distribute(rooms, now_ms)
    return member


def join_talker(
    rooms: Rooms,
    room: str = "a",
    name: str = "Ada",
    role: Role = Role.TALK,
    resume: str = "",
    address: str = "",
) -> Member:
    return join(rooms, Hello(role, room, name, INFO, resume=resume), address)


def join_listener(
    rooms: Rooms, room: str = "a", name: str = "Lis", copies: int = 0, address: str = ""
) -> Member:
    return join(rooms, Hello(Role.LISTEN, room, name, copies=copies), address)


def distribute(rooms: Rooms, now_ms: float = 0.0) -> None:
    """Until nothing waits for its turn."""
    while rooms.waiting:
        rooms.distribute(now_ms, 100)


def publish(rooms: Rooms, member: Member, datagram: bytes, now_ms: float = 0.0) -> None:
    rooms.publish(member, datagram, now_ms)
    distribute(rooms, now_ms)


def control(rooms: Rooms, member: Member, message: Message, now_ms: float = 0.0) -> None:
    rooms.control(member, message, now_ms)
    distribute(rooms, now_ms)


def leave(rooms: Rooms, member: Member, now_ms: float = 0.0) -> None:
    rooms.leave(member, now_ms)
    distribute(rooms, now_ms)


def number(member: Member) -> int:
    """Of a talker's stream."""
    assert member.stream is not None
    return member.stream.number


def drain(member: Member, now_ms: float = 0.0, most: int = 1_000_000) -> list[object]:
    """Takes everything, or so much, out of the mailbox -> messages and media packets, parsed."""
    outlet = outlets[member]
    outlet.writable, outlet.room = True, most
    member.mailbox.flush(now_ms)
    outlet.writable = False
    frames, outlet.frames = outlet.frames, []
    items = [message_in(frame) for frame in frames]
    restore = outlet.restorer.restore
    return [parse_message(i) if isinstance(i, str) else parse(restore(i)) for i in items]
