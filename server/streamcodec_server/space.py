"""Whether a room has space for one more. Sans-I/O."""

from __future__ import annotations

from streamcodec.wire.session import Hello

from .limits import RoomLimits
from .members import Member, Room


def no_space(
    limits: RoomLimits, room: Room, hello: Hello, previous: Member | None, address: str
) -> str | None:
    """Of what the room is full; None: it has space. previous: a member that is to be replaced,
    which does not count.
    """
    talkers = len(room.talkers) - (previous is not None)
    listeners = room.listening - (previous is not None and previous.role.listens)
    if hello.role.talks and talkers >= limits.max_talkers:
        return f"room {hello.room} has {talkers} talkers"
    if hello.role.listens and listeners >= limits.max_listeners:
        return f"room {hello.room} has {listeners} listeners"
    mine = sum(m.address == address and m is not previous for m in room.talkers)
    if hello.role.talks and mine >= limits.addresses.talkers_in_a_room:
        return f"room {hello.room} has {mine} talkers of this address"
    return None
