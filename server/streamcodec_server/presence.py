"""Who only listens, for members that want to know. Sans-I/O."""

from __future__ import annotations

import itertools
import math

from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import MOST_LISTENING_NAMED, Listening, Role

from .frames import frame_of
from .members import Member, Room

EXACT = 32  # up to so many listeners each coming and going is told, beyond every tenth or so
GROWTH = math.log(1.1)


def welcome(room: Room, member: Member) -> None:
    """A member that wants to know has joined."""
    room.watchers[member] = None
    _tell(member, _listening(room))


def changed(room: Room) -> None:
    """Somebody has come or gone: tells those who want to know, where that says something new."""
    if not room.watchers:
        return
    count = room.only_listening
    state = count if count <= EXACT else EXACT + int(math.log(count / EXACT) / GROWTH)
    if state == room.listening_told and count > EXACT:
        return
    room.listening_told = state
    message = _listening(room)
    for member in room.watchers:
        _tell(member, message)


def _listening(room: Room) -> Listening:
    named = (m.name for m in room.members if m.role is Role.LISTEN and m.name)
    return Listening(room.only_listening, tuple(itertools.islice(named, MOST_LISTENING_NAMED)))


def _tell(member: Member, message: Listening) -> None:
    member.mailbox.put_control(frame_of(serialize_message(message)), "listening")
