"""What a listener that reads slowly is sent, and when it is disconnected."""

from room_members import (
    INFO,
    control,
    drain,
    join_listener,
    join_talker,
    leave,
    media,
    number,
    outlets,
    publish,
)
from streamcodec.wire.packet import Packet
from streamcodec.wire.session import Capture, Mute, StreamEnd, StreamStart, StreamUpdate
from streamcodec_server.limits import RoomLimits
from streamcodec_server.mailbox import HELD
from streamcodec_server.rooms import Rooms


def order(taken: list[object]) -> list[object]:
    """Packets by their sequence numbers, messages as they are."""
    return [item.sequence if isinstance(item, Packet) else item for item in taken]


def test_media_that_waited_too_long_is_dropped_oldest_first_and_counted() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, slow = join_talker(rooms), join_listener(rooms)
    drain(slow)
    for sequence in range(20):
        publish(rooms, ada, media(sequence), sequence * 20.0)
    assert order(drain(slow, 380.0)) == [14, 15, 16, 17, 18, 19]
    assert slow.mailbox.dropped == 14
    assert rooms.counters.dropped == 14
    assert rooms.counters.packets_out == 6
    assert rooms.counters.bytes_out == 6 * len(media(0)) - 4 * 8  # all but two have short headers


def test_a_listener_that_reads_nothing_has_a_bounded_queue_and_is_disconnected() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, stuck, well = join_talker(rooms), join_listener(rooms), join_listener(rooms)
    drain(stuck), drain(well)
    too_slow_ms = None
    for sequence in range(200):
        now_ms = sequence * 20.0
        publish(rooms, ada, media(sequence), now_ms)
        assert order(drain(well, now_ms)) == [sequence]
        assert len(stuck.mailbox) <= 6
        if stuck.mailbox.dropping_ms(now_ms) >= 1_000 and too_slow_ms is None:
            too_slow_ms = now_ms
    assert too_slow_ms == 1_120  # the first packet is dropped after 120 ms
    assert well.mailbox.dropping_ms(now_ms) == 0
    assert well.mailbox.dropped == 0


def test_control_messages_keep_their_place_among_the_media() -> None:
    """Packets that a talker sent before it muted or left are sent before the messages about it."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    publish(rooms, ada, media(1), 0.0)
    control(rooms, ada, Mute(True), 0)
    publish(rooms, ada, media(2), 0.0)
    publish(rooms, ada, media(3), 0.0)
    stream = number(ada)
    leave(rooms, ada)
    assert order(drain(lis)) == [1, Mute(True, stream), 2, 3, StreamEnd(stream)]


def test_a_control_message_is_sent_although_the_media_before_it_was_dropped() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    publish(rooms, ada, media(1), 0.0)
    control(rooms, ada, Mute(True), 0)
    publish(rooms, ada, media(2, at_ms=150), 150.0)
    assert order(drain(lis, 200.0)) == [Mute(True, number(ada)), 2]
    assert lis.mailbox.dropped == 1


def test_a_listener_that_catches_up_again_and_again_is_kept() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, jerky = join_talker(rooms), join_listener(rooms)
    drain(jerky)
    for sequence in range(500):
        publish(rooms, ada, media(sequence), sequence * 20.0)
        if sequence % 25 == 24:  # reads every half second, and loses media every time
            drain(jerky, sequence * 20.0)
        assert jerky.mailbox.dropping_ms(sequence * 20.0) < 500
    assert jerky.mailbox.dropped == 20 * (25 - 6)


def test_a_listener_that_reads_on_time_again_is_kept_although_its_queue_is_never_empty() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for sequence in range(200):
        publish(rooms, ada, media(sequence), sequence * 20.0)
        if sequence >= 9:  # has lost media; from now on it leaves one packet in the queue
            drain(lis, sequence * 20.0, most=len(lis.mailbox) - 1)
    assert lis.mailbox.dropped == 4
    assert lis.mailbox.dropping_ms(sequence * 20.0) == 0


def test_media_lost_before_a_pause_does_not_count_after_it() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    publish(rooms, ada, media(0), 0.0)
    assert drain(lis, 200.0) == []  # read too late; then nobody speaks for a minute
    publish(rooms, ada, media(1, at_ms=60_000), 60_000.0)
    assert lis.mailbox.dropping_ms(60_000.0) == 0
    assert order(drain(lis, 60_000.0)) == [1]


def test_unread_control_messages_are_bounded_by_what_there_is_to_say() -> None:
    """What a talker says again and again counts against no listener that reads slowly."""
    rooms = Rooms(RoomLimits(control_per_s=1e6))
    slow = join_listener(rooms)
    ada = join_talker(rooms)
    for number_of in range(300):
        control(rooms, ada, Mute(number_of % 2 == 0))
        control(rooms, ada, Capture(number_of, 0.0))
        control(rooms, ada, StreamUpdate(INFO))
    assert len(slow.mailbox) == 4
    stream = number(ada)
    assert drain(slow)[1:] == [
        Mute(False, stream),
        Capture(299, 0.0, stream),
        StreamStart(stream, "Ada", INFO),
    ]
    leave(rooms, ada)
    assert drain(slow) == [StreamEnd(stream)]


def test_members_that_could_take_nothing_for_a_while_catch_up_in_turns() -> None:
    """A hundred of them, each with a second of packets, were once written in one go."""
    rooms = Rooms(RoomLimits(max_queue_ms=1_000))
    ada = join_talker(rooms)
    stuck = [join_listener(rooms) for _ in range(100)]
    for member in stuck:
        drain(member)
    for sequence in range(40):
        publish(rooms, ada, media(sequence), sequence * 20.0)
    for member in stuck:
        outlets[member].writable, outlets[member].room = True, 1_000
        rooms.resume(member.mailbox)
    written = 0
    while rooms.waiting:
        rooms.distribute(800.0, 64)
        before, written = written, sum(len(outlets[member].frames) for member in stuck)
        assert 0 < written - before <= 64
    assert written == 4_000
    assert all(order(drain(member, 800.0)) == list(range(40)) for member in stuck)


def test_who_has_caught_up_is_written_to_directly_again_however_that_came_about() -> None:
    """With exactly as many frames waiting as a turn allows it once was not."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    outlets[lis].descriptor = 7
    (room,) = rooms.rooms.values()
    for most in (3, 4):
        for sequence in range(3):
            publish(rooms, ada, media(sequence), 0.0)
        assert list(room.audience.sockets) == [HELD]
        outlets[lis].writable, outlets[lis].room = True, 100
        assert lis.mailbox.flush(0.0, most) == 3
        assert list(room.audience.sockets) == [7]
        outlets[lis].writable = False
        lis.mailbox.settle()
