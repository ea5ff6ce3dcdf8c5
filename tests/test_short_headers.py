"""Headers without counters: what one end of a connection leaves out, the other one puts back."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from room_members import distribute, drain, join_listener, join_talker, outlets, publish
from streamcodec.errors import MalformedPacket, UnsupportedVersion
from streamcodec.wire.packet import (
    HEADER_BYTES,
    SEQUENCE_MODULUS,
    SHORT,
    Flags,
    Packet,
    PacketType,
    parse,
    serialize,
)
from streamcodec.wire.redundancy import join
from streamcodec.wire.short_headers import SHORT_HEADER_BYTES, Restorer, Shortener
from streamcodec_server.frames import message_in
from streamcodec_server.limits import RoomLimits
from streamcodec_server.rooms import Rooms

PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
VOICE = Flags.VOICE


def packet(sequence: int, captured: int | None = None, stream: int = 9) -> bytes:
    captured = 320 * sequence if captured is None else captured
    counters = sequence % SEQUENCE_MODULUS, captured % SEQUENCE_MODULUS
    return serialize(Packet(VOICE, stream, *counters, b"voice"))


def is_short(datagram: bytes) -> bool:
    return bool(datagram[0] & SHORT)


def test_the_third_packet_of_a_steady_stream_needs_no_counters() -> None:
    shortener, restorer = Shortener(), Restorer()
    for sequence in range(6):
        sent = shortener.shorten(packet(sequence))
        assert is_short(sent) == (sequence > 1)
        assert len(sent) == len(b"voice") + (SHORT_HEADER_BYTES if sequence > 1 else HEADER_BYTES)
        assert restorer.restore(sent) == packet(sequence)


def test_counters_are_said_after_a_pause_and_at_the_next_packet() -> None:
    shortener = Shortener()
    captured = [0, 320, 640, 960, 9_960, 10_280, 10_600]
    short = [is_short(shortener.shorten(packet(n, at))) for n, at in enumerate(captured)]
    assert short == [False, False, True, True, False, False, True]


def test_counters_may_wrap() -> None:
    shortener, restorer = Shortener(), Restorer()
    for n in range(-4, 4):
        sent = shortener.shorten(packet(n))
        assert is_short(sent) == (n > -3)
        assert restorer.restore(sent) == packet(n)


STEPS = st.tuples(
    st.sampled_from([1, 1, 1, 1, 2, 100, SEQUENCE_MODULUS - 1, 0]),
    st.sampled_from([320, 320, 320, 960, 0, SEQUENCE_MODULUS - 320]),
)


@given(st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=40))
def test_whatever_is_sent_is_restored(packets: list[tuple[int, tuple[int, int]]]) -> None:
    """Of several streams over one connection, each of which its sender shortened."""
    shorteners = [Shortener() for _ in range(3)]
    counters = [(0, 0)] * 3
    restorer = Restorer()
    for stream, (numbers, samples) in packets:
        sequence, captured = counters[stream]
        counters[stream] = sequence + numbers, captured + samples
        said = packet(sequence, captured, stream)
        assert restorer.restore(shorteners[stream].shorten(said)) == said


@pytest.mark.parametrize(
    ("datagram", "error"),
    [
        (b"\x38\x02", "need 4 bytes of a short header, got 2"),
        (b"\x38\x02\x00\x09", "empty payload"),
        (b"\x38\x02\x00\x09" + bytes(1201), "payload of 1201 bytes"),
        (b"\x38\x02\x00\x08voice", "the two packets before it on this connection must be known"),
        (b"", "need 12 header bytes, got 0"),
    ],
)
def test_malformed_packets_are_refused_and_the_next_one_is_restored(
    datagram: bytes, error: str
) -> None:
    shortener, restorer = Shortener(), Restorer()
    for sequence in range(3):
        restorer.restore(shortener.shorten(packet(sequence)))
    with pytest.raises(MalformedPacket, match=error):
        restorer.restore(datagram)
    assert restorer.restore(shortener.shorten(packet(3))) == packet(3)


def test_a_short_header_of_another_version_is_refused_as_such() -> None:
    with pytest.raises(UnsupportedVersion, match="version 4"):
        Restorer().restore(b"\x48\x02\x00\x09voice")


def test_one_packet_before_is_not_enough() -> None:
    restorer = Restorer()
    restorer.restore(packet(0))
    with pytest.raises(MalformedPacket, match="the two packets before it"):
        restorer.restore(b"\x38\x02\x00\x09voice")


def test_a_packet_that_was_not_restored_is_not_parsed() -> None:
    with pytest.raises(MalformedPacket, match="only the connection that it came over"):
        parse(b"\x38\x02\x00\x09" + bytes(20))


def test_vectors_in_the_protocol_document() -> None:
    """Lines `message hex | sequence | capture time`, of one stream over one connection."""
    rows = re.findall(r"^\| `(3[0-9a-f]+)` \| (\d+) \| (\d+) \|$", PROTOCOL.read_text(), re.M)
    assert len(rows) >= 4
    assert {is_short(bytes.fromhex(message)) for message, _, _ in rows} == {False, True}
    restorer, shortener = Restorer(), Shortener()
    for message, sequence, captured in rows:
        restored = restorer.restore(bytes.fromhex(message))
        said = parse(restored)
        assert (said.sequence, said.capture_time) == (int(sequence), int(captured))
        assert shortener.shorten(restored).hex() == message


# --- through a relay -----------------------------------------------------------------------------


def test_who_joins_or_misses_something_is_told_the_counters() -> None:
    rooms = Rooms(RoomLimits(max_queue_ms=100))
    ada, slow = join_talker(rooms), join_listener(rooms)
    drain(slow)
    for n in range(10):
        publish(rooms, ada, packet(n), 20.0 * n)
    late = join_listener(rooms)
    drain(late)
    for n in range(10, 14):
        publish(rooms, ada, packet(n), 20.0 * n)
    assert [p.sequence for p in drained(late)] == [10, 11, 12, 13]
    assert [p.sequence for p in drained(slow, 260.0)] == [8, 9, 10, 11, 12, 13]


def drained(member: object, now_ms: float = 260.0) -> list[Packet]:
    packets = drain(member, now_ms)  # type: ignore[arg-type]
    assert all(isinstance(p, Packet) for p in packets)
    return packets  # type: ignore[return-value]


def test_listeners_get_short_headers_and_the_counters_that_were_sent() -> None:
    rooms = Rooms()
    ada, lis = join_talker(rooms), join_listener(rooms)
    drain(lis)
    shortener, lengths = Shortener(), []
    for n in range(5):
        publish(rooms, ada, shortener.shorten(packet(n)), 20.0 * n)
        outlet = outlets[lis]
        outlet.writable, outlet.room = True, 1
        lis.mailbox.flush(20.0 * n)
        lengths.append(len(message_in(outlet.frames[-1])))
    assert lengths == [17, 17, 9, 9, 9]
    assert [p.sequence for p in drained(lis)] == list(range(5))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_relay_drops_each_listener_gets_true_counters(seed: int) -> None:
    """Talkers pause, come back with their stream's number, and send copies; listeners join, take
    copies or not, and read now and then.
    """
    random_ = random.Random(seed)
    rooms = Rooms(RoomLimits(max_queue_ms=100, max_listeners=100))
    talkers = [join_talker(rooms, name=name) for name in ("Ada", "Bo")]
    shorteners = [Shortener(), Shortener()]
    counters = [(random_.randrange(1 << 32), random_.randrange(1 << 32)) for _ in talkers]
    heard, sent, now_ms = [join_listener(rooms)], {}, 0.0
    got = 0
    for n in range(300):
        now_ms += 20
        who = random_.randrange(2)
        if random_.random() < 0.02:
            talkers[who] = join_talker(rooms, name=("Ada", "Bo")[who], resume=talkers[who].session)
            shorteners[who] = Shortener()
        sequence, captured = counters[who]
        gap = random_.choice([320] * 8 + [9_000])
        counters[who] = (sequence + 1) % SEQUENCE_MODULUS, (captured + gap) % SEQUENCE_MODULUS
        said, kind = n.to_bytes(4, "big"), PacketType.AUDIO
        if random_.random() < 0.3:
            said, kind = join(b"copy", random_.randint(1, 4), said), PacketType.AUDIO_WITH_COPY
        flags = Flags.RESET if random_.random() < 0.05 else VOICE
        datagram = serialize(Packet(flags, 0, *counters[who], said, kind))
        sent[n] = counters[who]
        publish(rooms, talkers[who], shorteners[who].shorten(datagram), now_ms)
        if random_.random() < 0.05:
            heard.append(join_listener(rooms, copies=random_.randint(0, 4)))
        for member in heard:
            if random_.random() < 0.3:
                for item in drain(member, now_ms, random_.choice([1, 2, 100])):
                    if isinstance(item, Packet):
                        number = int.from_bytes(item.payload[-4:], "big")
                        assert (item.sequence, item.capture_time) == sent[number]
                        got += 1
    assert got > 300


def test_a_room_of_hundreds_of_streams_gets_true_counters() -> None:
    rooms = Rooms(RoomLimits(max_talkers=1_000))
    lis = join_listener(rooms)
    talkers = [join_talker(rooms, address=str(n)) for n in range(266)]
    drain(lis)
    for n in range(4):
        for ada in talkers:
            publish(rooms, ada, packet(n), 20.0 * n)
        distribute(rooms, 20.0 * n)
        assert {p.sequence for p in drained(lis, 20.0 * n)} == {n}
