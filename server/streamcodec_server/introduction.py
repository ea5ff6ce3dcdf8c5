"""What a new member is told of those who talk, in messages of the size that is allowed."""

from __future__ import annotations

import dataclasses

from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import Mute, StreamStart, Welcome

from .frames import frame_of
from .members import Member, Room


def greet(room: Room, member: Member) -> None:
    """Sends a new member its welcome, and what it must know of each talker."""
    others = [stream for talker, stream in room.talkers.items() if talker is not member]
    number = None if member.stream is None else member.stream.number
    talking, listening = len(room.talkers), room.listening
    welcome = Welcome(member.session, room.name, number, (), talking, listening)
    texts = introduce(welcome, [stream.start() for stream in others])
    mutes = [Mute(muted=True, stream=stream.number) for stream in others if stream.quiet]
    for text in (*texts, *map(serialize_message, mutes)):
        member.mailbox.put_control(frame_of(text))


def introduce(welcome: Welcome, streams: list[StreamStart]) -> list[str]:
    """The welcome with as many streams as one message holds, and a stream_start for each of the
    rest.
    """
    low, high = 0, len(streams)  # it holds `low`, but not more than `high`
    texts = {0: serialize_message(welcome)}
    while low < high:
        count = (low + high + 1) // 2
        whole = dataclasses.replace(welcome, streams=tuple(streams[:count]))
        try:
            texts[count] = serialize_message(whole)
            low = count
        except MalformedMessage:
            high = count - 1
    return [texts[low], *(serialize_message(s) for s in streams[low:])]
