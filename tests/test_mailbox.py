"""What a listener that reads slowly is sent, and when it is disconnected."""

from room_members import drain, join_listener, join_talker, media, number
from streamcodec.wire.packet import Packet
from streamcodec.wire.session import Mute, StreamEnd
from streamcodec_server.mailbox import MAX_CONTROL_BACKLOG
from streamcodec_server.rooms import RoomLimits, Rooms


def order(taken: list[object]) -> list[object]:
    """Packets by their sequence numbers, messages as they are."""
    return [item.sequence if isinstance(item, Packet) else item for item in taken]


def test_media_that_waited_too_long_is_dropped_oldest_first_and_counted() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, slow = join_talker(rooms), join_listener(rooms)
    drain(slow)
    for sequence in range(20):
        rooms.publish(ada, media(sequence), sequence * 20.0)
    assert order(drain(slow, 380.0)) == [14, 15, 16, 17, 18, 19]
    assert slow.mailbox.dropped == 14
    assert rooms.counters.dropped == 14
    assert rooms.counters.packets_out == 6
    assert rooms.counters.bytes_out == 6 * len(media(0))


def test_a_listener_that_reads_nothing_has_a_bounded_queue_and_is_disconnected() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, stuck, well = join_talker(rooms), join_listener(rooms), join_listener(rooms)
    drain(stuck), drain(well)
    overflowed_ms = None
    for sequence in range(200):
        now_ms = sequence * 20.0
        rooms.publish(ada, media(sequence), now_ms)
        assert order(drain(well, now_ms)) == [sequence]
        assert len(stuck.mailbox) <= 6
        if rooms.overflowed and overflowed_ms is None:
            overflowed_ms = now_ms
    assert rooms.overflowed == {stuck}
    assert overflowed_ms == 1_120  # the first packet is dropped after 120 ms
    assert well.mailbox.dropped == 0


def test_control_messages_keep_their_place_among_the_media() -> None:
    """Packets that a talker sent before it muted or left are sent before the messages about it."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    rooms.publish(ada, media(1), 0.0)
    rooms.control(ada, Mute(True), 0)
    rooms.publish(ada, media(2), 0.0)
    rooms.publish(ada, media(3), 0.0)
    stream = number(ada)
    rooms.leave(ada)
    assert order(drain(lis)) == [1, Mute(True, stream), 2, 3, StreamEnd(stream)]


def test_a_control_message_is_sent_although_the_media_before_it_was_dropped() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    rooms.publish(ada, media(1), 0.0)
    rooms.control(ada, Mute(True), 0)
    rooms.publish(ada, media(2), 150.0)
    assert order(drain(lis, 200.0)) == [Mute(True, number(ada)), 2]
    assert lis.mailbox.dropped == 1


def test_a_listener_that_catches_up_again_and_again_is_kept() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, jerky = join_talker(rooms), join_listener(rooms)
    drain(jerky)
    for sequence in range(500):
        rooms.publish(ada, media(sequence), sequence * 20.0)
        if sequence % 25 == 24:  # reads every half second, and loses media every time
            drain(jerky, sequence * 20.0)
    assert jerky.mailbox.dropped == 20 * (25 - 6)
    assert rooms.overflowed == set()


def test_a_listener_that_reads_on_time_again_is_kept_although_its_queue_is_never_empty() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for sequence in range(200):
        rooms.publish(ada, media(sequence), sequence * 20.0)
        if sequence >= 9:  # has lost media; from now on it leaves one packet in the queue
            while len(lis.mailbox) > 1:
                lis.mailbox.take(sequence * 20.0)
    assert lis.mailbox.dropped == 4
    assert rooms.overflowed == set()


def test_media_lost_before_a_pause_does_not_count_after_it() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    rooms.publish(ada, media(0), 0.0)
    assert drain(lis, 200.0) == []  # read too late; then nobody speaks for a minute
    rooms.publish(ada, media(1), 60_000.0)
    assert rooms.overflowed == set()
    assert order(drain(lis, 60_000.0)) == [1]


def test_too_many_unread_control_messages_disconnect_a_member() -> None:
    rooms = Rooms()
    stuck = join_listener(rooms)  # its welcome is the first message
    ada = join_talker(rooms)  # its stream_start the second
    for _ in range(MAX_CONTROL_BACKLOG - 2):
        rooms.control(ada, Mute(True), 0)
    assert rooms.overflowed == set()
    rooms.control(ada, Mute(True), 0)
    assert rooms.overflowed == {stuck}
