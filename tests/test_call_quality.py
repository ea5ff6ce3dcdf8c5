"""What a listener reports of a call."""

from __future__ import annotations

import pytest

from listening_room import TARGET_MS, Room, speak
from streamcodec.live.call_quality import JUDGED, CallQuality
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags
from streamcodec.wire.session import Capture

NO_FLAGS = Flags(0)


def quality(overlap_samples: int = 0) -> CallQuality:
    """Of a talker at 16 kHz with packets of 20 ms."""
    return CallQuality(16_000, 320, overlap_samples)


def test_the_concealed_share_is_of_the_last_packets() -> None:
    call = quality()
    assert call.rating().concealed_percent == 0
    for _ in range(10):
        call.played()
    call.missing(10 * 20)
    assert call.rating().concealed_percent == 50
    for _ in range(JUDGED):
        call.played()
    assert call.rating().concealed_percent == 0
    call.missing(JUDGED / 2 * 20)
    assert call.rating().concealed_percent == 50


def test_a_loss_counts_each_whole_packet_once() -> None:
    call = quality()
    for _ in range(7):
        call.played()
    for lost_ms in (20, 20, 39, 45, 60):
        call.missing(lost_ms)
    assert call.rating().concealed_percent == 30  # 3 of 10
    call.played()
    call.missing(20)
    assert call.rating().concealed_percent == pytest.approx(100 * 4 / 12)


@pytest.mark.parametrize("first", [0, SEQUENCE_MODULUS - 500])
def test_the_delay_runs_from_the_capture_of_a_sample_to_the_sink(first: int) -> None:
    """Capture times wrap at 2^32 samples: 74.6 hours."""
    call = quality(overlap_samples=80)
    later = (first + 1_600) % SEQUENCE_MODULUS
    call.capture_clock(Capture(first, relay_ms=1_000.0))
    call.begins(160, later)
    call.heard(5_000.0, None)
    assert call.rating().mouth_to_ear_ms is None
    call.begins(160, later)
    call.heard(5_000.0, relay_offset_ms=-3_800.0)
    # Captured at 1,000 + 100 ms; heard at 5,000 - 3,800 ms of the relay's clock, and 10 ms into the
    # block, and 5 ms for the overlap.
    assert call.rating().mouth_to_ear_ms == pytest.approx(115)
    call.heard(9_000.0, relay_offset_ms=-3_800.0)  # a block in which no packet begins
    assert call.rating().mouth_to_ear_ms == pytest.approx(115)


@pytest.mark.parametrize("relay_ms", [-1e18, 1e18, -60_101.0, 60_101.0])
def test_a_clock_that_cannot_be_right_gives_no_delay(relay_ms: float) -> None:
    """Who listens reports the delay, and a relay takes no report of what is out of range."""
    call = quality(overlap_samples=0)
    call.capture_clock(Capture(0, 0.0))
    for said_ms, known in ((0.0, True), (relay_ms, False), (0.0, True)):
        call.capture_clock(Capture(0, said_ms))
        call.begins(0, 0)
        call.heard(100.0, 0.0)
        assert (call.rating().mouth_to_ear_ms is not None) is known
        assert (call.rating().mos is not None) is known


def test_a_dead_line_has_no_delay_and_no_score() -> None:
    call = quality()
    call.capture_clock(Capture(0, 0.0))
    call.begins(0, 0)
    call.heard(100.0, 0.0)
    assert call.rating().mos == pytest.approx(4.35, abs=0.05)
    call.missing(3_000)
    assert call.rating().mouth_to_ear_ms == pytest.approx(100)
    call.missing(3_020)
    assert (call.rating().mouth_to_ear_ms, call.rating().mos) == (None, None)


def test_jitter_and_drift_outlive_a_wrap_of_the_capture_time_and_not_a_reset() -> None:
    call = quality()
    for packet in range(6_000):
        capture_time = (SEQUENCE_MODULUS - 320 * 3_000 + 320 * packet) % SEQUENCE_MODULUS
        call.arrived(capture_time, NO_FLAGS, 20.0 * packet)
    assert call.rating().jitter_ms == pytest.approx(0, abs=1e-6)
    assert call.rating().drift_ppm == pytest.approx(0, abs=1e-3)
    call.arrived(12_345, Flags.RESET, 20.0 * 6_000)
    assert call.rating().jitter_ms == pytest.approx(0, abs=1e-6)
    assert call.rating().drift_ppm is None


async def test_the_delay_from_mouth_to_ear_is_known_by_the_relays_clock(
    room: Room,
) -> None:
    room.receiver.relay_offset_ms = lambda: 50_000.0
    room.joins(1)
    began_ms = room.clock.now_ns() / 1e6
    await speak(room, 4, lambda: room.says(1, 0.5))
    # nobody has said when it was captured
    assert room.receiver.statistics().streams[0].mouth_to_ear_ms is None
    # The first sample was captured 30 ms before its packet arrived.
    room.receiver.message(Capture(0, began_ms - 30 + 50_000, stream=1))
    await speak(room, 4, lambda: room.says(1, 0.5))
    stream = room.receiver.statistics().streams[0]
    assert stream.mouth_to_ear_ms is not None
    assert stream.mouth_to_ear_ms == pytest.approx(30 + TARGET_MS, abs=11)  # a block of the sink
    assert stream.mos == pytest.approx(4.4, abs=0.1)
    assert stream.concealed_percent == 0


async def test_a_dead_line_is_reported_as_one(room: Room) -> None:
    room.receiver.relay_offset_ms = lambda: 0.0
    room.joins(1)
    room.receiver.message(Capture(0, room.clock.now_ns() / 1e6, stream=1))
    await speak(room, 50, lambda: room.says(1, 0.5))
    alive = room.receiver.statistics().streams[0]
    assert alive.mos is not None
    assert alive.concealed_percent < 5
    await room.hears(100)  # a second
    assert room.receiver.statistics().streams[0].concealed_percent > 40
    await room.hears(1_000)
    dead = room.receiver.statistics().streams[0]
    assert dead.concealed_percent > 99
    assert (dead.mouth_to_ear_ms, dead.mos) == (None, None)
