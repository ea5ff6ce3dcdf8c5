"""Sound devices that vanish and come back during a call, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fakes import ManualClock
from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm
from streamcodec_client.audio.blocks import Block, Sink, Source
from streamcodec_client.audio.reopening import RETRY_S, ReopeningSink, ReopeningSource

RATE, SIZE = 16_000, 160
MS = NS // 1_000


class Devices:
    """What is plugged in, by name; the first one is the default."""

    def __init__(self, *names: str) -> None:
        self.clock, self.names = ManualClock(), list(names)
        self.opened: list[tuple[str, int | None]] = []
        self.closed: list[str] = []
        self.starts = True
        self.said: list[str] = []

    def find(self, device: str | None, sample_rate: int | None) -> str:
        name = device if device is not None else next(iter(self.names), None)
        if name not in self.names:
            raise AudioError(f"no device {device!r}")
        assert name is not None
        self.opened.append((name, sample_rate))
        return name

    def source(self, device: str | None = None) -> ReopeningSource:
        def opens(name: str | None, sample_rate: int | None) -> Source:
            return Microphone(self, self.find(name, sample_rate))

        return ReopeningSource(self.clock, opens, device, None, self.said.append)

    def sink(self, device: str | None = None) -> ReopeningSink:
        def opens(name: str | None, sample_rate: int | None) -> Sink:
            return Speaker(self, self.find(name, sample_rate))

        return ReopeningSink(self.clock, opens, device, None, self.said.append)


class Device:
    sample_rate, ended = RATE, False

    def __init__(self, devices: Devices, name: str) -> None:
        self.devices, self.name, self.index = devices, name, 0
        self.channels = 2 if name == "stereo" else 1

    def start(self) -> None:
        if not self.devices.starts:
            raise AudioError(f"{self.name} does not start")

    def check(self) -> None:
        if self.name not in self.devices.names:
            raise AudioError(f"{self.name} stopped; was it unplugged?")

    def close(self) -> None:
        self.devices.closed.append(self.name)


class Microphone(Device):
    position = 0

    def read(self, timeout_s: float) -> Block | None:
        self.check()
        self.devices.clock.sleep(0.01)
        first, self.position = self.position, self.position + SIZE
        level = 0.5 if self.name == "headset" else 0.25
        pcm = np.full((SIZE, self.channels), level, np.float32)
        return Block(pcm, first, self.devices.clock.now_ns())


class Speaker(Device):
    underruns = 1

    def wants_block(self, timeout_s: float) -> bool:
        self.check()
        self.devices.clock.sleep(0.01)
        return True

    def write(self, pcm: Pcm) -> int:
        self.check()
        assert pcm.shape == (SIZE, self.channels)
        return self.devices.clock.now_ns()


def read_until(source: ReopeningSource, found: Callable[[], bool]) -> list[Block]:
    blocks = []
    for _ in range(1_000):
        if (block := source.read(0.1)) is not None:
            blocks.append(block)
        if found():
            return blocks
    raise AssertionError("nothing came")


def test_a_microphone_that_comes_back_is_heard_again_within_a_second() -> None:
    devices = Devices("headset")
    source = devices.source("headset")
    source.start()
    before = [source.read(0.1) for _ in range(5)]
    devices.names.clear()
    lost_ns = devices.clock.now_ns()
    while devices.clock.now_ns() - lost_ns < 3 * NS:
        assert source.read(0.1) is None
    assert devices.closed == ["headset"]
    devices.names.append("headset")
    back_ns = devices.clock.now_ns()
    after = read_until(source, lambda: len(devices.opened) == 2 and source.read(0.1) is not None)
    assert devices.clock.now_ns() - back_ns < (RETRY_S + 0.1) * NS
    last, first = before[-1], after[0]
    assert last is not None
    # its place is where it belongs by the clock, and nothing counts as lost
    gap = (first.captured_ns - last.captured_ns) * RATE // NS
    assert first.position - last.position == pytest.approx(gap, abs=SIZE)
    assert first.after_pause
    assert not source.read(0.1).after_pause  # type: ignore[union-attr]
    gone, back = devices.said
    assert "unplugged" in gone
    assert "is there" in back


def test_another_microphone_takes_the_place_of_one_that_is_gone() -> None:
    devices = Devices("built-in", "headset")
    source = devices.source("headset")
    source.start()
    source.read(0.1)
    devices.names.remove("headset")
    blocks = read_until(source, lambda: len(devices.opened) == 2)
    block = blocks[-1] if blocks else source.read(0.1)
    assert block is not None
    assert block.pcm[0, 0] == 0.25
    assert devices.opened[-1] == ("built-in", RATE)  # at the rate that the call has
    assert devices.said[-1] == "a microphone again: the default device is there"


def test_what_fails_at_the_beginning_is_told_as_ever() -> None:
    with pytest.raises(AudioError, match="no device 'headset'"):
        Devices("built-in").source("headset")
    devices = Devices("headset")
    source = devices.source("headset")
    devices.starts = False
    with pytest.raises(AudioError, match="headset does not start"):
        source.start()


def test_a_device_that_is_there_and_does_not_start_is_tried_again() -> None:
    devices = Devices("headset")
    source = devices.source()
    source.start()
    devices.names.clear()
    assert source.read(0.1) is None
    devices.names.append("headset")
    devices.starts = False
    for _ in range(200):
        assert source.read(0.1) is None
    assert 3 < len(devices.opened) == len(devices.closed)
    devices.starts = True
    assert read_until(source, lambda: True) or read_until(source, lambda: len(devices.said) == 2)


def test_while_there_is_no_loudspeaker_time_goes_on() -> None:
    """Whoever decodes at the pace of the sink would stop, and play old sound later."""
    devices = Devices("headset")
    sink = devices.sink("headset")
    sink.start()
    block = np.zeros((SIZE, sink.channels), np.float32)
    assert sink.wants_block(0.1)
    sink.write(block)
    devices.names.clear()
    assert not sink.wants_block(0.1)
    begin_ns, written, heard = devices.clock.now_ns(), 0, []
    while devices.clock.now_ns() - begin_ns < 2 * NS:
        if sink.wants_block(0.05):
            heard.append(sink.write(block))
            written += 1
    assert written == pytest.approx(200, abs=3)
    assert heard == sorted(heard)
    assert 0 <= heard[-1] - devices.clock.now_ns() < 50 * MS
    devices.names.append("headset")
    back_ns = devices.clock.now_ns()
    while len(devices.opened) < 2:
        if sink.wants_block(0.05):
            sink.write(block)
    assert devices.clock.now_ns() - back_ns <= (RETRY_S + 0.05) * NS
    assert sink.wants_block(0.1)
    sink.write(block)
    assert sink.underruns == 2  # of both
    sink.close()
    assert devices.closed == ["headset", "headset"]


def test_a_loudspeaker_that_vanishes_while_it_is_written_to_costs_no_call() -> None:
    devices = Devices("mono")
    sink = devices.sink()
    sink.start()
    block = np.zeros((SIZE, 1), np.float32)
    assert sink.wants_block(0.1)
    devices.names[:] = ["stereo"]
    assert sink.write(block) >= devices.clock.now_ns()
    while len(devices.opened) < 2:
        if sink.wants_block(0.05):
            sink.write(block)
    assert sink.wants_block(0.1)
    sink.write(block)  # which has other channels now
    assert sink.channels == 1


def test_a_source_that_is_closed_while_its_device_is_gone_ends() -> None:
    devices = Devices("headset")
    source = devices.source()
    source.start()
    devices.names.clear()
    assert source.read(0.1) is None
    source.close()
    assert source.ended
