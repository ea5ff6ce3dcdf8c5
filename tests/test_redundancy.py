"""Packets with copies of earlier ones: a lost packet is heard from its copy, at lower quality, and
nothing else changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import voice
from fakes import fake_info, fake_payload
from listening_room import Room
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.errors import ConfigError, MalformedPacket
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.fixed import FixedPlayout
from streamcodec.live.playout import Arrival, Conceal, Play, PlayoutBuffer
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet, PacketType, parse, serialize
from streamcodec.wire.redundancy import (
    MAX_COPY_BYTES,
    MAX_COPY_DISTANCE,
    Copy,
    CopyHistory,
    join,
    limited,
    separate,
)
from streamcodec.wire.session import StreamStart
from streamcodec_client.report.arrivals import ArrivalRecorder

SAMPLES = 320
NONE = Flags(0)


def packet(
    number: int, payload: bytes = b"fine", flags: Flags = NONE, capture_time: int | None = None
) -> Packet:
    captured = SAMPLES * number if capture_time is None else capture_time
    return Packet(flags, 1, number % SEQUENCE_MODULUS, captured % SEQUENCE_MODULUS, payload)


def spoken(count: int, distance: int = 2, first: int = 0) -> list[Packet]:
    history = CopyHistory(distance, SAMPLES)
    numbers = range(first, first + count)
    return [history.add(packet(n, f"fine {n}".encode()), f"coarse {n}".encode()) for n in numbers]


@pytest.mark.parametrize("first", [0, SEQUENCE_MODULUS - 2])
def test_a_copy_has_sequence_and_capture_time_of_its_packet(first: int) -> None:
    sent = [parse(serialize(p)) for p in spoken(4, first=first)]
    assert [p.type for p in sent] == [PacketType.AUDIO] * 2 + [PacketType.AUDIO_WITH_COPY] * 2
    own, copy = separate(sent[3], SAMPLES)
    assert own == packet(first + 3, f"fine {first + 3}".encode())
    earlier = packet(first + 1)
    assert copy == Copy(earlier.sequence, earlier.capture_time, f"coarse {first + 1}".encode())


def test_no_copy_is_carried_across_a_gap_or_a_reset() -> None:
    history = CopyHistory(1, SAMPLES)
    assert history.add(packet(0), b"copy").type == PacketType.AUDIO
    assert history.add(packet(1, capture_time=5 * SAMPLES), b"copy").type == PacketType.AUDIO
    assert (
        history.add(packet(2, capture_time=6 * SAMPLES, flags=Flags.RESET), b"copy").type
        == PacketType.AUDIO
    )
    assert (
        history.add(packet(3, capture_time=7 * SAMPLES), b"copy").type == PacketType.AUDIO_WITH_COPY
    )


def test_a_copy_that_does_not_fit_is_left_out() -> None:
    history = CopyHistory(1, SAMPLES)
    history.add(packet(0), bytes(MAX_COPY_BYTES + 1))
    assert history.add(packet(1), b"").type == PacketType.AUDIO  # it was too long
    assert history.add(packet(2), b"copy").type == PacketType.AUDIO  # there was none
    assert history.add(packet(3, bytes(1200)), b"copy").type == PacketType.AUDIO
    assert history.add(packet(4, bytes(1195)), b"copy").type == PacketType.AUDIO_WITH_COPY


@pytest.mark.parametrize("size", [1, 62, 63, 64, MAX_COPY_BYTES])
def test_copies_of_every_length_come_back(size: int) -> None:
    history = CopyHistory(4, SAMPLES)
    history.distance = 1
    history.add(packet(0), bytes(range(256))[:size].ljust(size, b"."))
    carried = history.add(packet(1), b"")
    own, copy = separate(parse(serialize(carried)), SAMPLES)
    assert own == packet(1)
    assert copy is not None
    assert copy.payload == bytes(range(256))[:size].ljust(size, b".")
    assert len(carried.payload) == 4 + size + (1 if size < 63 else 2)


def test_without_redundancy_packets_are_unchanged() -> None:
    assert spoken(3, distance=0) == [packet(n, f"fine {n}".encode()) for n in range(3)]
    with pytest.raises(ConfigError, match=f"one of the {MAX_COPY_DISTANCE} packets before it"):
        CopyHistory(MAX_COPY_DISTANCE + 1, SAMPLES)


def test_the_distance_may_change_at_any_time() -> None:
    history = CopyHistory(4, SAMPLES)
    distances = []
    for number, distance in enumerate([0, 0, 0, 2, 4, 1, 0, 3]):
        history.distance = distance
        carried = history.add(packet(number, capture_time=SAMPLES * number), b"copy")
        copy = separate(carried, SAMPLES)[1]
        distances.append(0 if copy is None else number - copy.sequence)
    assert distances == [0, 0, 0, 2, 4, 1, 0, 3]


def layout(content: bytes) -> tuple[int, bytes, bytes] | None:
    """The rules of docs/protocol.md, written down a second time -> distance, copy and payload; None
    if they are malformed.
    """
    if not content:
        return None
    distance, length, rest = content[0] // 64 + 1, content[0] % 64, content[1:]
    if length == 63:
        if not rest:
            return None
        length, rest = 63 + rest[0], rest[1:]
    return (distance, rest[:length], rest[length:]) if 0 < length < len(rest) else None


CONTENT = st.binary(max_size=12) | st.builds(
    join, st.binary(max_size=80), st.integers(1, MAX_COPY_DISTANCE), st.binary(max_size=3)
)


@given(CONTENT, st.integers(0, MAX_COPY_DISTANCE))
def test_exactly_the_valid_packets_are_split_and_copies_can_be_taken_out(
    content: bytes, farthest: int
) -> None:
    coming = dataclasses.replace(packet(9), type=PacketType.AUDIO_WITH_COPY, payload=content)
    if (expected := layout(content)) is None:
        with pytest.raises(MalformedPacket):
            separate(coming, SAMPLES)
        with pytest.raises(MalformedPacket):
            limited(serialize(coming), farthest)
        return
    distance, copy, payload = expected
    own = packet(9, payload)
    whole = own, Copy(9 - distance, (9 - distance) * SAMPLES, copy)
    assert separate(coming, SAMPLES) == whole
    left = whole if distance <= farthest else (own, None)
    assert separate(parse(limited(serialize(coming), farthest)), SAMPLES) == left


def adaptive() -> PlayoutBuffer:
    return AdaptivePlayout(packet_ms=20, samples_per_ms=16)


def fixed() -> PlayoutBuffer:
    return FixedPlayout(packet_ms=20, target_ms=60)


def hear(
    playout: PlayoutBuffer, packets: list[Packet], lost: set[int], until_ms: float
) -> list[str]:
    """One packet each 20 ms, those in `lost` never; polled each 10 ms -> the payload of each packet
    heard, or "-".
    """
    heard, next_poll = [], 0.0
    for now in np.arange(0.0, until_ms, 10.0).tolist():
        number = round(now / 20)
        if now % 20 == 0 and number < len(packets) and number not in lost:
            own, copy = separate(packets[number], SAMPLES)
            playout.receive(own.sequence, own.capture_time, own.payload, own.flags, now)
            if copy is not None:
                playout.recover(copy, now)
        if now < next_poll:
            continue
        event = playout.poll(now)
        if isinstance(event, Play):
            heard.append(event.payload.decode())
        elif isinstance(event, Conceal):
            heard.append("-")
        next_poll = now + (10 if event is None else 20)
    return heard


@pytest.mark.parametrize(("make", "waiting"), [(adaptive, 2), (fixed, 3)])
def test_lost_packets_are_played_from_their_copies(
    make: Callable[[], PlayoutBuffer], waiting: int
) -> None:
    """waiting: in the buffer, at the end."""
    playout, played = make(), 60 - waiting
    heard = hear(playout, spoken(60), {30, 31}, 1_200)
    expected = [f"fine {n}" for n in range(played)]
    expected[30:32] = ["coarse 30", "coarse 31"]
    assert heard == expected
    statistics = playout.statistics()
    assert (statistics.received, statistics.played) == (58, played)
    assert (statistics.lost, statistics.recovered, statistics.concealed) == (2, 2, 0)


def test_a_loss_longer_than_the_distance_of_copies_is_concealed() -> None:
    playout = fixed()
    heard = hear(playout, spoken(60, distance=1), {30, 31}, 1_200)
    assert heard[29:33] == ["fine 29", "-", "coarse 31", "fine 32"]
    statistics = playout.statistics()
    assert (statistics.lost, statistics.recovered, statistics.concealed) == (2, 1, 1)


def test_the_adaptive_delay_grows_to_wait_for_copies() -> None:
    lost = {n for n in range(50, 2_000) if n % 25 in (0, 1)}
    heard = hear(adaptive(), spoken(2_000), lost, 40_000)
    assert heard[1_000:].count("-") <= 2
    assert sum("coarse" in h for h in heard[1_000:]) >= 70


def test_a_packet_that_comes_late_replaces_its_copy() -> None:
    playout = FixedPlayout(packet_ms=20, target_ms=60)
    first, second, third = spoken(3, distance=1)
    for p, now in ((first, 0.0), (third, 40.0)):
        own, copy = separate(p, SAMPLES)
        playout.receive(own.sequence, own.capture_time, own.payload, NONE, now)
        assert copy is None or playout.recover(copy, now)
    own, of_first = separate(second, SAMPLES)
    assert of_first is not None
    assert not playout.recover(of_first, 45.0)  # the first packet itself has come
    assert (
        playout.receive(own.sequence, own.capture_time, own.payload, NONE, 45.0) is Arrival.BUFFERED
    )
    heard = [e.payload for now in (60.0, 80.0, 100.0) if isinstance(e := playout.poll(now), Play)]
    assert heard == [b"fine 0", b"fine 1", b"fine 2"]
    assert playout.statistics().recovered == 0


def test_copies_of_packets_before_the_first_are_ignored() -> None:
    playout = fixed()
    own, copy = separate(spoken(3)[2], SAMPLES)
    playout.receive(own.sequence, own.capture_time, own.payload, NONE, 0.0)
    assert copy is not None
    assert not playout.recover(copy, 0.0)


def test_an_encoder_makes_a_copy_of_each_payload(model: CodecModel) -> None:
    pcm = voice(1.0)
    plain = StreamEncoder(model, quality=0.5)
    encoder = StreamEncoder(model, quality=0.5, copies=True)
    payloads = encoder.encode(pcm)
    assert payloads == plain.encode(pcm)
    assert not any(plain.copies)
    assert len(encoder.copies) == len(payloads)
    assert sum(map(len, encoder.copies)) < 0.7 * sum(map(len, payloads))
    heard = np.concatenate([StreamDecoder(model, encoder.config).decode(c) for c in encoder.copies])
    assert np.isfinite(heard).all()
    assert len(encoder.flush()) == len(encoder.copies)


@pytest.mark.parametrize(
    ("bitrate_bps", "with_copies_bps"), [(6_000, 9_000), (12_000, 13_500), (16_000, 18_000)]
)
def test_copies_add_an_eighth_to_a_mean_rate_or_what_leads_to_13500(
    shipped: CodecModel, speech: NDArray[np.float32], bitrate_bps: float, with_copies_bps: float
) -> None:
    """A copy takes 3 kbit/s at most."""
    sizes = []
    for copies in (False, True):
        encoder = StreamEncoder(shipped, bitrate_bps=bitrate_bps, copies=copies)
        payloads = encoder.encode(speech[: 16_000 * 8])
        sizes.append(sum(map(len, payloads)) + sum(len(c) + 1 for c in encoder.copies if c))
    assert sizes[1] / sizes[0] == pytest.approx(with_copies_bps / bitrate_bps, rel=0.05)


def test_a_capped_rate_has_no_room_for_copies(model: CodecModel) -> None:
    with pytest.raises(ConfigError, match="capped stream has no room for copies"):
        StreamEncoder(model, bitrate_bps=9_000, capped=True, copies=True)


def test_a_recorded_trace_contains_packets_with_copies(tmp_path: Path) -> None:
    recorder = ArrivalRecorder(tmp_path / "trace.csv")
    recorder.message(StreamStart(1, "anna", fake_info()))
    for sent in spoken(20):
        recorder.media(serialize(sent), 0)
    recorder.close()
    assert len((tmp_path / "trace.csv").read_text().splitlines()) == 1 + 20


async def test_a_listener_plays_a_copy_in_place_of_a_lost_packet() -> None:
    room = Room(playout=60)
    room.welcome()
    room.joins(1)
    history, heard = CopyHistory(1, SAMPLES), []
    for number in range(12):
        sent = history.add(packet(number, fake_payload(0.8)), fake_payload(0.7))
        if number != 5:
            room.receiver.media(serialize(sent), room.clock.now_ns())
        heard += await room.hears(2)
    assert heard[14:20] == [0.8, 0.8, 0.7, 0.7, 0.8, 0.8]
    statistics = room.receiver.statistics()
    assert (statistics.lost, statistics.recovered, statistics.concealed) == (1, 1, 0)
    garbage = dataclasses.replace(packet(12), type=PacketType.AUDIO_WITH_COPY, payload=b"\x09")
    room.receiver.media(serialize(garbage), room.clock.now_ns())
    await room.hears(2)
    assert room.receiver.statistics().malformed == 1
    await room.close()
