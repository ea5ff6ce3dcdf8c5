"""What a listener hears of the packets of a room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import voice
from fakes import FakeModel, ManualClock, SteppedSink, fake_info
from listening_room import TARGET_MS, Room, speak
from streamcodec.coding.model import CodecModel
from streamcodec.errors import AudioError, ConfigError, PayloadError
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.packet import Flags, Packet, serialize
from streamcodec.wire.session import StreamStart
from streamcodec_client.live.codec import EncodingSettings, ModelCodec
from streamcodec_client.live.inbox import INBOX_LIMIT_MS
from streamcodec_client.live.receiver import Receiver
from streamcodec_client.live.sender import stream_info
from streamcodec_client.report.trace import FileTrace


async def test_a_talker_is_heard_one_playout_delay_later(room: Room) -> None:
    room.joins(1)
    assert await speak(room, 4, lambda: room.says(1, 0.5)) == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]


async def test_a_talker_who_was_there_before_us_is_heard() -> None:
    room = Room()
    room.welcome(StreamStart(7, "early", fake_info()))
    assert (await speak(room, 4, lambda: room.says(7, 0.25)))[-1] == 0.25
    await room.close()


async def test_decoding_happens_in_a_thread_of_its_own(room: Room) -> None:
    await room.hears(1)
    assert len(room.model.threads) == 1
    assert room.model.threads.pop().startswith("decoder")


def two_talkers(room: Room) -> Callable[[], None]:
    """They join -> what makes both say a packet."""
    room.joins(1)
    room.joins(2)

    def both() -> None:
        room.says(1, 0.5)
        room.says(2, 0.25)

    return both


async def test_several_talkers_are_mixed(room: Room) -> None:
    both = two_talkers(room)
    assert (await speak(room, 4, both))[-1] == 0.75
    assert len(room.receiver.statistics().streams) == 2


async def test_packets_of_several_talkers_are_decoded_in_one_step(room: Room) -> None:
    both = two_talkers(room)
    await speak(room, 4, both)
    # One each, while one of them has begun and the other has not, or two.
    assert room.model.steps[-1] == 2


async def test_a_bad_payload_is_concealed_and_costs_others_nothing(room: Room) -> None:
    both = two_talkers(room)
    await speak(room, 4, both)
    room.says(1, payload=b"X")
    room.says(2, 0.25)
    await speak(room, 1, both)
    assert 0.5 in await room.hears(10)  # half of 0.5 for the bad one, and 0.25
    bad = {s.stream: s.bad_payloads for s in room.receiver.statistics().streams}
    assert bad == {1: 1, 2: 0}


def test_a_shared_step_with_a_bad_payload_decodes_the_others(shipped: CodecModel) -> None:
    codec = ModelCodec(shipped)
    encoder = codec.encoder(EncodingSettings(bitrate_bps=6_000))
    info = stream_info(codec, encoder.config, 6_000)
    payloads = encoder.encode(voice(0.1, codec.sample_rate)[:, None])
    alone, together, broken = (codec.decoder(info) for _ in range(3))
    for payload in payloads[:3]:
        whole, error = codec.decode([together, broken], [payload, b"\xff" * 40])
        assert isinstance(error, PayloadError)
        assert np.array_equal(np.asarray(whole), alone.decode(payload))


async def test_a_loud_mix_stays_below_full_scale(room: Room) -> None:
    for stream in range(1, 5):
        room.joins(stream)

    def all_at_once() -> None:
        for stream in range(1, 5):
            room.says(stream, 0.9)

    assert 0.95 < (await speak(room, 4, all_at_once))[-1] <= 1


async def test_a_stereo_talker_on_a_mono_sink_is_averaged(room: Room) -> None:
    room.joins(1, fake_info(channels=2))
    assert (await speak(room, 4, lambda: room.says(1, 0.5, 0.1)))[-1] == 0.3


async def test_a_mono_talker_on_a_stereo_sink_is_on_both_sides() -> None:
    room = Room(channels=2)
    room.welcome(StreamStart(1, "mono", fake_info()))
    await speak(room, 3, lambda: room.says(1, 0.5))
    assert (await room.pcm(1))[-1].tolist() == [0.5, 0.5]
    await room.close()


async def test_packets_of_60_ms_are_heard_whole(room: Room) -> None:
    room.joins(1, fake_info(packet_ms=60))
    room.says(1, 0.5)
    heard = await room.hears(4)
    room.says(1, 0.25)
    assert heard + await room.hears(12) == [0] * 4 + [0.5] * 6 + [0.25] * 6


async def test_malformed_packets_are_counted_and_ignored(room: Room) -> None:
    room.joins(1)
    for datagram in (b"", b"short", b"\x10" + bytes(20), bytes(2000)):
        room.receiver.media(datagram, room.clock.now_ns())
    assert (await speak(room, 4, lambda: room.says(1, 0.5)))[-1] == 0.5
    assert room.receiver.statistics().malformed == 4


async def test_other_packet_types_and_unknown_streams_are_ignored(room: Room) -> None:
    room.joins(1)

    def say() -> None:
        room.says(1, 0.5)
        room.says(9, 0.9)

    room.receiver.media(
        serialize(Packet(Flags(0), 1, 0, 0, b"from the future", 5)), room.clock.now_ns()
    )
    assert (await speak(room, 4, say))[-1] == 0.5
    assert room.receiver.statistics().packets == 4
    assert room.receiver.statistics().malformed == 0


async def test_reset_resets_the_decoder(room: Room) -> None:
    room.joins(1)
    await speak(room, 3, lambda: room.says(1, 0.5))
    decoder = room.model.decoders[-1]
    before = decoder.resets
    room.says(1, 0.5, flags=Flags.RESET)
    await room.hears(6)
    assert decoder.resets == before + 1


async def test_with_a_stuck_sink_the_oldest_packets_are_dropped(room: Room) -> None:
    room.joins(1)
    await room.hears(1)
    for _ in range(50):
        room.says(1, 0.5)
        room.clock.advance(20)
    assert room.receiver.statistics().overflow == 50 - INBOX_LIMIT_MS / 20 - 1
    assert (await speak(room, 5, lambda: room.says(1, 0.5)))[-1] == 0.5


async def test_the_trace_has_a_line_for_every_packet(tmp_path: Path) -> None:
    trace = FileTrace(tmp_path / "trace.jsonl")
    room = Room(trace=trace)
    room.welcome(StreamStart(1, "talker", fake_info()))
    began_ns = room.clock.now_ns()
    room.says(1, 0.5)
    await room.hears(2)
    room.loses(1)
    await room.hears(2)
    room.says(1, 0.5)
    await room.hears(5)
    room.says(1, 0.5, sequence=1)  # too late
    await room.hears(1)
    await room.close()
    trace.close()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert lines[0] == {"sink_start_ns": began_ns}
    assert [(x["sequence"], x["concealed"], x["late"]) for x in lines[1:]] == [
        (0, False, False),
        (1, True, False),
        (2, False, False),
        (1, False, True),
    ]
    first = lines[1]
    assert first["received_ns"] == began_ns
    assert first["polled_ns"] == first["played_ns"] == began_ns + TARGET_MS * 1_000_000
    assert lines[2]["received_ns"] is None
    assert lines[4]["played_ns"] is None


class FailingSink(SteppedSink):
    def wants_block(self, timeout_s: float) -> bool:
        raise AudioError("sound device 3 stopped playing")


async def test_a_sink_that_fails_is_reported_and_closed() -> None:
    clock = ManualClock()
    sink = FailingSink(clock)
    with pytest.raises(AudioError, match="device 3 stopped"):
        await Receiver(FakeModel(), sink, clock).run()
    assert sink.closed


def test_an_impossible_playout_delay_is_named() -> None:
    clock = ManualClock()
    with pytest.raises(ConfigError, match="playout delay must be 0 to 280 ms, got 300"):
        Receiver(FakeModel(), SteppedSink(clock), clock, playout=300)


async def test_an_adaptive_delay_shrinks_while_somebody_speaks() -> None:
    """On a network without jitter the first guess of 60 ms shrinks to the least, and not a packet
    is concealed or skipped.
    """
    room = Room(playout=DelayBounds())
    room.welcome(StreamStart(1, "steady", fake_info()))
    heard = await speak(room, 400, lambda: room.says(1, 0.5))
    assert set(heard[10:]) == {0.5}
    playout = room.receiver.statistics().streams[0].playout
    assert playout.delay_ms <= 30
    assert playout.concealed == playout.skipped == playout.late == 0
    await room.close()


async def test_with_an_adaptive_delay_late_packets_are_heard() -> None:
    room = Room(playout=DelayBounds())
    room.welcome(StreamStart(1, "stalls", fake_info()))
    await speak(room, 300, lambda: room.says(1, 0.5))
    await room.hears(10)  # nothing comes for 100 ms
    for _ in range(5):
        room.says(1, 0.25)
    assert 0.25 in await room.hears(10)
    playout = room.receiver.statistics().streams[0].playout
    assert playout.lost == playout.late == 0
    assert playout.concealed > 0
    await room.close()


async def test_statistics_are_those_of_one_block(room: Room) -> None:
    """What was read stays as it was, and a packet is in it once the worker has taken it."""
    room.joins(1)
    await room.hears(1)
    room.says(1, 0.5)
    before = room.receiver.statistics()
    assert before.packets == 0
    await room.hears(1)
    after = room.receiver.statistics()
    assert (before.packets, before.streams[0].playout.received) == (0, 0)
    assert (after.packets, after.streams[0].playout.received) == (1, 1)
