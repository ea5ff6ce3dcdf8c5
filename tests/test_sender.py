"""What a talker sends, in which order, and what it leaves out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from fakes import (
    WAIT_S,
    FakeEncoder,
    FakeModel,
    ManualClock,
    MemoryTransport,
    ScriptedSource,
    fake_info,
    fake_payload,
)
from streamcodec.errors import AudioError
from streamcodec.wire.packet import Flags, Packet, parse
from streamcodec.wire.redundancy import separate
from streamcodec.wire.session import CopiesWanted, Report, Welcome
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.voice_activity import VoiceActivity
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.listener_reports import MAX_REPORTS
from streamcodec_client.live.outgoing import Outgoing
from streamcodec_client.live.packetizer import Packetizer
from streamcodec_client.live.send_queue import SendQueue
from streamcodec_client.live.sender import Sender
from streamcodec_client.report.reporter import Reporter

MS = 1_000_000
BLOCK = 160
NO_FLAGS = Flags(0)
SETTINGS = EncodingSettings(bitrate_bps=6_000)
WELCOME = Welcome("session", "lobby", 1, (), 1, 0)


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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.001)


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
def test_a_source_that_has_nothing_to_say_says_so(spoken: int, dtx: bool) -> None:
    """What it had said is sent to the end, and what it says next has the time that it was
    said at.
    """
    activity = VoiceActivity(16_000) if dtx else None
    clock = ManualClock(10 * spoken)
    target = Packetizer(FakeEncoder(), fake_info(), 16_000, clock, activity)
    said = [out for n in range(spoken) for out in target.push(block(n, level=0.5), 1)]
    clock.advance(300)
    announced = target.pause()
    assert [o.packet.flags for o in announced] == [Flags.DISCONTINUITY, Flags.DTX, Flags.DTX]
    assert [o.packet.payload for o in announced] == [
        fake_payload(0.25 if spoken % 2 else 0.0),
        b"",
        b"",
    ]
    # As old as their sending: 60 ms of silence before now, or 10 ms more with what waited.
    lateness = (10 * spoken + 300) * 16 - announced[0].packet.capture_time
    assert lateness == 960 + (BLOCK if spoken % 2 else 0)
    back = target.push(
        dataclasses.replace(block(100, level=0.5, samples=2 * BLOCK), after_pause=True), 1
    )
    packets = [o.packet for o in said + announced + back]
    assert [p.sequence for p in packets] == list(range(len(packets)))
    # Half a packet of silence may still be waiting in the encoder.
    assert back[0].packet.capture_time == 100 * BLOCK - (BLOCK if spoken % 2 else 0)
    assert Flags.DISCONTINUITY in back[0].packet.flags
    assert target.lost_samples == 0


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


def test_samples_that_are_no_numbers_are_silenced_and_counted() -> None:
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


def outgoing(
    sequence: int, encoded_ms: float, connection: int = 1, flags: Flags = NO_FLAGS
) -> Outgoing:
    packet = Packet(flags=flags, stream=0, sequence=sequence, capture_time=0, payload=b"x")
    return Outgoing(packet, connection, 0, 0, round(encoded_ms * MS))


def taken(queue: SendQueue, now_ms: float, connection: int | None = 1) -> list[tuple[int, Flags]]:
    packets = []
    while (out := queue.take(round(now_ms * MS), connection)) is not None:
        packets.append((out.packet.sequence, out.packet.flags))
    return packets


def test_the_send_queue_drops_what_is_too_old() -> None:
    queue = SendQueue(limit_ms=100)
    for n in range(10):
        queue.offer(outgoing(n, 20 * n), 20 * n * MS)
    assert len(queue) == 6
    assert [n for n, _ in taken(queue, 200)] == [5, 6, 7, 8, 9]
    assert queue.dropped == 5


def test_a_dropped_reset_is_said_by_the_next_packet() -> None:
    queue = SendQueue(limit_ms=100)
    assert taken(queue, 0) == []
    queue.offer(outgoing(0, 0, flags=Flags.RESET | Flags.VOICE), 0)
    queue.offer(outgoing(1, 150), 150 * MS)
    queue.offer(outgoing(2, 170), 170 * MS)
    assert taken(queue, 170) == [(1, Flags.RESET), (2, Flags(0))]


def test_nothing_of_an_earlier_connection_is_sent() -> None:
    queue = SendQueue()
    queue.offer(outgoing(0, 0, connection=1), 0)
    queue.offer(outgoing(1, 0, connection=2, flags=Flags.RESET), 0)
    assert taken(queue, 1, connection=2) == [(1, Flags.RESET)]
    assert queue.dropped == 1


async def test_a_source_is_sent_whole_and_then_the_sender_returns() -> None:
    model, source, transport = (
        FakeModel(),
        ScriptedSource([block(n, level=0.5) for n in range(5)]),
        MemoryTransport(),
    )
    source.end()
    sender = Sender(model, source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    await sender.run(transport)
    packets = [parse(d) for d in transport.datagrams]
    assert [p.payload for p in packets] == [
        fake_payload(0.5),
        fake_payload(0.5),
        fake_payload(0.25),
    ]
    assert source.closed
    assert sender.statistics().packets == 3
    assert sender.statistics().payload_bytes == 9
    assert sender.statistics().captured_ms == 50


async def test_encoding_happens_in_a_thread_of_its_own() -> None:
    model, source = FakeModel(), ScriptedSource([block(0)])
    source.end()
    sender = Sender(model, source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    await sender.run(MemoryTransport())
    assert len(model.threads) == 1
    assert model.threads.pop().startswith("encoder")


async def test_a_pipe_that_pauses_is_announced_once() -> None:
    clock, source, transport = ManualClock(), ScriptedSource(), MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, clock)
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    source.put(block(0, samples=2 * BLOCK))
    await until(lambda: len(transport.datagrams) == 1)
    clock.advance(150)
    await asyncio.sleep(0.25)
    assert len(transport.datagrams) == 1
    clock.advance(5_000)
    await until(lambda: len(transport.datagrams) == 4)
    clock.advance(5_000)
    await asyncio.sleep(0.25)
    source.end()
    await running
    flags = [parse(d).flags for d in transport.datagrams]
    assert flags[:4] == [Flags.RESET, Flags.DISCONTINUITY, Flags.DTX, Flags.DTX]
    assert len(flags) <= 5


async def test_a_file_does_not_begin_before_somebody_can_hear_it() -> None:
    source = ScriptedSource([block(0), block(1)])
    source.end()
    transport = MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    running = asyncio.ensure_future(sender.run(transport))
    await asyncio.sleep(0.05)
    assert not source.started
    sender.connected(WELCOME, 1)
    await running
    assert len(transport.datagrams) == 1


def test_what_listeners_report_is_shown_while_it_is_fresh(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = ManualClock()
    sender = Sender(FakeModel(), ScriptedSource(), SETTINGS, clock)
    reporter = Reporter(clock, as_json=False)
    sender.message(
        Report(1, {"concealed_percent": 0.0, "mouth_to_ear_ms": 80.0, "mos": 4.4}, "Bob")
    )
    sender.message(Report(1, {"concealed_percent": 100.0}, "Eve"))  # a dead line has no delay
    sender.message(
        Report(1, {"concealed_percent": 7.5, "mouth_to_ear_ms": 210.0, "mos": 3.1}, "Ann")
    )
    assert [report.name for report in sender.statistics().listeners] == ["Eve", "Ann", "Bob"]
    clock.advance(2_000)
    sender.message(
        Report(1, {"concealed_percent": 5.0, "mouth_to_ear_ms": 205.0, "mos": 3.4}, "Ann")
    )
    clock.advance(2_000)
    reporter.second(True, sender.statistics(), None, rtt_ms=38.0)
    said = capsys.readouterr().err
    assert "heard by 1 (worst Ann: concealed 5.0 %, mouth to ear 205 ms, MOS 3.4)" in said
    assert "round trip 38 ms" in said
    for number in range(1_000):
        sender.message(Report(1, {}, "one of many", number))
    assert len(sender.statistics().listeners) == MAX_REPORTS


async def test_a_duration_is_kept_to_the_sample() -> None:
    source = ScriptedSource([block(n, level=0.5) for n in range(100)])
    transport = MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock(), duration_s=0.025)
    sender.connected(WELCOME, 1)
    await sender.run(transport)
    assert [parse(d).payload for d in transport.datagrams] == [
        fake_payload(0.5),
        fake_payload(0.5 * 80 / 320),
    ]


async def test_stop_sends_what_was_captured() -> None:
    source, transport = ScriptedSource([block(0, level=0.5)]), MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    await until(lambda: sender.statistics().captured_ms == 10)
    sender.stop()
    await running
    assert [parse(d).payload for d in transport.datagrams] == [fake_payload(0.25)]


async def test_after_a_reconnect_only_what_is_new_is_sent() -> None:
    source, transport = ScriptedSource(), MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    for n in range(4):
        source.put(block(n))
    await until(lambda: len(transport.datagrams) == 2)
    sender.disconnected("gone")
    transport.connection = None
    for n in range(4, 9):
        source.put(block(n))
    await until(lambda: sender.statistics().unconnected_ms == 50)
    transport.connection = 2
    sender.connected(WELCOME, 2)
    for n in range(9, 13):
        source.put(block(n))
    source.end()
    await running
    packets = [parse(d) for d in transport.datagrams]
    assert [(p.sequence, p.capture_time) for p in packets] == [
        (0, 0),
        (1, 320),
        (2, 9 * BLOCK),
        (3, 11 * BLOCK),
    ]
    assert packets[2].flags == Flags.RESET | Flags.DISCONTINUITY


class FailingSource(ScriptedSource):
    def read(self, timeout_s: float) -> Block | None:
        raise AudioError("sound device 3 stopped delivering")


async def test_a_source_that_fails_is_reported_and_closed() -> None:
    source = FailingSource()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    with pytest.raises(AudioError, match="device 3 stopped"):
        await sender.run(MemoryTransport())
    assert source.closed


async def test_a_stalled_socket_costs_the_oldest_packets() -> None:
    """The socket takes nothing for 300 ms: what is sent afterwards is at most 200 ms old."""
    clock, source = ManualClock(), ScriptedSource()
    transport = StallingTransport()
    sender = Sender(FakeModel(), source, SETTINGS, clock)
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    source.put(block(0, samples=2 * BLOCK))
    await until(lambda: transport.waiting)
    encoded = 1
    for n in range(2, 32, 2):
        source.put(block(n, samples=2 * BLOCK))
        encoded += 1
        await until(lambda: sender.statistics().captured_ms == 20 * encoded)  # noqa: B023
        await asyncio.sleep(0)
        clock.advance(20)
    source.end()
    transport.free.set()
    await running
    sequences = [parse(d).sequence for d in transport.datagrams]
    assert sequences[0] == 0
    assert sequences[1:] == list(range(sequences[1], 16))
    assert 3 <= sequences[1] <= 8
    assert sender.statistics().dropped == sequences[1] - 1


class StallingTransport(MemoryTransport):
    """Takes its first datagram only when `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.waiting = asyncio.Event(), False

    async def send(self, datagram: bytes) -> bool:
        self.waiting = True
        await self.free.wait()
        return await super().send(datagram)


def test_copies_are_made_while_somebody_takes_them() -> None:
    encoder = FakeEncoder()
    target = Packetizer(
        encoder, dataclasses.replace(fake_info(), redundancy=2), 16_000, ManualClock()
    )
    made: list[bool] = []

    def carried(numbers: range, wanted: int) -> list[int]:
        target.want_copies(wanted)
        out = push(target, numbers)
        made.append(any(encoder.copies))
        return [len(separate(o.packet, 320)[1]) for o in out]

    assert carried(range(6), 0) == [0, 0, 0]
    assert carried(range(6, 14), 4) == [0, 1, 2, 2]  # never more than were announced
    assert carried(range(14, 20), 1) == [1, 1, 1]
    assert carried(range(20, 26), 0) == [0, 0, 0]
    assert made == [False, True, True, False]


async def test_a_talker_heeds_what_is_wanted_of_it() -> None:
    encoder = FakeEncoder()
    model = FakeModel()
    model.encoder = lambda settings: encoder  # type: ignore[method-assign,assignment]
    settings = dataclasses.replace(SETTINGS, redundancy=2)
    sender = Sender(model, ScriptedSource([]), settings, ManualClock())
    assert sender.info.redundancy == 2
    sender.connected(WELCOME, 1)
    assert not encoder.copying
    sender.message(CopiesWanted(1))
    assert encoder.copying
    # whoever listens next has not been counted yet, and is sent to before we are welcomed
    sender.disconnected("broken")
    assert not encoder.copying
    plain = Sender(model, ScriptedSource([]), SETTINGS, ManualClock())
    plain.connected(WELCOME, 1)
    plain.message(CopiesWanted(4))
    assert not encoder.copying
