"""A packet to many listeners in one call gives each what it would have been given by itself."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection

from relay_clients import INFO, NO_BUDGETS, PATIENCE_S, listeners, member, relay
from room_members import Outlet
from socket_outlets import SocketOutlet
from streamcodec.wire.packet import Flags, Packet, parse, serialize
from streamcodec.wire.redundancy import CopyHistory, separate
from streamcodec.wire.session import Hello, Role
from streamcodec.wire.short_headers import Restorer
from streamcodec_server.audience import FanOut
from streamcodec_server.distribution import FEWEST_TOGETHER
from streamcodec_server.fan_out import native_fan_out
from streamcodec_server.frames import message_in
from streamcodec_server.limits import RoomLimits
from streamcodec_server.mailbox import Counters
from streamcodec_server.media import Media, Outgoing
from streamcodec_server.members import Member
from streamcodec_server.rooms import Rooms

FAN_OUT = native_fan_out()
needs_native = pytest.mark.skipif(FAN_OUT is None, reason="the C library has no sc_fan_out here")
COPY_DISTANCE = 2


class Call:
    """A room with a talker whose packets carry copies, and listeners on sockets."""

    def __init__(self, fan_out: FanOut | None) -> None:
        self.rooms = Rooms(RoomLimits(**NO_BUDGETS, max_queue_ms=10_000), fan_out)
        self.talker = self._talker()
        self.outlets: list[SocketOutlet] = []
        self.everybody: list[SocketOutlet] = []
        self.sequence = 0
        self.history = CopyHistory(COPY_DISTANCE, 320)

    def _talker(self, resume: str = "") -> Member:
        quiet = SocketOutlet(direct=False)
        quiet.close()
        quiet.writable = False
        hello = Hello(Role.TALK, "a", "Ada", INFO, resume=resume)
        return self.rooms.join(hello, quiet)

    def listen(
        self, copies: int, *, direct: bool = True, buffer_bytes: int | None = None
    ) -> SocketOutlet:
        outlet = SocketOutlet(direct=direct, buffer_bytes=buffer_bytes)
        outlet.member = self.rooms.join(Hello(Role.LISTEN, "a", copies=copies), outlet)
        outlet.member.mailbox.settle()
        self.outlets.append(outlet)
        self.everybody.append(outlet)
        return outlet

    def leave(self, outlet: SocketOutlet) -> None:
        assert outlet.member is not None
        outlet.take(0.0)
        self.outlets.remove(outlet)
        self.rooms.leave(outlet.member)
        outlet.member = None

    def say(self, payload: bytes, *, skip: int = 0) -> None:
        """The next packet, after `skip` that never came."""
        self.sequence += 1 + skip
        flags = Flags.RESET if self.sequence == 1 else Flags(0)
        packet = Packet(flags, 0, self.sequence, 320 * self.sequence, payload)
        packet = self.history.add(packet, b"copy of %d" % self.sequence)
        self.rooms.publish(self.talker, serialize(packet), 20.0 * self.sequence)

    def distribute(self, deliveries: int = 1_000_000) -> None:
        while self.rooms.waiting:
            self.rooms.distribute(20.0 * self.sequence, deliveries)

    def close(self) -> None:
        for outlet in self.everybody:
            outlet.close()


@pytest.fixture
def call() -> Iterator[Call]:
    made = Call(FAN_OUT)
    yield made
    made.close()


@needs_native
def test_listeners_get_the_frames_that_they_follow_and_take(call: Call) -> None:
    listening = [call.listen(copies) for copies in (0, 1, 2, 4)]
    for n in range(6):
        call.say(b"payload %d" % n)
    call.distribute()
    late = call.listen(4)
    for n in range(6, 9):
        call.say(b"payload %d" % n)
    call.distribute()
    for outlet in (*listening, late):
        outlet.take(0.0)
        heard = outlet.packets()
        assert [p.sequence for p in heard] == list(range(7 if outlet is late else 1, 10))
        plain = [separate(packet, 320) for packet in heard]
        assert [p.payload for p, _ in plain] == [b"payload %d" % (p.sequence - 1) for p in heard]
        takes = outlet in listening[2:] or outlet is late
        expected = [p.sequence - 2 if takes and p.sequence > 2 else None for p in heard]
        assert [None if copy is None else copy.sequence for _, copy in plain] == expected
        assert outlet.written_here <= 2  # the welcome: all else went past it
    counters = call.rooms.counters
    assert counters.packets_out == 4 * 9 + 3
    sent = sum(len(outlet.read) for outlet in (*listening, late))
    assert 0 < sent - counters.bytes_out < 5 * 1_000  # heads of frames and what was said in text


@needs_native
def test_a_kernel_that_takes_half_a_frame_gets_the_rest_first(call: Call) -> None:
    full = call.listen(0, buffer_bytes=4_608)
    others = [call.listen(0) for _ in range(FEWEST_TOGETHER)]
    for n in range(60):
        call.say(b"%04d" % n * 200)
        call.distribute()
        for outlet in others:
            outlet.take(0.0)
    assert full.waiting or not full.writable
    assert full.member is not None
    assert len(full.member.mailbox) > 10
    for _ in range(100):
        full.take(20.0 * 60)
    for outlet in (full, *others):
        assert [p.sequence for p in outlet.packets()] == list(range(1, 61))
    call.say(b"again")
    call.distribute()
    before = full.written_here
    full.take(0.0)
    assert full.packets()[-1].payload == b"again"
    assert full.written_here == before


@needs_native
def test_whoever_has_gone_gets_nothing_and_its_place_begins_anew(call: Call) -> None:
    staying = [call.listen(0) for _ in range(FEWEST_TOGETHER)]
    gone = call.listen(0)
    for n in range(3):
        call.say(b"%d" % n)
    call.distribute()
    assert gone.member is not None
    place = gone.member.mailbox.place
    call.leave(gone)
    call.say(b"3")
    call.distribute()
    gone.take(0.0)
    assert [p.sequence for p in gone.packets()] == [1, 2, 3]
    new = call.listen(0)
    assert new.member is not None
    assert new.member.mailbox.place == place
    for n in range(4, 8):
        call.say(b"%d" % n)
    call.distribute()
    for outlet in (new, *staying):
        outlet.take(0.0)
    assert [p.sequence for p in new.packets()] == [5, 6, 7, 8]  # short headers would not parse
    assert [p.sequence for p in staying[0].packets()] == list(range(1, 9))


@needs_native
def test_what_waits_of_a_talker_that_has_left_needs_nothing_before_it(call: Call) -> None:
    """Whoever takes a place in the meantime has not had the packets before."""
    staying = [call.listen(0) for _ in range(FEWEST_TOGETHER)]
    for n in range(3):
        call.say(b"%d" % n)
    call.distribute()
    call.say(b"3")
    call.say(b"4")
    call.rooms.leave(call.talker)
    call.leave(staying.pop())
    new = call.listen(0)
    call.distribute()
    for outlet in (new, *staying):
        outlet.take(0.0)
    assert [p.sequence for p in new.packets()] == [4, 5]
    assert [p.sequence for p in staying[0].packets()] == [1, 2, 3, 4, 5]


def random_call(seed: int, fan_out: FanOut | None) -> list[list[Packet]]:
    """-> what each listener heard, whoever came and went, read or did not."""
    rng, call = random.Random(seed), Call(fan_out)
    try:
        for _ in range(6):
            call.listen(rng.randrange(5), direct=rng.random() < 0.8)
        for n in range(300):
            what = rng.random()
            if what < 0.05 and len(call.outlets) < 12:
                small = rng.choice([None, 4_608])
                call.listen(rng.randrange(5), direct=rng.random() < 0.8, buffer_bytes=small)
            elif what < 0.08 and len(call.outlets) > 4:
                call.leave(rng.choice(call.outlets))
            else:
                size = rng.choice([3, 30, 300])
                call.say(b"%04d" % n + bytes(size), skip=rng.random() < 0.05)
            if rng.random() < 0.7:
                call.rooms.distribute(20.0 * call.sequence, rng.choice([3, 5, 1_000]))
            for outlet in call.outlets:
                if rng.random() < 0.2:
                    outlet.take(20.0 * call.sequence)
        for _ in range(100):
            call.distribute()
            for outlet in call.outlets:
                outlet.take(20.0 * call.sequence)
        return [outlet.packets() for outlet in call.everybody]
    finally:
        call.close()


@needs_native
@pytest.mark.parametrize("seed", range(30))
def test_together_or_one_by_one_all_hear_the_same(seed: int) -> None:
    together, alone = random_call(seed, FAN_OUT), random_call(seed, None)
    assert together == alone
    assert sum(map(len, together)) > 500


@needs_native
async def test_among_many_one_that_reads_nothing_loses_what_is_too_old_and_no_more() -> None:
    limits = RoomLimits(**NO_BUDGETS, max_queue_ms=100, too_slow_ms=1e9)
    async with relay(limits) as (running, clock, url), contextlib.AsyncExitStack() as room:
        ada, _ = await room.enter_async_context(member(url, Hello(Role.TALK, "a", "Ada", INFO)))
        well = [
            (await room.enter_async_context(member(url, Hello(Role.LISTEN, "a"))))[0]
            for _ in range(FEWEST_TOGETHER)
        ]
        slow, _ = await room.enter_async_context(member(url, Hello(Role.LISTEN, "a")))
        slow.transport.pause_reading()
        restorers = {id(one): Restorer() for one in (*well, slow)}

        async def next_of(one: ClientConnection) -> Packet:
            while isinstance(got := await one.recv(), str):
                pass
            return parse(restorers[id(one)].restore(got))

        stuck = listeners(running)[-1]
        sequence = 0
        async with asyncio.timeout(PATIENCE_S):
            while stuck.mailbox.dropped < 20:
                clock.now_ms += 20.0
                packet = Packet(Flags(0), 0, sequence, 320 * sequence, bytes(1_000))
                await ada.send(serialize(packet))
                for one in well:
                    assert (await next_of(one)).sequence == sequence
                sequence += 1
        slow.transport.resume_reading()
        heard = []
        async with asyncio.timeout(PATIENCE_S):
            while not heard or heard[-1] < sequence - 1:
                heard.append((await next_of(slow)).sequence)
        assert heard == sorted(set(heard))
        assert len(heard) == sequence - stuck.mailbox.dropped


def test_without_the_library_each_gets_its_own() -> None:
    call = Call(None)
    try:
        outlets = [call.listen(0) for _ in range(FEWEST_TOGETHER + 1)]
        for n in range(3):
            call.say(b"%d" % n)
        call.distribute()
        for outlet in outlets:
            outlet.take(0.0)
            assert [p.sequence for p in outlet.packets()] == [1, 2, 3]
    finally:
        call.close()


@needs_native
def test_a_frame_that_the_kernel_takes_in_parts_arrives_whole(call: Call) -> None:
    """Linux takes frames of our size whole or not at all; a large one it takes in parts."""
    assert FAN_OUT is not None
    outlets = [call.listen(0, buffer_bytes=4_608) for _ in range(2)]
    room, large = call.rooms.rooms["a"], random.Random(0).randbytes(60_000)
    media = Media(Outgoing(3), 2, large, distance=0, continues=False)
    for outlet in outlets:
        outlet.take(0.0)
    held = list(FAN_OUT(room.audience, media, 0, 2, 1, Counters()))
    assert [place for place, _ in held] == [0]
    rest = held[0][1]
    frame = media.frame(0)
    assert 0 < len(rest) < len(frame)
    assert frame.endswith(rest)
    mailbox = room.audience.mailboxes[0]
    assert mailbox is not None
    mailbox.put_rest(rest)
    before, skipped = outlets[0].read, outlets[1].read
    for _ in range(1_000):
        outlets[0].take(0.0)
        if len(outlets[0].read) - len(before) == len(frame):
            break
    assert outlets[0].read == before + frame
    assert outlets[1].read == skipped


def test_the_rest_of_a_frame_is_written_before_anything_else() -> None:
    def half(*_: object) -> list[tuple[int, bytes]]:
        return [(1, b"rest"), (2, b"")]

    rooms, taken = Rooms(RoomLimits(), half), []
    ada = rooms.join(Hello(Role.TALK, "a", "Ada", INFO), Outlet())
    for _ in range(FEWEST_TOGETHER):
        outlet = Outlet()
        outlet.writable, outlet.room = True, 100
        rooms.join(Hello(Role.LISTEN, "a"), outlet)
        taken.append(outlet.frames)
    rooms.distribute(0.0, 1_000)
    for frames in taken:
        frames.clear()
    rooms.publish(ada, serialize(Packet(Flags(0), 0, 0, 0, b"voice")), 0.0)
    rooms.distribute(0.0, 1_000)
    assert [len(frames) for frames in taken] == [0, 1, 1, 0]
    assert taken[1] == [b"rest"]
    assert bytes(message_in(taken[2][0])).endswith(b"voice")  # type: ignore[arg-type]
