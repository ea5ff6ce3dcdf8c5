"""Who only listens is told to those who want to know, and costs a large room little."""

from __future__ import annotations

import pytest

from room_members import INFO, Outlet, drain, join, join_listener, join_talker, leave, outlets
from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import MOST_LISTENING_NAMED, Hello, Listening, Role
from streamcodec_server.members import Member
from streamcodec_server.presence import EXACT
from streamcodec_server.rooms import Rooms


def watching(rooms: Rooms, role: Role = Role.LISTEN, name: str = "Wes") -> Member:
    info = INFO if role.talks else None
    return join(rooms, Hello(role, "a", name, info, presence=True))


def told(member: Member) -> list[Listening]:
    return [item for item in drain(member) if isinstance(item, Listening)]


def test_whoever_asks_is_told_who_is_there_and_who_comes_and_goes() -> None:
    rooms = Rooms()
    lis = join_listener(rooms, name="Lis")
    wes = watching(rooms)
    assert told(wes) == [Listening(2, ("Lis", "Wes"))]
    eve = join_listener(rooms, name="Eve")
    assert told(wes) == [Listening(3, ("Lis", "Wes", "Eve"))]
    leave(rooms, lis)
    leave(rooms, eve)
    assert told(wes) == [Listening(1, ("Wes",))]  # only the newest matters
    join_talker(rooms)
    assert told(wes) == []
    assert told(eve) == []


def test_a_talker_may_watch_and_does_not_count() -> None:
    rooms = Rooms()
    ada = watching(rooms, Role.BOTH, "Ada")
    assert told(ada) == [Listening(0, ())]
    join_listener(rooms, name="")
    assert told(ada) == [Listening(1, ())]
    leave(rooms, ada)
    join_listener(rooms)
    assert told(ada) == []


def test_in_a_large_room_not_everybody_who_comes_is_told() -> None:
    rooms = Rooms()
    wes = watching(rooms)
    assert told(wes) == [Listening(1, ("Wes",))]
    outlets[wes].writable, outlets[wes].room = True, 1_000_000
    for n in range(1_000):
        rooms.join(Hello(Role.LISTEN, "a", f"L{n}"), Outlet())
    outlets[wes].writable = False
    counts = [message.listeners for message in told(wes)]
    assert counts[: EXACT - 1] == list(range(2, EXACT + 1))
    assert len(counts) < EXACT + 50
    assert counts[-1] > 900


def test_names_are_bounded() -> None:
    rooms = Rooms()
    for n in range(MOST_LISTENING_NAMED + 5):
        join_listener(rooms, name=f"{n:02d}" + "x" * 60)
    (message,) = told(watching(rooms))
    assert message.listeners == MOST_LISTENING_NAMED + 6
    assert len(message.names) == MOST_LISTENING_NAMED
    assert parse_message(serialize_message(message)) == message


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('"listeners":-1,"names":[]', "listening.listeners must be 0 to"),
        ('"listeners":1', "listening lacks names"),
        ('"listeners":1,"names":"Eve"', "listening.names must be a list"),
        ('"listeners":1,"names":[1]', "listening.names.0 must be a string"),
        ('"listeners":1,"names":["a\\u0007"]', "only printable characters"),
        (f'"listeners":1,"names":{["x"] * 17}'.replace("'", '"'), "at most 16 are allowed, got 17"),
    ],
)
def test_a_malformed_list_is_named(fields: str, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=complaint):
        parse_message(f'{{"type":"listening",{fields}}}')
