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

from conftest import voice
from fakes import fake_info, fake_payload
from listening_room import Room
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.errors import ConfigError, MalformedPacket
from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.fixed import FixedPlayout
from streamcodec.live.playout import Arrival, Conceal, Play, PlayoutBuffer
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet, PacketType, parse, serialize
from streamcodec.wire.redundancy import MAX_COPIES, CopyHistory, join, limited, separate
from streamcodec.wire.session import StreamStart
from streamcodec_client.report.arrivals import ArrivalRecorder

SAMPLES = 320
NONE = Flags(0)


def packet(
    number: int, payload: bytes = b"fine", flags: Flags = NONE, capture_time: int | None = None
) -> Packet:
    captured = SAMPLES * number if capture_time is None else capture_time
    return Packet(flags, 1, number % SEQUENCE_MODULUS, captured % SEQUENCE_MODULUS, payload)


def spoken(count: int, copies: int = 2, first: int = 0) -> list[Packet]:
    history = CopyHistory(copies, SAMPLES)
    numbers = range(first, first + count)
    return [history.add(packet(n, f"fine {n}".encode()), f"coarse {n}".encode()) for n in numbers]


@pytest.mark.parametrize("first", [0, SEQUENCE_MODULUS - 2])
def test_copies_have_sequence_and_capture_time_of_their_packets(first: int) -> None:
    sent = [parse(serialize(p)) for p in spoken(4, first=first)]
    assert [p.type for p in sent] == [PacketType.AUDIO, *[PacketType.AUDIO_WITH_COPIES] * 3]
    own, copies = separate(sent[3], SAMPLES)
    assert own == packet(first + 3, f"fine {first + 3}".encode())
    expected = [packet(first + 2), packet(first + 1)]
    assert [(c.sequence, c.capture_time) for c in copies] == [
        (p.sequence, p.capture_time) for p in expected
    ]
    assert [c.payload for c in copies] == [
        f"coarse {first + 2}".encode(),
        f"coarse {first + 1}".encode(),
    ]


def test_no_copy_is_carried_across_a_gap_or_a_reset() -> None:
    history = CopyHistory(2, SAMPLES)
    assert history.add(packet(0), b"copy").type == PacketType.AUDIO
    assert history.add(packet(1, capture_time=5 * SAMPLES), b"copy").type == PacketType.AUDIO
    assert (
        history.add(packet(2, capture_time=6 * SAMPLES, flags=Flags.RESET), b"copy").type
        == PacketType.AUDIO
    )
    assert (
        history.add(packet(3, capture_time=7 * SAMPLES), b"copy").type
        == PacketType.AUDIO_WITH_COPIES
    )


def test_a_copy_that_does_not_fit_is_left_out() -> None:
    history = CopyHistory(2, SAMPLES)
    history.add(packet(0), b"short")
    history.add(packet(1), bytes(300))
    assert [c.payload for c in separate(history.add(packet(2), b""), SAMPLES)[1]] == [b"short"]
    full = CopyHistory(1, SAMPLES)
    full.add(packet(0), b"copy")
    assert full.add(packet(1, bytes(1200)), b"copy").type == PacketType.AUDIO


def test_without_redundancy_packets_are_unchanged() -> None:
    assert spoken(3, copies=0) == [packet(n, f"fine {n}".encode()) for n in range(3)]
    with pytest.raises(ConfigError, match=f"0 to {MAX_COPIES}"):
        CopyHistory(MAX_COPIES + 1, SAMPLES)


def layout(content: bytes) -> list[int] | None:
    """The rules of docs/protocol.md, written down a second time -> lengths of the copies, None if
    they are malformed.
    """
    count = content[0] if content else 0
    if not 1 <= count <= 4 or len(content) < 1 + count:
        return None
    lengths = list(content[1 : 1 + count])
    return lengths if 1 + count + sum(lengths) < len(content) else None


COPIES = st.lists(st.binary(max_size=3), min_size=1, max_size=MAX_COPIES + 1)
CONTENT = st.binary(max_size=12) | st.builds(join, COPIES, st.binary(max_size=3))


@given(CONTENT, st.integers(0, MAX_COPIES))
def test_exactly_the_valid_packets_are_split_and_copies_can_be_taken_out(
    content: bytes, most: int
) -> None:
    coming = dataclasses.replace(packet(9), type=PacketType.AUDIO_WITH_COPIES, payload=content)
    if (lengths := layout(content)) is None:
        with pytest.raises(MalformedPacket):
            separate(coming, SAMPLES)
        with pytest.raises(MalformedPacket):
            limited(serialize(coming), most)
        return
    own, copies = separate(coming, SAMPLES)
    assert [9 - c.sequence for c in copies] == [n for n, size in enumerate(lengths, 1) if size]
    expected = content[1 + len(lengths) :]
    assert b"".join(c.payload for c in copies) + own.payload == expected
    kept = [c for c in copies if c.sequence >= 9 - most]
    assert separate(parse(limited(serialize(coming), most)), SAMPLES) == (own, kept)


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
            own, copies = separate(packets[number], SAMPLES)
            playout.receive(own.sequence, own.capture_time, own.payload, own.flags, now)
            for copy in copies:
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


@pytest.mark.parametrize("make", [adaptive, fixed])
def test_lost_packets_are_played_from_their_copies(make: Callable[[], PlayoutBuffer]) -> None:
    playout = make()
    heard = hear(playout, spoken(60), {30, 31}, 1_200)
    expected = [f"fine {n}" for n in range(57)]  # three more packets wait in the buffer
    expected[30:32] = ["coarse 30", "coarse 31"]
    assert heard == expected
    statistics = playout.statistics()
    assert (statistics.received, statistics.played) == (58, 57)
    assert (statistics.lost, statistics.recovered, statistics.concealed) == (2, 2, 0)


def test_a_loss_longer_than_the_copies_reach_is_concealed() -> None:
    playout = fixed()
    heard = hear(playout, spoken(60, copies=1), {30, 31}, 1_200)
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
    first, second, third = spoken(3)
    for p, now in ((first, 0.0), (third, 40.0)):
        own, copies = separate(p, SAMPLES)
        playout.receive(own.sequence, own.capture_time, own.payload, NONE, now)
        recovered = [playout.recover(c, now) for c in copies]
    assert recovered == [True, False]  # the first packet itself has come
    own, _ = separate(second, SAMPLES)
    assert (
        playout.receive(own.sequence, own.capture_time, own.payload, NONE, 45.0) is Arrival.BUFFERED
    )
    heard = [e.payload for now in (60.0, 80.0, 100.0) if isinstance(e := playout.poll(now), Play)]
    assert heard == [b"fine 0", b"fine 1", b"fine 2"]
    assert playout.statistics().recovered == 0


def test_copies_of_packets_before_the_first_are_ignored() -> None:
    playout = fixed()
    own, copies = separate(spoken(3)[2], SAMPLES)
    playout.receive(own.sequence, own.capture_time, own.payload, NONE, 0.0)
    assert [playout.recover(c, 0.0) for c in copies] == [False, False]


def test_an_encoder_makes_a_copy_of_each_payload(model: CodecModel) -> None:
    pcm = voice(1.0)
    plain = StreamEncoder(model, bitrate_bps=9_000)
    encoder = StreamEncoder(model, bitrate_bps=9_000, copies=True)
    payloads = encoder.encode(pcm)
    assert payloads == plain.encode(pcm)
    assert not any(plain.copies)
    assert len(encoder.copies) == len(payloads)
    assert sum(map(len, encoder.copies)) < 0.7 * sum(map(len, payloads))
    heard = np.concatenate([StreamDecoder(model, encoder.config).decode(c) for c in encoder.copies])
    assert np.isfinite(heard).all()
    assert len(encoder.flush()) == len(encoder.copies)


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
    history, heard = CopyHistory(2, SAMPLES), []
    for number in range(12):
        sent = history.add(packet(number, fake_payload(0.8)), fake_payload(0.7))
        if number != 5:
            room.receiver.media(serialize(sent), room.clock.now_ns())
        heard += await room.hears(2)
    assert heard[14:20] == [0.8, 0.8, 0.7, 0.7, 0.8, 0.8]
    statistics = room.receiver.statistics()
    assert (statistics.lost, statistics.recovered, statistics.concealed) == (1, 1, 0)
    garbage = dataclasses.replace(packet(12), type=PacketType.AUDIO_WITH_COPIES, payload=b"\x09")
    room.receiver.media(serialize(garbage), room.clock.now_ns())
    await room.hears(2)
    assert room.receiver.statistics().malformed == 1
    await room.close()
