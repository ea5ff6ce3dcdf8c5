"""Rooms that span relays, on a bus that lives in a simulated time."""

from __future__ import annotations

import dataclasses
import heapq
import itertools

import pytest

from room_members import INFO, Outlet, distribute, drain, outlets
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import (
    Capture,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Remove,
    Report,
    Role,
    Silence,
    Silenced,
    StreamEnd,
    StreamStart,
    StreamUpdate,
)
from streamcodec_server.limits import RoomLimits
from streamcodec_server.members import Member
from streamcodec_server.rooms import Rooms
from streamcodec_server.spanning import NODES, Spanning, topic_of

HOP_MS = 2.0


class Network:
    """All relays, and the bus between them. Cut off relays neither send nor receive."""

    def __init__(self, *clocks_ms: float) -> None:
        self.now_ms = 0.0
        self.cut: set[Relay] = set()
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Relay, str, bytes]] = []
        self.relays: list[Relay] = []
        for offset_ms in clocks_ms or (0.0, 0.0):
            self.relays.append(Relay(self, offset_ms, len(self.relays)))

    def publish(self, sender: Relay, topic: str, data: bytes) -> None:
        if sender in self.cut:
            return
        for relay in self.relays:
            if relay is not sender and topic in relay.topics:
                entry = (self.now_ms + HOP_MS, next(self._order), relay, topic, data)
                heapq.heappush(self._waiting, entry)

    def pass_time(self, ms: float = 10.0) -> None:
        """In steps of a millisecond."""
        for _ in range(round(ms)):
            self.now_ms += 1
            while self._waiting and self._waiting[0][0] <= self.now_ms:
                _, _, relay, topic, data = heapq.heappop(self._waiting)
                if relay not in self.cut and topic in relay.topics:
                    relay.spanning.receive(topic, data, relay.clock_ms)
                    distribute(relay.rooms, relay.clock_ms)
            if self.now_ms % 100 == 0:
                for relay in self.relays:
                    relay.spanning.tick(relay.clock_ms)
                    distribute(relay.rooms, relay.clock_ms)


class Relay:
    """One of them; its Bus, too."""

    def __init__(self, network: Network, offset_ms: float, number: int) -> None:
        self.network, self.offset_ms = network, offset_ms
        self.topics: set[str] = set()
        self.rooms = Rooms(RoomLimits())
        self.spanning = Spanning(self.rooms, self, number.to_bytes(8, "big"))
        self.rooms.elsewhere = self.spanning

    @property
    def clock_ms(self) -> float:
        return self.network.now_ms + self.offset_ms

    def publish(self, topic: str, data: bytes) -> None:
        self.network.publish(self, topic, data)

    def follow(self, topic: str) -> None:
        self.topics.add(topic)

    def unfollow(self, topic: str) -> None:
        self.topics.discard(topic)

    def joins(self, role: Role, name: str, copies: int = 0, moderates: bool = False) -> Member:
        hello = Hello(role, "a", name, INFO if role.talks else None, copies=copies, token=name)
        outlet = Outlet()
        member = self.rooms.join(hello, outlet, "", self.clock_ms, moderates=moderates)
        outlets[member] = outlet
        distribute(self.rooms, self.clock_ms)
        return member

    def leaves(self, member: Member) -> None:
        self.rooms.leave(member, self.clock_ms)
        distribute(self.rooms, self.clock_ms)

    def says(self, member: Member, sequence: int) -> None:
        datagram = serialize(Packet(Flags.VOICE, 0, sequence, 320 * sequence, b"voice"))
        self.rooms.publish(member, datagram, self.clock_ms)
        distribute(self.rooms, self.clock_ms)

    def tells(self, member: Member, message: Message) -> None:
        self.rooms.control(member, message, self.clock_ms)
        distribute(self.rooms, self.clock_ms)

    def hears(self, member: Member) -> list[object]:
        return drain(member, self.clock_ms)


def stream_of(item: object) -> int:
    assert isinstance(item, StreamStart | Packet | StreamEnd | Mute | Capture)
    return item.stream


def test_who_joins_elsewhere_is_announced_and_heard() -> None:
    network = Network()
    here, there = network.relays
    lis = here.joins(Role.LISTEN, "Lis")
    network.pass_time()
    here.hears(lis)
    ada = there.joins(Role.TALK, "Ada")
    network.pass_time()
    (start,) = here.hears(lis)
    assert isinstance(start, StreamStart)
    assert (start.name, start.info) == ("Ada", INFO)
    for n in range(5):
        there.says(ada, n)
        network.pass_time(20)
    packets = here.hears(lis)
    assert [p.sequence for p in packets if isinstance(p, Packet)] == list(range(5))
    assert {stream_of(p) for p in packets} == {start.stream}
    there.leaves(ada)
    network.pass_time()
    assert here.hears(lis) == [StreamEnd(start.stream)]


def test_who_comes_late_is_told_who_talks_elsewhere() -> None:
    network = Network()
    here, there = network.relays
    ada = there.joins(Role.TALK, "Ada")
    there.tells(ada, Mute(True))
    network.pass_time()
    lis = here.joins(Role.LISTEN, "Lis")
    network.pass_time()
    start, mute = here.hears(lis)[1:]
    assert isinstance(start, StreamStart)
    assert mute == Mute(True, start.stream)


def test_members_of_one_relay_are_not_announced_to_themselves() -> None:
    network = Network()
    here, there = network.relays
    both, _ = here.joins(Role.BOTH, "Ada"), there.joins(Role.BOTH, "Bo")
    network.pass_time(1_000)
    started = [m for m in here.hears(both) if isinstance(m, StreamStart)]
    assert [m.name for m in started] == ["Bo"]


def test_a_relay_without_members_in_a_room_hears_nothing_of_it() -> None:
    network = Network()
    here, there = network.relays
    there.joins(Role.TALK, "Ada")
    lis = here.joins(Role.LISTEN, "Lis")
    network.pass_time()
    assert topic_of("a") in here.topics
    here.leaves(lis)
    assert here.topics == {NODES}
    assert here.rooms.rooms == {}


def test_news_of_a_stream_go_everywhere() -> None:
    network = Network(0.0, 77_000.0)
    here, there = network.relays
    lis, ada = here.joins(Role.LISTEN, "Lis"), there.joins(Role.TALK, "Ada")
    network.pass_time(1_000)
    stream = stream_of(here.hears(lis)[-1])
    other = dataclasses.replace(INFO, bitrate_bps=9_000)
    there.tells(ada, StreamUpdate(other))
    there.tells(ada, Capture(320, there.clock_ms - 5))
    captured_ms = network.now_ms - 5
    there.tells(ada, Mute(True))
    network.pass_time()
    update, capture, mute = here.hears(lis)
    assert update == StreamStart(stream, "Ada", other)
    assert mute == Mute(True, stream)
    assert isinstance(capture, Capture)
    # by this relay's clock, but for what a heartbeat takes on the way
    assert capture.relay_ms == pytest.approx(captured_ms + HOP_MS)


def test_reports_and_what_listeners_want_go_back() -> None:
    network = Network()
    here, there = network.relays
    ada = there.joins(Role.TALK, "Ada")
    lis = here.joins(Role.LISTEN, "Lis", copies=3)
    network.pass_time()
    stream = stream_of(here.hears(lis)[-1])
    assert there.hears(ada)[-1] == CopiesWanted(3)
    here.tells(lis, Report(stream, {"lost": 2.0}))
    network.pass_time()
    (report,) = there.hears(ada)
    assert isinstance(report, Report)
    assert (report.name, report.statistics) == ("Lis", {"lost": 2.0})
    here.leaves(lis)
    network.pass_time()
    assert there.hears(ada) == [CopiesWanted(0)]


def test_a_moderator_acts_on_who_is_connected_elsewhere() -> None:
    network = Network()
    here, there = network.relays
    ada = there.joins(Role.TALK, "Ada")
    moderator = here.joins(Role.LISTEN, "Mod", moderates=True)
    network.pass_time()
    (ghost,) = [m for m in here.rooms.rooms["a"].members if m.remote]
    here.tells(moderator, Silence(ghost.number, True))
    network.pass_time()
    assert there.hears(ada)[-1] == Silenced(True)
    here.hears(moderator)
    there.says(ada, 0)
    network.pass_time()
    assert here.hears(moderator) == []
    here.tells(moderator, Silence(ghost.number, False))
    network.pass_time()
    assert there.hears(ada) == [Silenced(False)]
    here.tells(moderator, Remove(ghost.number))
    network.pass_time()
    assert outlets[ada].dismissed is not None
    assert [m for m in here.rooms.rooms["a"].members if m.remote] == []


def test_a_relay_that_dies_costs_its_listeners_two_seconds_and_brings_nothing_old() -> None:
    network = Network()
    here, there = network.relays
    lis, ada = here.joins(Role.LISTEN, "Lis", copies=2), there.joins(Role.TALK, "Ada")
    network.pass_time(1_000)
    stream = stream_of(here.hears(lis)[-1])
    there.hears(ada)
    network.cut.add(there)
    for n in range(150):
        there.says(ada, n)
        network.pass_time(20)
        if n == 100:  # after 2 s
            assert here.hears(lis) == [StreamEnd(stream)]
            assert there.hears(ada) == [CopiesWanted(0)]
    network.cut.clear()
    network.pass_time(1_000)
    (start,) = here.hears(lis)
    assert isinstance(start, StreamStart)
    assert there.hears(ada) == [CopiesWanted(2)]
    there.says(ada, 200)
    network.pass_time()
    (packet,) = here.hears(lis)
    assert isinstance(packet, Packet)
    assert packet.sequence == 200


def test_a_talker_that_comes_back_keeps_its_stream_everywhere() -> None:
    network = Network()
    here, there = network.relays
    lis, ada = here.joins(Role.LISTEN, "Lis"), there.joins(Role.TALK, "Ada")
    network.pass_time()
    stream = stream_of(here.hears(lis)[-1])
    hello = Hello(Role.TALK, "a", "Ada", INFO, resume=ada.session, token="Ada")
    again = there.rooms.join(hello, Outlet(), "", there.clock_ms)
    there.says(again, 0)
    network.pass_time()
    (packet,) = here.hears(lis)
    assert stream_of(packet) == stream


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01" + bytes(10) + b"no JSON",
        b"\x01" + bytes(10) + b"[]",
        b'\x01\x09\x09\x09\x09\x09\x09\x09\x09\x00\x01{"start": "{}", "muted": 1}',
        b"\x63" + bytes(30),
        b"\x03" + bytes(10) + b"no packet",
        b"\x05" + bytes(10) + b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_ignored(data: bytes) -> None:
    network = Network()
    here, there = network.relays
    lis = here.joins(Role.LISTEN, "Lis")
    ada = there.joins(Role.TALK, "Ada")
    network.pass_time()
    here.hears(lis)
    here.spanning.receive(topic_of("a"), data, here.clock_ms)
    here.spanning.receive(NODES, data, here.clock_ms)
    there.says(ada, 0)
    network.pass_time()
    assert len(here.hears(lis)) == 1
