"""Who only listens is told to those who want to know, and costs a large room little."""

from __future__ import annotations

import pytest

from room_members import (
    INFO,
    Outlet,
    distribute,
    drain,
    join,
    join_listener,
    join_talker,
    leave,
    outlets,
)
from streamcodec.errors import MalformedMessage
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import MOST_LISTENING_NAMED, Hello, Listening, Role
from streamcodec_server.audience import VACANT
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


def test_in_a_large_room_not_everybody_who_comes_or_goes_is_told() -> None:
    rooms = Rooms()
    wes = watching(rooms)
    assert told(wes) == [Listening(1, ("Wes",))]
    outlets[wes].writable, outlets[wes].room = True, 1_000_000
    others = []
    for n in range(1_000):
        others.append(rooms.join(Hello(Role.LISTEN, "a", f"L{n}"), Outlet()))
        distribute(rooms)
    for _ in range(50):  # one comes and goes, wherever the number stands
        leave(rooms, others.pop())
        others.append(join_listener(rooms))
    outlets[wes].writable = False
    counts = [message.listeners for message in told(wes)]
    assert counts[: EXACT - 1] == list(range(2, EXACT + 1))
    assert len(counts) < EXACT + 50
    assert counts[-1] > 900


def test_many_who_want_to_know_are_told_in_turns() -> None:
    """3,000 of them were once told in one go of 70 ms."""
    rooms = Rooms()
    for _ in range(300):
        rooms.join(Hello(Role.LISTEN, "a", presence=True), Outlet())
    distribute(rooms)
    for _ in range(40):
        rooms.join(Hello(Role.LISTEN, "a"), Outlet())
    steps = 0
    while rooms.waiting:
        assert rooms.distribute(0.0, 64) <= 64
        steps += 1
    assert steps >= 340 // 64


def test_the_longest_names_make_a_message_of_the_size_that_is_allowed() -> None:
    """It was once refused after the newcomer had joined: a member of whom nobody knew stayed, whose
    socket was written to when it was somebody else's.
    """
    rooms = Rooms()
    for _ in range(MOST_LISTENING_NAMED + 4):
        join_listener(rooms, name="\N{GRINNING FACE}" * 64)
    (message,) = told(watching(rooms))
    assert message.listeners == MOST_LISTENING_NAMED + 5
    assert 4 <= len(message.names) < MOST_LISTENING_NAMED


def test_whoever_cannot_be_told_who_is_there_has_not_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = Rooms()
    lis = join_listener(rooms)

    def fails(*_: object) -> None:
        raise MalformedMessage("too long")

    monkeypatch.setattr("streamcodec_server.rooms.greet", fails)
    for hello in (Hello(Role.LISTEN, "a"), Hello(Role.BOTH, "a", "Ada", INFO)):
        with pytest.raises(MalformedMessage):
            rooms.join(hello, Outlet())
    (room,) = rooms.rooms.values()
    assert list(room.members) == [lis]
    assert list(room.audience.sockets).count(VACANT) == len(room.audience) - 1
    assert not room.talkers


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
