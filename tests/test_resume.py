"""Streams that go on in a new connection, and the numbers of new streams."""

import pytest

from room_members import INFO, drain, join_listener, join_talker, media, number
from streamcodec.wire.packet import STREAM_NUMBERS, Flags, Packet
from streamcodec.wire.session import Hello, Role, StreamEnd, StreamStart
from streamcodec_server.members import Stream
from streamcodec_server.rooms import Refused, RoomLimits, Rooms
from streamcodec_server.streams import MAX_DEPARTED, StreamRegister


def test_a_talker_whose_connection_broke_keeps_its_stream_number() -> None:
    rooms = Rooms()
    lis, ada = join_listener(rooms), join_talker(rooms)
    rooms.leave(ada)
    join_talker(rooms, name="Eve")
    drain(lis)
    back, told = rooms.join(Hello(Role.TALK, "a", "Ada", INFO, resume=ada.session))
    assert number(back) == number(ada)
    assert lis in told
    assert drain(lis) == [StreamStart(number(ada), "Ada", INFO)]


def test_a_talker_that_missed_its_welcome_names_the_session_before_once_more() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    rooms.leave(ada)
    back = join_talker(rooms, resume=ada.session)
    assert number(join_talker(rooms, resume=ada.session)) == number(ada)
    assert rooms.replaced == {back}
    assert back.room is None


def test_after_two_broken_connections_either_session_resumes_the_stream() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    rooms.leave(ada)
    back = join_talker(rooms, resume=ada.session)
    rooms.leave(back)
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
    assert rooms.replaced == {ada}
    assert rooms.leave(ada) == []
    assert drain(lis) == [StreamStart(number(ada), "Ada", INFO)]  # and no stream_end
    rooms.publish(back, media(1), 0)
    assert drain(lis) == [Packet(Flags(0), number(back), 1, 320, b"voice")]
    rooms.leave(back)
    assert drain(lis) == [StreamEnd(number(back))]


def test_a_client_that_is_refused_keeps_the_connection_it_has() -> None:
    rooms = Rooms(RoomLimits(max_listeners=1))
    lis, ada = join_listener(rooms), join_talker(rooms)
    drain(lis)
    with pytest.raises(Refused):
        join_talker(rooms, role=Role.BOTH, resume=ada.session)
    assert ada.room is not None
    assert rooms.replaced == set()
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
    assert rooms.join(Hello(Role.LISTEN, "a", resume=ada.session))[0].stream is None
    assert number(join_talker(rooms, resume="unknown")) not in (number(ada), number(elsewhere))
    assert rooms.replaced == set()
    rooms.leave(ada)
    assert number(join_talker(rooms, room="b", resume=ada.session)) != number(ada)


def test_the_relay_remembers_a_bounded_number_of_streams() -> None:
    rooms = Rooms()
    first, second = join_talker(rooms), join_talker(rooms)
    rooms.leave(first), rooms.leave(second)
    for _ in range(MAX_DEPARTED - 1):
        rooms.leave(join_talker(rooms))
    assert number(join_talker(rooms, resume=first.session)) != number(first)
    assert number(join_talker(rooms, resume=second.session)) == number(second)


def test_a_stream_number_is_given_out_again_only_after_all_others() -> None:
    register = StreamRegister()
    numbers = [register.unused_number() for _ in range(STREAM_NUMBERS)]
    assert len(set(numbers)) == STREAM_NUMBERS
    assert register.unused_number() == numbers[0]


def test_stream_numbers_in_use_are_not_given_out() -> None:
    register, ada = StreamRegister(), join_talker(Rooms())
    for used in range(STREAM_NUMBERS - 1):
        register.add(ada, Stream(used, "Ada", INFO))
    last = Stream(STREAM_NUMBERS - 1, "Ada", INFO)
    assert [register.unused_number(), register.unused_number()] == [last.number, last.number]
    register.add(ada, last)
    assert register.unused_number() is None
    register.remove(ada, last)
    assert register.unused_number() == last.number
