"""Streams that go on in a new connection, and the numbers of new streams."""

import pytest

from room_members import (
    INFO,
    drain,
    join,
    join_listener,
    join_talker,
    leave,
    media,
    number,
    outlets,
    publish,
)
from streamcodec.wire.packet import STREAM_NUMBERS, Flags, Packet
from streamcodec.wire.session import Hello, Role, StreamEnd, StreamStart
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Stream
from streamcodec_server.refused import Refused
from streamcodec_server.rooms import Rooms
from streamcodec_server.streams import MAX_DEPARTED, StreamRegister


def test_a_talker_whose_connection_broke_keeps_its_stream_number() -> None:
    rooms = Rooms()
    lis, ada = join_listener(rooms), join_talker(rooms)
    leave(rooms, ada)
    join_talker(rooms, name="Eve")
    drain(lis)
    back = join(rooms, Hello(Role.TALK, "a", "Ada", INFO, resume=ada.session))
    assert number(back) == number(ada)
    assert drain(lis) == [StreamStart(number(ada), "Ada", INFO)]


def test_a_talker_that_missed_its_welcome_names_the_session_before_once_more() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    leave(rooms, ada)
    back = join_talker(rooms, resume=ada.session)
    assert number(join_talker(rooms, resume=ada.session)) == number(ada)
    assert outlets[back].aborted
    assert back.room is None


def test_after_two_broken_connections_either_session_resumes_the_stream() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    leave(rooms, ada)
    back = join_talker(rooms, resume=ada.session)
    leave(rooms, back)
    third = join_talker(rooms, resume=ada.session)
    assert number(third) == number(ada)
    # The stream is in use now: the other session gets a new one.
    assert number(join_talker(rooms, resume=back.session)) != number(ada)
    assert third.room is not None


def test_a_connection_that_still_counts_as_open_is_replaced() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1))
    lis, ada = join_listener(rooms), join_talker(rooms)
    drain(lis)
    back = join_talker(rooms, resume=ada.session)
    assert number(back) == number(ada)
    assert outlets[ada].aborted
    leave(rooms, ada)
    assert drain(lis) == [StreamStart(number(ada), "Ada", INFO)]  # and no stream_end
    publish(rooms, back, media(1), 0)
    assert drain(lis) == [Packet(Flags(0), number(back), 1, 320, b"voice")]
    leave(rooms, back)
    assert drain(lis) == [StreamEnd(number(back))]


def test_a_client_that_is_refused_keeps_the_connection_it_has() -> None:
    rooms = Rooms(RoomLimits(max_listeners=1))
    lis, ada = join_listener(rooms), join_talker(rooms)
    drain(lis)
    with pytest.raises(Refused):
        join_talker(rooms, role=Role.BOTH, resume=ada.session)
    assert ada.room is not None
    assert not outlets[ada].aborted
    assert drain(lis) == []


def test_a_replaced_connection_does_not_count_against_the_limits() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1, max_listeners=1))
    ada = join_talker(rooms, role=Role.BOTH)
    assert number(join_talker(rooms, role=Role.BOTH, resume=ada.session)) == number(ada)


def test_a_session_is_resumed_only_in_its_own_room_and_only_by_a_talker() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    elsewhere = join_talker(rooms, room="b", resume=ada.session)
    assert number(elsewhere) != number(ada)
    assert join(rooms, Hello(Role.LISTEN, "a", resume=ada.session)).stream is None
    assert number(join_talker(rooms, resume="unknown")) not in (number(ada), number(elsewhere))
    assert not outlets[ada].aborted
    leave(rooms, ada)
    assert number(join_talker(rooms, room="b", resume=ada.session)) != number(ada)


def test_the_relay_remembers_a_bounded_number_of_streams() -> None:
    rooms = Rooms()
    join_listener(rooms)  # the room stays
    first, second = join_talker(rooms), join_talker(rooms)
    leave(rooms, first), leave(rooms, second)
    for _ in range(MAX_DEPARTED - 1):
        leave(rooms, join_talker(rooms))
    assert number(join_talker(rooms, resume=first.session)) != number(first)
    assert number(join_talker(rooms, resume=second.session)) == number(second)


def test_a_session_can_be_resumed_for_a_time() -> None:
    """Whoever finds one later, on an unencrypted link, has no use for it."""
    rooms = Rooms(RoomLimits(departed_s=60))
    ada = join_talker(rooms)
    leave(rooms, ada, now_ms=1_000)
    hello = Hello(Role.TALK, "a", "Ada", INFO, resume=ada.session)
    assert number(join(rooms, hello, now_ms=61_001)) != number(ada)
    leave(rooms, bob := join_talker(rooms), now_ms=1_000)
    hello = Hello(Role.TALK, "a", "Bob", INFO, resume=bob.session)
    assert number(join(rooms, hello, now_ms=61_000)) == number(bob)


def test_a_stream_number_is_given_out_again_only_after_all_others() -> None:
    register = StreamRegister(60_000)
    numbers = [register.unused_number() for _ in range(STREAM_NUMBERS)]
    assert len(set(numbers)) == STREAM_NUMBERS
    assert register.unused_number() == numbers[0]


def test_stream_numbers_in_use_are_not_given_out() -> None:
    register, ada = StreamRegister(60_000), join_talker(Rooms())
    for used in range(STREAM_NUMBERS - 1):
        register.add(ada, Stream(used, "Ada", INFO))
    last = Stream(STREAM_NUMBERS - 1, "Ada", INFO)
    assert [register.unused_number(), register.unused_number()] == [last.number, last.number]
    register.add(ada, last)
    assert register.unused_number() is None
    register.remove(ada, last)
    assert register.unused_number() == last.number
