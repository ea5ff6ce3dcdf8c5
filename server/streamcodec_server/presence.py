"""Who only listens, for members that want to know. Sans-I/O."""

from __future__ import annotations

import itertools

from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import MOST_LISTENING_NAMED, Listening, Role

from .frames import frame_of
from .members import Room

EXACT = 32  # up to so many listeners each coming and going is told
CHANGE = 0.1  # beyond, what differs by so much from what was told last


def news(room: Room) -> bytes | None:
    """The frame for those who want to know, where somebody's coming or going says something new."""
    count, told = room.only_listening, room.listening_told
    few = count <= EXACT and told <= EXACT
    if not room.watching or not (few or abs(count - told) >= CHANGE * told):
        return None
    room.listening_told = count
    return listening_frame(room)


def listening_frame(room: Room) -> bytes:
    """How many only listen, and as many names as a message holds: some are long."""
    named = (m.name for m in room.members if m.role is Role.LISTEN and m.name)
    names = tuple(itertools.islice(named, MOST_LISTENING_NAMED))
    while True:
        try:
            return frame_of(serialize_message(Listening(room.only_listening, names)))
        except MalformedMessage:
            names = names[: len(names) // 2]
