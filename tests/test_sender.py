"""The sender: its thread, its queue, its statistics, and what it does when connections break."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
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
    fake_payload,
)
from streamcodec.errors import AudioError
from streamcodec.wire.packet import Flags, parse
from streamcodec.wire.session import Capture, CopiesWanted, Mute, Report, Welcome
from streamcodec_client.audio.blocks import Block
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.listener_reports import MAX_REPORTS, ListenerReports
from streamcodec_client.live.sender import Sender
from streamcodec_client.report.reporter import Reporter

MS = 1_000_000
BLOCK = 160
SETTINGS = EncodingSettings(bitrate_bps=6_000)
WELCOME = Welcome("session", "lobby", 1, (), 1, 0)


def block(number: int, level: float = 0.0, samples: int = BLOCK) -> Block:
    """Block `number` of a source that began at 0 ns."""
    return Block(
        np.full((samples, 1), level, np.float32),
        number * BLOCK,
        (number * BLOCK + samples) * 1_000_000_000 // 16_000,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.001)


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
    await until(lambda: len(transport.datagrams) == 3)
    clock.advance(5_000)
    await asyncio.sleep(0.25)
    source.end()
    await running
    flags = [parse(d).flags for d in transport.datagrams]
    assert flags == [Flags.RESET, Flags.DTX | Flags.DISCONTINUITY, Flags.DTX]


async def test_a_source_starts_with_the_first_connection() -> None:
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


async def test_a_packet_that_the_transport_refuses_is_counted_as_dropped() -> None:
    class BrokenTransport(MemoryTransport):
        async def send(self, datagram: bytes) -> int:
            return 0

    source = ScriptedSource([block(n) for n in range(4)])
    source.end()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    await sender.run(BrokenTransport())
    sent = sender.statistics()
    assert (sent.packets, sent.payload_bytes, sent.dropped) == (0, 0, 2)


def test_of_too_many_listeners_those_who_report_stay() -> None:
    reports = ListenerReports()
    for number in range(MAX_REPORTS):
        reports.add(Report(1, {}, f"listener {number}", number), number)
    reports.add(Report(1, {"mos": 4.0}, "listener 0", 0), MAX_REPORTS)
    reports.add(Report(1, {}, "one more", MAX_REPORTS), MAX_REPORTS)
    names = {report.name for report in reports.fresh(MAX_REPORTS)}
    assert len(names) == MAX_REPORTS
    assert {"listener 0", "one more"} <= names
    assert "listener 1" not in names


def test_rates_are_never_negative(capsys: pytest.CaptureFixture[str]) -> None:
    """While a talker leaves, its bytes are missing from the sums for a moment."""
    clock = ManualClock()
    reporter = Reporter(clock, as_json=True)
    sent = Sender(FakeModel(), ScriptedSource(), SETTINGS, clock).statistics()
    for payload_bytes in (1_000, 400):
        clock.advance(1_000)
        reporter.second(True, dataclasses.replace(sent, payload_bytes=payload_bytes), None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["send"]["payload_bps"] for line in lines] == [8_000.0, 0.0]


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


async def test_listeners_are_told_when_the_last_sample_was_captured() -> None:
    """The source is cut at 25 ms, and its second packet padded to 40 ms."""
    clock = ManualClock()
    source = ScriptedSource([block(n) for n in range(5)])
    sender = Sender(FakeModel(), source, SETTINGS, clock, duration_s=0.025)
    sender.connected(WELCOME, 1)
    assert sender.capture_clock(500.0) is None
    await sender.run(MemoryTransport())
    assert sender.capture_clock(None) is None
    assert sender.capture_clock(500.0) == Capture(capture_time=640, relay_ms=540.0)


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

    async def send(self, datagram: bytes) -> int:
        self.waiting = True
        await self.free.wait()
        return await super().send(datagram)


async def test_copies_are_made_as_long_as_the_relay_asks_for_them() -> None:
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
    # the next relay has not counted its listeners yet when packets go out again
    sender.disconnected("broken")
    assert not encoder.copying
    plain = Sender(model, ScriptedSource([]), SETTINGS, ManualClock())
    plain.connected(WELCOME, 1)
    plain.message(CopiesWanted(4))
    assert not encoder.copying


async def test_who_mutes_sends_nothing_and_tells_so_and_begins_anew_when_it_speaks_again() -> None:
    source, transport = ScriptedSource(), MemoryTransport()
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    for n in range(4):
        source.put(block(n, level=0.5))
    await until(lambda: len(transport.datagrams) == 2)
    sender.mute(True)
    await until(lambda: transport.messages == [Mute(muted=True)])
    for n in range(4, 10):
        source.put(block(n, level=0.5))
    await until(lambda: sender.statistics().muted_ms == 60)
    assert len(transport.datagrams) == 2
    assert sender.level.peak_db > -7  # what is captured is still measured
    sender.mute(False)
    for n in range(10, 14):
        source.put(block(n, level=0.5))
    await until(lambda: len(transport.datagrams) == 4)
    assert transport.messages == [Mute(muted=True), Mute(muted=False)]
    again = parse(transport.datagrams[2])
    assert again.flags & Flags.RESET
    assert again.flags & Flags.DISCONTINUITY
    assert again.capture_time == 1_600  # where listeners place it: 60 ms were left out
    assert sender.statistics().unconnected_ms == 0
    source.end()
    await running


async def test_a_relay_that_comes_later_is_told_who_is_muted() -> None:
    source, transport = ScriptedSource(), MemoryTransport(connection=None)
    sender = Sender(FakeModel(), source, SETTINGS, ManualClock())
    running = asyncio.ensure_future(sender.run(transport))
    sender.mute(True)
    await asyncio.sleep(0.01)
    assert transport.messages == []
    for connection in (1, 2):
        transport.connection = connection
        sender.connected(WELCOME, connection)
        await until(lambda: transport.messages == [Mute(muted=True)] * transport.connection)  # type: ignore[operator]
        transport.connection = None
        sender.disconnected("the relay went away")
    sender.mute(False)  # while nobody can be told
    transport.connection = 3
    sender.connected(WELCOME, 3)
    await until(lambda: transport.messages[2:] == [Mute(muted=False)])
    source.end()
    await running


async def test_what_was_encoded_a_moment_before_muting_stays_unsent() -> None:
    source, transport, model = ScriptedSource(), MemoryTransport(), FakeModel()
    sender = Sender(model, source, SETTINGS, ManualClock())
    sender.connected(WELCOME, 1)
    running = asyncio.ensure_future(sender.run(transport))
    await until(lambda: source.started)
    for n in range(8):
        source.put(block(n, level=0.5))
    while sender.statistics().captured_ms < 80:  # without giving the event loop a chance
        time.sleep(0.001)
    time.sleep(0.02)  # the last of it is encoded
    sender.mute(True)
    await until(lambda: transport.messages == [Mute(muted=True)])
    assert transport.datagrams == []
    source.end()
    await running
