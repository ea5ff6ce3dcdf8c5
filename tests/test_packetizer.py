"""Which packets a source becomes: numbers, flags, capture times and copies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fakes import FakeEncoder, ManualClock, fake_info, fake_payload
from streamcodec.units import Pcm
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags
from streamcodec.wire.redundancy import separate
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.voice_activity import VoiceActivity
from streamcodec_client.live.outgoing import Outgoing
from streamcodec_client.live.packetizer import Packetizer

MS = 1_000_000
BLOCK = 160


def block(number: int, level: float = 0.0, samples: int = BLOCK) -> Block:
    """Block `number` of a source that began at 0 ns."""
    return Block(
        np.full((samples, 1), level, np.float32),
        number * BLOCK,
        (number * BLOCK + samples) * 1_000_000_000 // 16_000,
    )


def packetizer(clock: ManualClock | None = None, encoder: FakeEncoder | None = None) -> Packetizer:
    return Packetizer(encoder or FakeEncoder(), fake_info(), 16_000, clock or ManualClock())


def push(target: Packetizer, numbers: range, connection: int | None = 1) -> list[Outgoing]:
    return [out for n in numbers for out in target.push(block(n), connection)]


def test_packets_are_numbered_and_timed() -> None:
    out = push(packetizer(), range(6))
    assert [o.packet.sequence for o in out] == [0, 1, 2]
    assert [o.packet.capture_time for o in out] == [0, 320, 640]
    assert [o.captured_ns / MS for o in out] == [20, 40, 60]
    assert [o.packet.flags for o in out] == [Flags.RESET, Flags(0), Flags(0)]


def test_a_source_at_another_rate_keeps_the_streams_time() -> None:
    target = Packetizer(FakeEncoder(), fake_info(), 48_000, ManualClock())
    out = [
        o
        for n in range(20)
        for o in target.push(Block(np.zeros((480, 2), np.float32), 480 * n, 10 * MS * (n + 1)), 1)
    ]
    assert [o.packet.capture_time for o in out] == [320 * n for n in range(10)]
    # The last sample of a packet was captured 20 ms after that of the one before, less what the
    # resampler keeps.
    assert [round(o.captured_ns / MS) for o in out] == [20 * (n + 1) - 2 for n in range(10)]


def test_a_capture_gap_is_marked_and_moves_the_time() -> None:
    target = packetizer()
    out = push(target, range(4)) + push(target, range(10, 12))
    assert [(o.packet.sequence, o.packet.capture_time) for o in out] == [
        (0, 0),
        (1, 320),
        (2, 1600),
    ]
    assert out[2].packet.flags == Flags.DISCONTINUITY
    assert target.lost_samples == 6 * BLOCK


def test_a_pause_of_the_source_moves_the_time_and_loses_nothing() -> None:
    target = packetizer()
    push(target, range(4))
    block = Block(np.zeros((2 * BLOCK, 1), np.float32), 10 * BLOCK, 120 * MS, after_pause=True)
    (out,) = target.push(block, 1)
    assert (out.packet.capture_time, out.packet.flags) == (10 * BLOCK, Flags.DISCONTINUITY)
    assert target.lost_samples == 0


@pytest.mark.parametrize("spoken", [4, 5])
@pytest.mark.parametrize("dtx", [False, True])
def test_a_pause_of_the_source_is_announced(spoken: int, dtx: bool) -> None:
    """Less than a packet before it is dropped, as is the silence that ends it: they would be heard
    long after the rest. What follows the pause has the time at which it was captured.
    """
    activity = VoiceActivity(16_000, 1) if dtx else None
    clock = ManualClock(10 * spoken)
    target = Packetizer(FakeEncoder(), fake_info(), 16_000, clock, activity)
    said = [out for n in range(spoken) for out in target.push(block(n, level=0.5), 1)]
    clock.advance(300)
    announced = target.pause()
    assert announced is not None
    assert [o.packet.flags for o in announced] == [Flags.DTX | Flags.DISCONTINUITY, Flags.DTX]
    assert [o.packet.payload for o in announced] == [b"", b""]
    # As old as their sending: 40 ms of silence before now.
    assert announced[0].packet.capture_time == (10 * spoken + 300) * 16 - 640
    back = target.push(
        dataclasses.replace(block(100, level=0.5, samples=2 * BLOCK), after_pause=True), 1
    )
    packets = [o.packet for o in said + announced + back]
    assert [p.sequence for p in packets] == list(range(len(packets)))
    assert back[0].packet.capture_time == 100 * BLOCK
    assert Flags.DISCONTINUITY in back[0].packet.flags
    assert target.lost_samples == 0


def test_a_pause_while_muted_is_not_announced_and_leaves_no_gap() -> None:
    """Whoever has muted themselves has said so; numbers of packets that are not sent would look
    like losses.
    """
    clock = ManualClock(40)
    target = packetizer(clock)
    before = push(target, range(4))
    target.muted = True
    clock.advance(300)
    assert target.pause() == []
    target.muted = False
    after = push(target, range(40, 44))
    assert [o.packet.sequence for o in before + after] == [0, 1, 2, 3]
    assert after[0].packet.flags == Flags.RESET | Flags.DISCONTINUITY


def test_a_new_connection_begins_with_a_fresh_encoder() -> None:
    encoder = FakeEncoder()
    target = packetizer(encoder=encoder)
    before = push(target, range(3), connection=1)
    assert push(target, range(3, 8), connection=None) == []
    after = push(target, range(8, 12), connection=2)
    assert [o.packet.flags for o in after] == [Flags.RESET | Flags.DISCONTINUITY, Flags(0)]
    # Block 2 waited in the encoder when the connection broke: it is stale and not sent.
    assert [o.packet.capture_time for o in before + after] == [0, 8 * BLOCK, 10 * BLOCK]
    assert [o.packet.sequence for o in before + after] == [0, 1, 2]
    assert encoder.resets == 2
    assert target.unconnected_samples == 5 * BLOCK


def test_samples_that_are_not_finite_are_silenced_and_counted() -> None:
    target = packetizer()
    pcm = np.full((320, 1), 0.5, np.float32)
    pcm[10:20] = np.nan
    pcm[30] = np.inf
    (out,) = target.push(Block(pcm, 0, 20 * MS), 1)
    assert target.invalid_samples == 11
    assert out.packet.payload == fake_payload(0.5 * 309 / 320)


def test_flush_gives_the_rest_once() -> None:
    target = packetizer()
    push(target, range(3))
    assert [o.packet.capture_time for o in target.flush()] == [320]
    assert packetizer().flush() == []


def test_a_padded_packet_was_not_captured_after_it_was_encoded() -> None:
    """The last packet of a source ends with silence that no clock has reached yet."""
    target = packetizer(ManualClock(33))
    push(target, range(3))
    (out,) = target.flush()
    assert (out.captured_ns, out.encode_start_ns) == (33 * MS, 33 * MS)


def test_capture_times_wrap_after_74_hours() -> None:
    target = packetizer()
    first = SEQUENCE_MODULUS // BLOCK - 1  # the last block that ends before the counter does
    out = push(target, range(first, first + 6))
    begin = first * BLOCK
    assert begin + 3 * 320 > SEQUENCE_MODULUS
    assert [o.packet.capture_time for o in out] == [
        begin,
        begin + 320 - SEQUENCE_MODULUS,
        begin + 640 - SEQUENCE_MODULUS,
    ]


class RecordingActivity(VoiceActivity):
    """Finds speech in everything, and keeps what it was given."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def active(self, pcm: Pcm) -> bool:
        self.heard.append(round(float(pcm.mean()), 3))
        return True


def test_a_pause_too_short_for_its_announcement_is_none() -> None:
    clock = ManualClock(20)
    target = Packetizer(FakeEncoder(), fake_info(), 16_000, clock)
    push(target, range(2))
    clock.advance(39)
    assert target.pause() is None
    clock.advance(1)
    assert target.pause() is not None


@pytest.mark.parametrize("period_ms", [45, 60, 75, 80, 110])
@pytest.mark.parametrize("packet_ms", [20, 40, 60])
def test_the_stream_keeps_time_through_pauses_that_its_source_does_not_see(
    period_ms: int, packet_ms: int
) -> None:
    """A program hands over 20 ms now and then. Whether that was a pause, source and sender may see
    differently; what is sent has the time at which it was captured, but for the time that an
    announcement has taken already.
    """
    clock = ManualClock(0)
    target = Packetizer(
        FakeEncoder(packet_ms=packet_ms), fake_info(packet_ms=packet_ms), 16_000, clock
    )
    early_ms = []
    for number in range(100):
        clock.advance(20)
        now_ns = clock.now_ns()
        pcm = np.full((2 * BLOCK, 1), 0.5, np.float32)
        for out in target.push(Block(pcm, 2 * BLOCK * number, now_ns), 1):
            end_ms = out.packet.capture_time / 16 + packet_ms
            early_ms.append(end_ms - now_ns / MS)
        for _ in range(period_ms - 20):
            clock.advance(1)
            if clock.now_ns() - now_ns >= 30 * MS:
                target.pause()
    assert max(early_ms, default=0) <= 20


def test_each_packet_is_judged_by_the_samples_that_it_was_made_of() -> None:
    activity, clock = RecordingActivity(), ManualClock(30)
    target = Packetizer(FakeEncoder(), fake_info(), 16_000, clock, activity)
    for number, level in enumerate((0.1, 0.1, 0.2)):
        target.push(block(number, level), 1)
    target.push(block(3, 0.3), None)  # the connection is gone: block 2 is never sent
    for number, level in ((4, 0.4), (5, 0.4), (6, 0.5)):
        target.push(block(number, level), 2)
    assert activity.heard == [0.1, 0.4]
    clock.advance(300)
    target.pause()  # drops block 6
    for number in (40, 41):
        target.push(block(number, 0.6), 2)
    assert activity.heard == [0.1, 0.4, 0.6]


def test_what_announces_a_pause_has_no_copy() -> None:
    clock = ManualClock(40)
    info = dataclasses.replace(fake_info(), redundancy=2)
    target = Packetizer(FakeEncoder(), info, 16_000, clock)
    target.carry_copies(2)
    assert all(out.copy for out in push(target, range(4)))
    clock.advance(300)
    announced = target.pause()
    assert announced is not None
    assert [out.copy for out in announced] == [b"", b""]


def test_copies_are_made_while_a_listener_takes_them() -> None:
    encoder = FakeEncoder()
    target = Packetizer(
        encoder, dataclasses.replace(fake_info(), redundancy=2), 16_000, ManualClock()
    )
    made: list[bool] = []

    def carried(numbers: range, wanted: int) -> list[int]:
        target.carry_copies(wanted)
        out = push(target, numbers)
        made.append(any(encoder.copies))
        copies = [(o.packet.sequence, separate(o.packet, 320)[1]) for o in out]
        return [0 if copy is None else number - copy.sequence for number, copy in copies]

    assert carried(range(6), 0) == [0, 0, 0]
    assert carried(range(6, 14), 4) == [0, 0, 2, 2]  # never farther than was announced
    assert carried(range(14, 20), 1) == [1, 1, 1]
    assert carried(range(20, 26), 0) == [0, 0, 0]
    assert made == [False, True, True, False]
