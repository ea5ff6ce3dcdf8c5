"""Joining and leaving rooms, and what members are told about each other."""

import pytest

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
from room_members import join as join_room
from streamcodec.errors import MalformedPacket
from streamcodec.wire.message_json import parse_message
from streamcodec.wire.packet import Flags, Packet, PacketType, serialize
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE, join
from streamcodec.wire.session import (
    MAX_MESSAGE_BYTES,
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Report,
    Role,
    StreamEnd,
    StreamInfo,
    StreamStart,
    StreamUpdate,
    Time,
    Welcome,
)
from streamcodec_server.addresses import AddressLimits
from streamcodec_server.frames import message_in
from streamcodec_server.members import REPORTS_PER_S, Member
from streamcodec_server.refused import Refused
from streamcodec_server.rooms import RoomLimits, Rooms


def test_a_new_member_learns_who_talks_and_listeners_learn_of_a_new_talker() -> None:
    rooms = Rooms()
    early = join_listener(rooms)
    drain(early)
    ada = join_talker(rooms)
    assert drain(early) == [StreamStart(number(ada), "Ada", INFO)]
    late = join_listener(rooms)
    streams = (StreamStart(number(ada), "Ada", INFO),)
    assert drain(late) == [Welcome(late.session, "a", None, streams, talkers=1, listeners=2)]
    leave(rooms, ada)
    assert drain(early) == drain(late) == [StreamEnd(number(ada))]


def test_a_welcome_counts_the_new_member_and_names_its_stream() -> None:
    rooms = Rooms()
    join_talker(rooms, name="Bob", role=Role.BOTH)
    ada = join_talker(rooms, role=Role.BOTH)
    welcome = drain(ada)[0]
    assert isinstance(welcome, Welcome)
    assert (welcome.stream, welcome.talkers, welcome.listeners) == (number(ada), 2, 2)
    assert [s.name for s in welcome.streams] == ["Bob"]


def test_a_new_member_learns_who_is_muted() -> None:
    rooms = Rooms()
    ada, bob = join_talker(rooms), join_talker(rooms, name="Bob")
    control(rooms, ada, Mute(True), 0)
    control(rooms, bob, Mute(True), 0)
    control(rooms, bob, Mute(False), 0)
    assert drain(join_listener(rooms))[1:] == [Mute(True, number(ada))]


def test_more_talkers_than_one_message_holds_are_announced_in_several() -> None:
    rooms = Rooms(RoomLimits(addresses=AddressLimits(talkers_in_a_room=32)))
    talkers = {number(join_talker(rooms, name="\N{GRINNING FACE}" * 64)) for _ in range(32)}
    late = join_listener(rooms)
    introductions = []
    outlets[late].writable, outlets[late].room = True, 1_000
    late.mailbox.flush(0.0)
    for frame in outlets[late].frames:
        text = message_in(frame)
        assert isinstance(text, str)
        assert len(text.encode()) <= MAX_MESSAGE_BYTES
        introductions.append(parse_message(text))
    welcome, *others = introductions
    assert isinstance(welcome, Welcome)
    assert len(welcome.streams) > 1
    assert talkers == {s.stream for s in (*welcome.streams, *others) if isinstance(s, StreamStart)}


def test_an_empty_room_is_forgotten_and_leaving_twice_does_nothing() -> None:
    rooms = Rooms()
    member = join_talker(rooms)
    leave(rooms, member)
    leave(rooms, member)
    assert rooms.rooms == {}


def test_limits_say_what_is_full() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1, max_listeners=1, max_rooms=1))
    join_talker(rooms), join_listener(rooms)
    with pytest.raises(Refused, match="room a has 1 talkers: that is all it takes"):
        join_talker(rooms)
    with pytest.raises(Refused, match="room a has 1 listeners: that is all it takes"):
        join_listener(rooms)
    with pytest.raises(Refused, match="the relay has 1 rooms: that is all it takes") as refused:
        join_listener(rooms, "b")
    assert refused.value.code == CloseCode.TRY_AGAIN_LATER
    assert rooms.counters.refused == 3


def test_a_relay_with_a_list_of_rooms_has_no_others() -> None:
    rooms = Rooms(RoomLimits(rooms=frozenset({"hall", "lobby"})))
    with pytest.raises(Refused, match=r"^this relay has no room cellar$") as refused:
        join_listener(rooms, "cellar")
    assert refused.value.code == CloseCode.NO_SUCH_ROOM
    assert join_listener(rooms, "hall").room is rooms.rooms["hall"]


def test_media_reaches_the_listeners_of_the_room_under_the_relays_stream_number() -> None:
    rooms = Rooms()
    ada, near, far = join_talker(rooms), join_listener(rooms), join_listener(rooms, "b")
    drain(near), drain(far)
    publish(rooms, ada, media(1), 0.0)
    assert drain(near) == [Packet(Flags(0), number(ada), 1, 320, b"voice")]
    assert drain(far) == []
    assert (rooms.counters.packets_in, rooms.counters.bytes_in) == (1, len(media(1)))


def test_nobody_is_sent_its_own_media() -> None:
    rooms = Rooms()
    one = join_talker(rooms, role=Role.BOTH)
    two = join_talker(rooms, name="Bob", role=Role.BOTH)
    drain(one), drain(two)
    publish(rooms, one, media(1), 0.0)
    assert drain(one) == []
    assert len(drain(two)) == 1


def test_the_relays_time_is_told_to_the_client_that_asked() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(ada), drain(lis)
    control(rooms, lis, Time(5.0), 1_234.5)
    assert drain(lis) == [Time(5.0, 1_234.5)]
    assert drain(ada) == []


def test_listeners_learn_when_a_talkers_audio_was_captured() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(ada), drain(lis)
    control(rooms, ada, Capture(320, 99.0, stream=7), 0)
    assert drain(lis) == [Capture(320, 99.0, number(ada))]


def test_mute_and_new_info_reach_the_listeners() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    faster = StreamInfo("0123456789abcdef", 16_000, 1, 320, 11, 12_000)
    control(rooms, ada, Mute(True), 0)
    control(rooms, ada, StreamUpdate(faster), 0)
    assert drain(lis) == [Mute(True, number(ada)), StreamStart(number(ada), "Ada", faster)]
    welcome = drain(join_listener(rooms))[0]
    assert isinstance(welcome, Welcome)
    assert welcome.streams[0].info == faster


def test_a_report_reaches_the_talker_of_its_stream_under_the_listeners_own_name() -> None:
    rooms = Rooms()
    ada, bob, lis = join_talker(rooms), join_talker(rooms, name="Bob"), join_listener(rooms)
    for member in (ada, bob, lis):
        drain(member)
    control(rooms, lis, Report(number(ada), {"lost": 2}, "forged", 99), 0)
    assert drain(ada) == [Report(number(ada), {"lost": 2}, "Lis", lis.number)]
    assert drain(bob) == []
    namesake = join_listener(rooms)
    assert namesake.name == lis.name
    assert namesake.number != lis.number


def test_every_listener_reports_in_its_turn() -> None:
    rooms = Rooms(RoomLimits(control_per_s=1e6))
    ada = join_talker(rooms)
    listeners = [join_listener(rooms) for _ in range(100)]
    greedy = listeners[0]
    drain(ada)
    heard: list[int] = []
    for tenth in range(300):
        now_ms = 100.0 * tenth
        for _ in range(5):
            control(rooms, greedy, Report(number(ada), {"lost": 1.0}), now_ms)
        listener = listeners[tenth * 10 % 100]
        for other in (listener, *listeners[tenth % 10 :: 10]):
            control(rooms, other, Report(number(ada), {"lost": 1.0}), now_ms)
        heard += [m.listener for m in drain(ada, now_ms) if isinstance(m, Report)]
    assert len(heard) <= 1.2 * 30 * REPORTS_PER_S
    counts = [heard.count(listener.number) for listener in listeners]
    assert min(counts) == max(counts) == 3


@pytest.mark.parametrize(
    "message",
    [Mute(True), Capture(320, 99.0), StreamUpdate(INFO), Hello(Role.LISTEN, "b"), StreamEnd(3)],
)
def test_a_listener_may_only_report_and_ask_for_the_time(message: Message) -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="a listen connection may not send") as refused:
        control(rooms, join_listener(rooms), message, 0)
    assert refused.value.code == CloseCode.POLICY_VIOLATION


@pytest.mark.parametrize("message", [StreamStart(5, "Bob", INFO), Report(1, {"lost": 2})])
def test_a_talker_may_not_announce_another_or_report(message: Message) -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match=f"may not send {type(message).__name__}"):
        control(rooms, join_talker(rooms), message, 0)


def test_a_listener_may_not_talk() -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="may not send media"):
        publish(rooms, join_listener(rooms), media(1), 0.0)


def wanted(member: Member) -> list[int]:
    return [m.copies for m in drain(member) if isinstance(m, CopiesWanted)]


def test_a_talker_learns_how_far_back_copies_may_lie_for_its_listeners() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    assert wanted(ada) == []
    modest = join_listener(rooms, copies=1)
    assert wanted(ada) == [1]
    greedy = join_listener(rooms, copies=3)
    join_listener(rooms, copies=0)
    join_listener(rooms, copies=2)
    assert wanted(ada) == [3]
    leave(rooms, greedy)
    assert wanted(ada) == [2]
    leave(rooms, modest)
    assert wanted(ada) == []  # another listener takes more
    late = join_talker(rooms, name="Eve")
    assert wanted(late) == [2]


def test_the_copies_that_a_member_takes_do_not_count_for_its_own_stream() -> None:
    rooms = Rooms()
    ada = join_room(rooms, Hello(Role.BOTH, "a", "Ada", INFO, copies=4))
    assert wanted(ada) == []
    bob = join_room(rooms, Hello(Role.BOTH, "a", "Bob", INFO, copies=2))
    assert (wanted(ada), wanted(bob)) == ([2], [4])
    back = join_room(rooms, Hello(Role.BOTH, "a", "Bob", INFO, resume=bob.session, copies=2))
    assert (wanted(ada), wanted(back)) == ([], [4])


def with_copy(distance: int) -> bytes:
    payload = join(b"coarse", distance, b"fine")
    return serialize(Packet(Flags.VOICE, 9, 7, 2_240, payload, PacketType.AUDIO_WITH_COPY))


def test_each_listener_gets_the_copies_that_it_takes() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    listeners = [join_listener(rooms, copies=copies) for copies in range(MAX_COPY_DISTANCE + 1)]
    for member in listeners:
        drain(member)
    publish(rooms, ada, with_copy(2), 0.0)
    packets = [p for member in listeners for p in drain(member) if isinstance(p, Packet)]
    assert [p.type for p in packets] == [0, 0, 2, 2, 2]
    headers = {(p.sequence, p.capture_time, p.flags, p.stream) for p in packets}
    assert headers == {(7, 2_240, Flags.VOICE, number(ada))}
    assert [p.payload for p in packets] == [b"fine"] * 2 + [join(b"coarse", 2, b"fine")] * 3


def test_a_malformed_copy_is_refused() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    malformed = Packet(Flags(0), 0, 0, 0, b"\x09lots", PacketType.AUDIO_WITH_COPY)
    with pytest.raises(MalformedPacket, match="a copy of 9"):
        publish(rooms, ada, serialize(malformed), 0.0)
    assert drain(lis) == []
    assert rooms.counters.packets_in == 0
