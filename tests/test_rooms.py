import pytest

from streamcodec.errors import MalformedPacket
from streamcodec.wire.message_json import parse_message
from streamcodec.wire.packet import Flags, Packet, PacketType, parse, serialize
from streamcodec.wire.redundancy import MAX_COPIES, join
from streamcodec.wire.session import (
    MAX_MESSAGE_BYTES,
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
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
from streamcodec_server.rooms import (
    MAX_CONTROL_BACKLOG,
    MAX_REPORTS_PER_S,
    Member,
    Refused,
    RoomLimits,
    Rooms,
)

INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 1, 5, 6_000)


def media(sequence: int, stream: int = 9) -> bytes:
    return serialize(Packet(Flags(0), stream, sequence, sequence * 320, b"voice"))


def talker(rooms: Rooms, room: str = "a", name: str = "Ada", role: Role = Role.TALK) -> Member:
    return rooms.join(Hello(role, room, name, INFO))[0]


def listener(rooms: Rooms, room: str = "a", name: str = "Lis") -> Member:
    return rooms.join(Hello(Role.LISTEN, room, name))[0]


def drain(member: Member, now_ms: float = 0.0) -> list[object]:
    """Everything waiting: messages parsed, media as packets."""
    taken: list[object] = []
    while (item := member.mailbox.take(now_ms)) is not None:
        taken.append(parse_message(item) if isinstance(item, str) else parse(item))
    return taken


def test_a_joiner_learns_who_talks_and_the_others_learn_of_it() -> None:
    rooms = Rooms()
    early = listener(rooms)
    drain(early)
    ada = talker(rooms)
    assert drain(early) == [StreamStart(ada.stream or 0, "Ada", INFO)]
    late = listener(rooms)
    welcome = drain(late)[0]
    assert isinstance(welcome, Welcome)
    assert welcome.streams == (StreamStart(ada.stream or 0, "Ada", INFO),)
    assert (welcome.talkers, welcome.listeners, welcome.stream) == (1, 2, None)
    rooms.leave(ada)
    assert drain(early) == drain(late) == [StreamEnd(ada.stream or 0)]


def again(session: str, room: str = "a", role: Role = Role.TALK) -> Hello:
    return Hello(role, room, "Ada", INFO, resume=session)


def test_a_talker_whose_connection_broke_goes_on_under_its_number() -> None:
    rooms = Rooms()
    ear, ada = listener(rooms), talker(rooms)
    number = ada.stream
    rooms.leave(ada)
    talker(rooms, name="Eve")
    drain(ear)
    back, told = rooms.join(again(ada.session))
    assert back.stream == number
    assert ear in told
    assert drain(ear) == [StreamStart(number or 0, "Ada", INFO)]
    drain(back)
    # its welcome was lost: it names the session before once more
    assert rooms.join(again(ada.session))[0].stream == number
    assert back in rooms.replaced
    assert back.room is None


def test_a_connection_that_the_relay_still_believes_in_is_replaced() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1))
    ear, ada = listener(rooms), talker(rooms)
    drain(ear)
    back = rooms.join(again(ada.session))[0]
    assert back.stream == ada.stream
    assert rooms.replaced == {ada}
    assert rooms.leave(ada) == []
    assert [type(m) for m in drain(ear)] == [StreamStart]  # no goodbye: the stream goes on
    rooms.publish(back, media(1), 0)
    assert [p.stream for p in drain(ear) if isinstance(p, Packet)] == [back.stream]
    rooms.leave(back)
    assert drain(ear) == [StreamEnd(back.stream or 0)]


def test_who_may_not_come_in_again_keeps_the_connection_it_has() -> None:
    rooms = Rooms(RoomLimits(max_listeners=1))
    ear, ada = listener(rooms), talker(rooms)
    drain(ear)
    with pytest.raises(Refused):
        rooms.join(again(ada.session, role=Role.BOTH))
    assert ada.room is not None
    assert not rooms.replaced
    assert drain(ear) == []


def test_a_session_is_resumed_in_its_own_room_alone() -> None:
    rooms = Rooms()
    ada = talker(rooms)
    elsewhere = rooms.join(again(ada.session, room="b"))[0]
    assert elsewhere.stream != ada.stream
    assert ada.room is not None
    assert rooms.join(again(ada.session, role=Role.LISTEN))[0].stream is None
    assert ada.room is not None
    assert rooms.join(again("nobody's"))[0].stream not in (ada.stream, elsewhere.stream)


def test_the_relay_tells_its_time_to_who_asked() -> None:
    rooms = Rooms()
    ada, ear = talker(rooms), listener(rooms)
    drain(ada), drain(ear)
    assert rooms.control(ear, Time(5.0), 1_234.5) == [ear]
    assert drain(ear) == [Time(5.0, 1_234.5)]
    assert drain(ada) == []


def test_listeners_learn_when_a_talkers_sound_was_captured() -> None:
    rooms = Rooms()
    ada, ear = talker(rooms), listener(rooms)
    drain(ada), drain(ear)
    rooms.control(ada, Capture(320, 99.0, stream=7), 0)
    assert drain(ear) == [Capture(320, 99.0, ada.stream or 0)]
    with pytest.raises(Refused):
        rooms.control(ear, Capture(320, 99.0), 0)


def test_of_many_reports_a_talker_gets_a_few_each_second() -> None:
    rooms = Rooms()
    ada = talker(rooms)
    ears = [listener(rooms) for _ in range(100)]
    drain(ada)
    for second in range(3):
        for ear in ears:
            rooms.control(ear, Report(ada.stream or 0, {"lost": 1.0}), 1_000 * second + 5)
        assert len(drain(ada)) == MAX_REPORTS_PER_S


def test_media_reaches_the_rooms_listeners_under_the_relays_stream_number() -> None:
    rooms = Rooms()
    ada, near, far = talker(rooms), listener(rooms), listener(rooms, "b")
    drain(near), drain(far)
    assert rooms.publish(ada, media(1), 0.0) == [near]
    assert drain(near) == [Packet(Flags(0), ada.stream or 0, 1, 320, b"voice")]
    assert drain(far) == []


def test_nobody_hears_an_echo_of_itself() -> None:
    rooms = Rooms()
    one, two = talker(rooms, role=Role.BOTH), talker(rooms, name="Bob", role=Role.BOTH)
    drain(one), drain(two)
    rooms.publish(one, media(1), 0.0)
    assert drain(one) == []
    assert len(drain(two)) == 1


def test_what_waited_too_long_is_dropped_oldest_first_and_counted() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, slow = talker(rooms), listener(rooms)
    drain(slow)
    for sequence in range(20):
        rooms.publish(ada, media(sequence), sequence * 20.0)
    taken = drain(slow, 380.0)
    assert [p.sequence for p in taken if isinstance(p, Packet)] == [14, 15, 16, 17, 18, 19]
    assert slow.mailbox.dropped == 14
    assert rooms.counters.dropped == 14


def test_the_queue_of_one_that_reads_nothing_stays_bounded_and_it_is_sent_away() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, stuck, well = talker(rooms), listener(rooms), listener(rooms)
    drain(stuck), drain(well)
    for sequence in range(200):
        rooms.publish(ada, media(sequence), sequence * 20.0)
        assert len(drain(well, sequence * 20.0)) == 1
        assert len(stuck.mailbox) <= 6
    assert rooms.overflowed == {stuck}
    assert well.mailbox.dropped == 0


def test_control_keeps_its_place_among_the_media() -> None:
    """What a talker said before it muted, changed its info or left belongs to what was
    true then.
    """
    rooms = Rooms()
    ada, lis = talker(rooms), listener(rooms)
    stream = ada.stream or 0
    drain(lis)
    rooms.publish(ada, media(1), 0.0)
    rooms.control(ada, Mute(True), 0)
    rooms.publish(ada, media(2), 0.0)
    rooms.publish(ada, media(3), 0.0)
    rooms.leave(ada)
    kinds = [p.sequence if isinstance(p, Packet) else p for p in drain(lis)]
    assert kinds == [1, Mute(True, stream), 2, 3, StreamEnd(stream)]


def test_control_outlives_the_media_that_it_waited_behind() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, lis = talker(rooms), listener(rooms)
    stream = ada.stream or 0
    drain(lis)
    rooms.publish(ada, media(1), 0.0)
    rooms.control(ada, Mute(True), 0)
    rooms.publish(ada, media(2), 150.0)
    kinds = [p.sequence if isinstance(p, Packet) else p for p in drain(lis, 200.0)]
    assert kinds == [Mute(True, stream), 2]
    assert lis.mailbox.dropped == 1


def test_one_that_catches_up_is_forgiven() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, jerky = talker(rooms), listener(rooms)
    drain(jerky)
    for sequence in range(500):
        rooms.publish(ada, media(sequence), sequence * 20.0)
        if sequence % 25 == 24:  # reads every half second, and drops every time
            drain(jerky, sequence * 20.0)
    assert jerky.mailbox.dropped > 100
    assert rooms.overflowed == set()


def test_a_hiccup_before_a_pause_is_forgiven() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, too_slow_ms=1_000))
    ada, lis = talker(rooms), listener(rooms)
    drain(lis)
    rooms.publish(ada, media(0), 0.0)
    assert drain(lis, 200.0) == []  # too late; then nobody speaks for a minute
    rooms.publish(ada, media(1), 60_000.0)
    assert rooms.overflowed == set()
    assert len(drain(lis, 60_000.0)) == 1


def test_a_joiner_learns_of_more_talkers_than_one_message_holds() -> None:
    rooms = Rooms()
    talkers = {talker(rooms, name="\N{GRINNING FACE}" * 64).stream for _ in range(32)}
    late = listener(rooms)
    introductions = []
    while (text := late.mailbox.take(0.0)) is not None:
        assert isinstance(text, str)
        assert len(text.encode()) <= MAX_MESSAGE_BYTES
        introductions.append(parse_message(text))
    welcome, *others = introductions
    assert isinstance(welcome, Welcome)
    assert len(welcome.streams) > 1
    assert talkers == {s.stream for s in (*welcome.streams, *others) if isinstance(s, StreamStart)}


def test_control_that_piles_up_sends_a_member_away() -> None:
    rooms = Rooms()
    stuck = listener(rooms)
    for _ in range(MAX_CONTROL_BACKLOG):
        rooms.leave(talker(rooms))
    assert stuck in rooms.overflowed


def test_stream_numbers_are_not_used_again_soon() -> None:
    rooms = Rooms()
    numbers = []
    for _ in range(5):
        member = talker(rooms)
        numbers.append(member.stream)
        rooms.leave(member)
    assert len(set(numbers)) == 5


def test_reports_reach_the_talker_they_are_about() -> None:
    rooms = Rooms()
    ada, bob, lis = talker(rooms), talker(rooms, name="Bob"), listener(rooms)
    for member in (ada, bob, lis):
        drain(member)
    rooms.control(lis, Report(ada.stream or 0, {"lost": 2}, "forged", 99), 0)
    (told,) = drain(ada)
    assert told == Report(ada.stream or 0, {"lost": 2}, "Lis", lis.number)
    other = listener(rooms)
    assert (other.name, other.number) != (lis.name, lis.number)
    assert drain(bob) == []


def test_mute_and_new_info_reach_the_listeners() -> None:
    rooms = Rooms()
    ada, lis = talker(rooms), listener(rooms)
    drain(lis)
    faster = StreamInfo("0123456789abcdef", 16_000, 1, 320, 1, 11, 12_000)
    rooms.control(ada, Mute(True), 0)
    rooms.control(ada, StreamUpdate(faster), 0)
    assert drain(lis) == [Mute(True, ada.stream or 0), StreamStart(ada.stream or 0, "Ada", faster)]
    late = drain(listener(rooms))[0]
    assert isinstance(late, Welcome)
    assert late.streams[0].info == faster


@pytest.mark.parametrize(
    "message", [Mute(True), StreamUpdate(INFO), Hello(Role.LISTEN, "b"), StreamEnd(3)]
)
def test_a_listener_may_only_report(message: object) -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="may not send") as refused:
        rooms.control(listener(rooms), message, 0)  # type: ignore[arg-type]
    assert refused.value.code == CloseCode.POLICY_VIOLATION


def test_a_talker_may_not_announce_another() -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="may not send StreamStart"):
        rooms.control(talker(rooms), StreamStart(5, "Bob", INFO), 0)


def test_a_listener_may_not_talk() -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="may not send media"):
        rooms.publish(listener(rooms), media(1), 0.0)


def test_limits_say_what_is_full() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1, max_listeners=1, max_rooms=1))
    talker(rooms), listener(rooms)
    for enter in (lambda: talker(rooms), lambda: listener(rooms), lambda: listener(rooms, "b")):
        with pytest.raises(Refused, match="that is all it takes"):
            enter()
    assert rooms.counters.refused == 3


def test_a_relay_with_fixed_rooms_names_them() -> None:
    rooms = Rooms(RoomLimits(rooms=frozenset({"hall", "lobby"})))
    with pytest.raises(Refused, match="no room cellar: this relay has hall, lobby") as refused:
        listener(rooms, "cellar")
    assert refused.value.code == CloseCode.NO_SUCH_ROOM
    listener(rooms, "hall")


def test_an_empty_room_is_forgotten_and_leaving_twice_is_leaving_once() -> None:
    rooms = Rooms()
    member = talker(rooms)
    rooms.leave(member)
    assert rooms.leave(member) == []
    assert rooms.rooms == {}


def ear(rooms: Rooms, copies: int, name: str = "Lis") -> Member:
    return rooms.join(Hello(Role.LISTEN, "a", name, copies=copies))[0]


def wanted(member: Member) -> list[int]:
    return [m.copies for m in drain(member) if isinstance(m, CopiesWanted)]


def test_a_talker_learns_how_many_copies_its_listeners_take() -> None:
    rooms = Rooms()
    ada = talker(rooms)
    assert wanted(ada) == []
    modest, told = rooms.join(Hello(Role.LISTEN, "a", "Lis", copies=1))
    assert ada in told
    greedy = ear(rooms, 3)
    ear(rooms, 0)
    ear(rooms, 2)
    assert wanted(ada) == [1, 3]
    assert ada in rooms.leave(greedy)
    assert rooms.leave(modest) == []  # another still takes as many
    assert wanted(ada) == [2]
    late = talker(rooms, name="Eve")
    assert wanted(late) == [2]


def test_nobody_sends_copies_for_itself() -> None:
    rooms = Rooms()
    ada = rooms.join(Hello(Role.BOTH, "a", "Ada", INFO, copies=4))[0]
    assert wanted(ada) == []
    bob = rooms.join(Hello(Role.BOTH, "a", "Bob", INFO, copies=2))[0]
    assert (wanted(ada), wanted(bob)) == ([2], [4])
    back, _ = rooms.join(Hello(Role.BOTH, "a", "Bob", INFO, resume=bob.session, copies=2))
    assert (wanted(ada), wanted(back)) == ([], [4])


def with_copies(copies: list[bytes]) -> bytes:
    return serialize(
        Packet(Flags.VOICE, 9, 7, 2_240, join(copies, b"fine"), PacketType.AUDIO_WITH_COPIES)
    )


def test_each_listener_gets_the_copies_that_it_takes() -> None:
    rooms = Rooms()
    ada = talker(rooms)
    ears = [ear(rooms, copies) for copies in range(MAX_COPIES + 1)]
    for member in ears:
        drain(member)
    rooms.publish(ada, with_copies([b"", b"older", b"oldest"]), 0.0)
    heard = [drain(member) for member in ears]
    packets = [p for taken in heard for p in taken if isinstance(p, Packet)]
    # one that takes a single copy finds that this one is missing
    assert [p.type for p in packets] == [0, 0, 1, 1, 1]
    assert {(p.sequence, p.capture_time, p.flags, p.stream) for p in packets} == {
        (7, 2_240, Flags.VOICE, ada.stream)
    }
    assert [p.payload for p in packets[:3]] == [b"fine", b"fine", join([b"", b"older"], b"fine")]
    assert packets[3].payload == packets[4].payload == join([b"", b"older", b"oldest"], b"fine")


def test_copies_that_are_none_are_refused() -> None:
    rooms = Rooms()
    ada, lis = talker(rooms), listener(rooms)
    drain(lis)
    with pytest.raises(MalformedPacket, match="9 copies"):
        rooms.publish(
            ada,
            serialize(Packet(Flags(0), 0, 0, 0, b"\x09lots", PacketType.AUDIO_WITH_COPIES)),
            0.0,
        )
    assert drain(lis) == []
    assert rooms.counters.packets_in == 0
