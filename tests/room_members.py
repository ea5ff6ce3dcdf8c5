"""Rooms without a relay: members that join and read their mailboxes."""

from __future__ import annotations

from streamcodec.wire.message_json import parse_message
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.session import Hello, Role, StreamInfo
from streamcodec_server.members import Member
from streamcodec_server.rooms import Rooms

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000)


def media(sequence: int, stream: int = 9) -> bytes:
    return serialize(Packet(Flags(0), stream, sequence, sequence * 320, b"voice"))


def join_talker(
    rooms: Rooms, room: str = "a", name: str = "Ada", role: Role = Role.TALK, resume: str = ""
) -> Member:
    return rooms.join(Hello(role, room, name, INFO, resume=resume))[0]


def join_listener(rooms: Rooms, room: str = "a", name: str = "Lis", copies: int = 0) -> Member:
    return rooms.join(Hello(Role.LISTEN, room, name, copies=copies))[0]


def number(member: Member) -> int:
    """Of a talker's stream."""
    assert member.stream is not None
    return member.stream.number


def drain(member: Member, now_ms: float = 0.0) -> list[object]:
    """Takes everything out of the mailbox -> messages and media packets, parsed."""
    taken: list[object] = []
    while (item := member.mailbox.take(now_ms)) is not None:
        taken.append(parse_message(item) if isinstance(item, str) else parse(item))
    return taken
