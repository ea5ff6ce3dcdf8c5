"""What one client does to a relay, by malice or by mistake, costs no other member anything.

Rooms on a simulated clock; what needs sockets is in test_abuse_sockets.py.
"""

from __future__ import annotations

import pytest

from room_members import (
    INFO,
    control,
    distribute,
    drain,
    join,
    join_listener,
    join_talker,
    media,
    number,
    publish,
)
from streamcodec.errors import MalformedMessage
from streamcodec.wire import message_json
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import Capture, CloseCode, Hello, Mute, Report, Role, Welcome
from streamcodec_server.addresses import Addresses, AddressLimits, network_of
from streamcodec_server.budget import Budget, Spent
from streamcodec_server.lateness import Lateness
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Member
from streamcodec_server.refused import Refused
from streamcodec_server.rooms import Rooms

RATE = 16_000


def sequences(member: Member, now_ms: float = 0.0) -> list[int]:
    return [item.sequence for item in drain(member, now_ms) if isinstance(item, Packet)]


def test_a_budget_is_spent_dropped_from_and_exhausted() -> None:
    budget = Budget(per_second=10, burst=5)
    kinds = [budget.spend(1, 1_000.0) for _ in range(12)]
    assert kinds[:5] == [Spent.WITHIN] * 5
    assert kinds[5:9] == [Spent.OVER] * 4
    assert set(kinds[9:]) == {Spent.EXHAUSTED}
    assert budget.spend(1, 1_500.0) is Spent.OVER  # it has to make up for what was dropped
    assert budget.spend(1, 2_500.0) is Spent.WITHIN


def test_a_talker_that_repeats_itself_loses_its_own_words_only() -> None:
    """257 mutes in one write once closed all 21 healthy listeners of a room."""
    rooms = Rooms()
    mallory = join_talker(rooms, name="Mallory")
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for repeated in range(257):
        control(rooms, mallory, Mute(repeated % 2 == 0))
        control(rooms, ada, Capture(repeated, 0.0)) if repeated < 50 else None
    heard = drain(lis)
    assert sum(isinstance(item, Mute) for item in heard) == 1
    assert Capture(49, 0.0, number(ada)) in heard
    assert rooms.counters.throttled > 0

    def go_on() -> None:
        for _ in range(100):
            control(rooms, mallory, Mute(True))

    with pytest.raises(Refused, match="too many messages a second") as refused:
        go_on()
    assert refused.value.code == CloseCode.TOO_FAST
    control(rooms, ada, Mute(True))
    assert drain(lis) == [Mute(True, number(ada))]


def test_a_flood_of_packets_is_thinned_out_and_ended() -> None:
    rooms = Rooms()
    mallory, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)

    def flood() -> None:
        for sent in range(1_000):  # 2,000 a second
            publish(rooms, mallory, media(sent, at_ms=sent / 2), sent / 2)

    with pytest.raises(Refused, match="too many packets a second") as refused:
        flood()
    assert refused.value.code == CloseCode.TOO_FAST
    assert 300 <= len(sequences(lis)) <= 450


def test_bytes_are_counted_too() -> None:
    rooms = Rooms()
    mallory = join_talker(rooms)
    large = serialize(Packet(Flags(0), 0, 0, 0, bytes(1_200)))

    def flood() -> None:
        for n in range(300):
            publish(rooms, mallory, large, 10.0 * n)

    with pytest.raises(Refused, match="too many bytes a second"):
        flood()


def test_a_talker_in_real_time_is_never_throttled() -> None:
    """50 packets a second for a minute; once, what TCP held up for two seconds comes at once."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for n in range(3_000):
        now_ms = 20.0 * n if not 1_000 <= n < 1_100 else 22_000.0
        publish(rooms, ada, media(n), now_ms)
        control(rooms, ada, Capture(n, 0.0), now_ms) if n % 10 == 0 else None
    assert rooms.counters.throttled == 0


def test_one_room_cannot_take_the_time_of_another() -> None:
    """However much waits in a busy room, a packet elsewhere is on its way after one turn."""
    rooms = Rooms(RoomLimits(packets_per_s=1e9, bytes_per_s=1e9))
    mallory = join_talker(rooms, "busy", "Mallory")
    crowd = [join_listener(rooms, "busy") for _ in range(200)]
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for n in range(100):
        rooms.publish(mallory, media(n, at_ms=0), 0.0)
    rooms.publish(ada, media(7), 0.0)
    rooms.distribute(0.0, 128)
    assert sequences(lis) == [7]
    distribute(rooms)
    assert all(sequences(member) == list(range(100)) for member in crowd)


def test_what_waits_in_a_busy_room_is_dropped_when_it_is_old() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100, packets_per_s=1e9))
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    rooms.publish(ada, media(1), 0.0)
    rooms.control(ada, Mute(True), 0.0)
    distribute(rooms, 101.0)
    assert drain(lis, 101.0) == [Mute(True, number(ada))]
    assert rooms.counters.dropped == 1


def test_members_who_come_and_go_during_a_turn_lose_nothing_that_is_theirs() -> None:
    rooms = Rooms()
    ada = join_talker(rooms)
    crowd = [join_listener(rooms) for _ in range(150)]
    for member in crowd:
        drain(member)
    rooms.publish(ada, media(1), 0.0)
    rooms.distribute(0.0, 64)
    rooms.leave(crowd[10])  # has it, and reads nothing any more
    rooms.leave(crowd[140])  # does not
    late = rooms_late = join_listener(rooms)
    distribute(rooms)
    assert rooms_late is late
    rooms.publish(ada, media(2), 20.0)
    distribute(rooms, 20.0)
    assert [sequences(crowd[n]) for n in (0, 10, 63, 64, 140, 149)] == [
        *([1, 2], [], [1, 2], [1, 2], [], [1, 2])
    ]
    assert sequences(late) == [2]


def test_after_a_stall_nothing_old_is_played() -> None:
    """The relay was stopped for 5 s: what TCP kept for it comes at once when it goes on."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    for n in range(100):
        publish(rooms, ada, media(n), 20.0 * n)
        assert sequences(lis, 20.0 * n) == [n]
    for n in range(100, 350):
        publish(rooms, ada, media(n), 7_000.0)
    assert min(sequences(lis, 7_000.0)) >= 350 - 400 / 20 - 1
    assert rooms.counters.stale >= 225


def test_a_way_that_has_become_longer_is_the_usual_one_after_a_second() -> None:
    """Also where a talker's capture times stand still while its machine sleeps."""
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    heard = []
    for n in range(300):
        now_ms = 20.0 * n if n < 100 else 20.0 * n + 10_000
        publish(rooms, ada, media(n), now_ms)
        heard += sequences(lis, now_ms)
    assert heard == [*range(100), *range(150, 300)]


@pytest.mark.parametrize("ppm", [-300, 300])
@pytest.mark.parametrize("first", [0, (1 << 32) - 48_000])
def test_clocks_that_differ_make_nothing_late(ppm: int, first: int) -> None:
    lateness = Lateness(RATE)
    late = [
        lateness.of((first + 320 * n) % (1 << 32), 20.0 * n * (1 + ppm * 1e-6))
        for n in range(0, 50 * 3_600 * 40, 997)
    ]
    assert max(late) < 1.0


def test_lateness_is_measured_against_the_least_delay() -> None:
    lateness = Lateness(RATE)
    assert [lateness.of(16 * t, t + d) for t, d in ((0, 80), (20, 50), (40, 50), (60, 90))] == [
        pytest.approx(expected, abs=0.2) for expected in (0, 0, 0, 40)
    ]
    lateness.restart()
    assert lateness.of(0, 5_000.0) == 0


def test_new_rooms_connections_and_talkers_of_an_address_are_limited() -> None:
    limits = AddressLimits(rooms_at_once=3, talkers_in_a_room=2)
    rooms = Rooms(RoomLimits(addresses=limits))
    for n in range(3):
        join_listener(rooms, f"squat{n}", address="6.6.6.6")
    with pytest.raises(Refused, match="too many new rooms from this address") as refused:
        join_listener(rooms, "squat3", address="6.6.6.6")
    assert refused.value.code == CloseCode.TOO_FAST
    join_listener(rooms, "squat0", address="6.6.6.6")  # rooms that are there may be joined
    ada = join_talker(rooms, address="9.9.9.9")
    for _ in range(2):
        join_talker(rooms, name="Mallory", address="6.6.6.6")
    with pytest.raises(Refused, match="room a has 2 talkers of this address"):
        join_talker(rooms, name="Mallory", address="6.6.6.6")
    join_talker(rooms, name="Bob", address="9.9.9.9")
    again = Hello(Role.TALK, "a", "Ada", INFO, resume=ada.session)
    assert number(join(rooms, again, "9.9.9.9")) == number(ada)


def test_connections_of_an_address_are_limited_at_once_and_over_time() -> None:
    addresses = Addresses(AddressLimits(connections=3, connects_per_s=1, connects_at_once=5))
    assert [addresses.connect("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert addresses.connect("b", 0.0)
    for _ in range(4):
        addresses.disconnect("a", 0.0)
    assert [addresses.connect("a", 1.0) for _ in range(2)] == [True, False]  # 5 at once were used
    assert addresses.connect("a", 3_000.0)
    addresses.disconnect("b", 3_000.0)
    addresses.connect("c", 200_000.0)
    assert len(addresses) == 2  # b is forgotten, a is connected


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_ipv6_counts_by_network(host: str, network: str) -> None:
    assert network_of(host) == network


def test_a_room_of_many_talkers_is_introduced_with_few_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joining once took 134 ms at 128 talkers: a welcome was written for each number of them."""
    limits = RoomLimits(max_talkers=128, addresses=AddressLimits(talkers_in_a_room=128))
    rooms = Rooms(limits)
    for n in range(128):
        join_talker(rooms, name=f"talker {n}")
    attempts = []
    original = message_json.serialize_message
    monkeypatch.setattr(
        "streamcodec_server.rooms.serialize_message",
        lambda message: attempts.append(message) or original(message),
    )
    join_listener(rooms)
    assert sum(isinstance(m, Welcome) for m in attempts) <= 9


@pytest.mark.parametrize(
    ("statistics", "complaint"),
    [
        ({"mos": 9.0}, "statistics.mos must be 1 to 5, got 9.0"),
        ({"concealed_percent": -1}, "statistics.concealed_percent must be 0 to 100"),
        ({"lost": -5}, "statistics.lost must be 0 to"),
    ],
)
def test_reports_of_what_cannot_be_are_refused(
    statistics: dict[str, float], complaint: str
) -> None:
    with pytest.raises(MalformedMessage, match=complaint):
        parse_message(serialize_message(Report(1, statistics)))
    fine: dict[str, float] = {"mos": 4.4, "concealed_percent": 0, "lost": 0, "drift_ppm": -50}
    assert parse_message(serialize_message(Report(1, fine))) == Report(1, fine)


def test_a_listener_that_reports_all_the_time_takes_no_other_ones_turn() -> None:
    rooms = Rooms()
    ada, loud, quiet = join_talker(rooms), join_listener(rooms), join_listener(rooms)
    drain(ada)
    heard: list[int] = []
    for n in range(100):
        now_ms = 100.0 * n
        control(rooms, loud, Report(number(ada), {"lost": 1}), now_ms)
        if n % 10 == 9:
            control(rooms, quiet, Report(number(ada), {"lost": 2}), now_ms)
        heard += [m.listener for m in drain(ada) if isinstance(m, Report)]
    assert heard.count(quiet.number) == 10
    assert heard.count(loud.number) <= 22
