"""What moderators of a room may do: see who is there, silence and remove. Sans-I/O."""

from __future__ import annotations

from typing import Protocol

from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import serialize_message
from streamcodec.wire.session import (
    CloseCode,
    Members,
    Present,
    Remove,
    Silence,
    Silenced,
    Who,
)

from .frames import frame_of
from .members import Member, Room, Stream

MOST_SANCTIONS = 10_000  # that are remembered
PRESENT_AT_ONCE = 16  # in a message, unless their names are long
REMOVED = "a moderator has removed this member from the room"
Identity = tuple[str, str, str]  # room, token and address


class Sanctions:
    """Who was removed from a room, or silenced in it, and may not come back otherwise: by room,
    token and address, for a time.
    """

    def __init__(self, lasting_ms: float) -> None:
        self._lasting_ms = lasting_ms
        # when it was said; oldest first
        self._removed: dict[Identity, float] = {}
        self._silenced: dict[Identity, float] = {}

    def remove(self, identity: Identity, now_ms: float) -> None:
        _remember(self._removed, identity, now_ms)

    def silence(self, identity: Identity, silenced: bool, now_ms: float) -> None:
        if silenced:
            _remember(self._silenced, identity, now_ms)
        else:
            self._silenced.pop(identity, None)

    def is_removed(self, identity: Identity, now_ms: float) -> bool:
        return self._lasts(self._removed.get(identity), now_ms)

    def is_silenced(self, identity: Identity, now_ms: float) -> bool:
        return self._lasts(self._silenced.get(identity), now_ms)

    def _lasts(self, since_ms: float | None, now_ms: float) -> bool:
        return since_ms is not None and now_ms - since_ms < self._lasting_ms


class Moderated(Protocol):
    """The rooms, as far as moderators act on them."""

    def leave(self, member: Member, now_ms: float) -> None: ...

    def tell_quiet(self, room: Room, member: Member, stream: Stream, now_ms: float) -> None: ...


class Moderation:
    """Carries out what moderators say."""

    def __init__(self, rooms: Moderated, lasting_ms: float) -> None:
        self._rooms, self._sanctions = rooms, Sanctions(lasting_ms)

    def is_removed(self, identity: Identity, now_ms: float) -> bool:
        return self._sanctions.is_removed(identity, now_ms)

    def welcome(self, room: Room, member: Member, stream: Stream, now_ms: float) -> None:
        """A talker has joined: who was silenced stays so."""
        if self._sanctions.is_silenced(member.identity, now_ms):
            self._silence(room, member, stream, True, now_ms)

    def obey(
        self, room: Room, moderator: Member, message: Who | Remove | Silence, now_ms: float
    ) -> None:
        if isinstance(message, Who):
            for number, text in enumerate(list_of(room)):
                moderator.mailbox.put_control(frame_of(text), ("members", number))
        elif (member := member_of(room, message.member)) is None:
            return  # it has just left
        elif member.remote:  # where it is connected this is done
            member.mailbox.put_control(frame_of(serialize_message(message)))
        else:
            self.sanction(room, member, message, now_ms)

    def sanction(
        self, room: Room, member: Member, message: Remove | Silence, now_ms: float
    ) -> None:
        """Of a member that is connected here."""
        if isinstance(message, Remove):
            self._sanctions.remove(member.identity, now_ms)
            member.mailbox.dismiss(CloseCode.FORBIDDEN, REMOVED)
            self._rooms.leave(member, now_ms)
        elif member.stream is not None:
            self._sanctions.silence(member.identity, message.silenced, now_ms)
            self._silence(room, member, member.stream, message.silenced, now_ms)

    def _silence(
        self, room: Room, member: Member, stream: Stream, silenced: bool, now_ms: float
    ) -> None:
        stream.silenced = silenced
        member.mailbox.put_control(frame_of(serialize_message(Silenced(silenced))), "silenced")
        self._rooms.tell_quiet(room, member, stream, now_ms)


def member_of(room: Room, number: int) -> Member | None:
    """None where nobody has that number, or has it any more."""
    return next((member for member in room.members if member.number == number), None)


def list_of(room: Room) -> list[str]:
    """Who is in a room, as messages of the size that is allowed."""
    present = [_present(member) for member in room.members]
    texts, begun = [], 0
    while begun < len(present):
        count = PRESENT_AT_ONCE
        while (text := _text_of(present, begun, begun + count)) is None:
            count = (count + 1) // 2
        texts.append(text)
        begun += count
    return texts


def _text_of(present: list[Present], begin: int, end: int) -> str | None:
    """Of a part of them; None where it is too much for one message."""
    try:
        return serialize_message(Members(tuple(present[begin:end]), more=end < len(present)))
    except MalformedMessage:
        return None


def _present(member: Member) -> Present:
    stream = member.stream
    return Present(
        member.number,
        member.name,
        member.role,
        None if stream is None else stream.number,
        stream is not None and stream.silenced,
        member.address,
    )


def _remember(table: dict[Identity, float], identity: Identity, now_ms: float) -> None:
    table.pop(identity, None)
    table[identity] = now_ms
    while len(table) > MOST_SANCTIONS:
        del table[next(iter(table))]
