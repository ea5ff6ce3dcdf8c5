"""Another microphone or loudspeaker in the middle of a call, by a clock that the tests move."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from fakes import ManualClock
from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm
from streamcodec_client.audio.at_rate import SinkAtRate, SourceAtRate
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.reopening import RENEW_S, ReopeningSource
from test_reopening import MS, RATE, SIZE, Device, Devices, Microphone, read_until


def captured(source: ReopeningSource) -> Block:
    block = source.read(0.1)
    assert block is not None
    return block


def opened(devices: Devices) -> list[str]:
    return [name for name, _ in devices.opened]


def test_a_microphone_is_changed_while_sound_runs() -> None:
    devices = Devices("built-in", "headset")
    source = devices.source()
    source.start()
    before = [captured(source) for _ in range(5)][-1]
    source.switch("headset")
    assert not devices.closed  # the reading thread does it
    devices.clock.advance(300)  # as long as opening takes
    after = captured(source)
    assert opened(devices) == ["built-in", "headset"]
    assert devices.closed == ["built-in"]
    assert (before.pcm[0, 0], after.pcm[0, 0]) == (0.25, 0.5)
    # what was said meanwhile is a pause and not a loss, and time goes on
    gap = (after.captured_ns - before.captured_ns) * RATE // NS
    assert after.position - before.position == pytest.approx(gap, abs=SIZE)
    assert after.after_pause
    following = captured(source)
    assert not following.after_pause
    assert following.position == after.position + SIZE
    assert devices.said == ["the microphone is now headset"]


def test_a_loudspeaker_is_changed_while_sound_runs() -> None:
    devices = Devices("mono", "stereo")
    sink = devices.sink()
    sink.start()
    block = np.zeros((SIZE, 1), np.float32)
    assert sink.wants_block(0.1)
    sink.write(block)
    sink.switch("stereo")
    sink.write(block)  # what was on its way still goes to the old one
    assert opened(devices) == ["mono"]
    assert sink.wants_block(0.1)
    sink.write(block)
    assert opened(devices) == ["mono", "stereo"]
    assert devices.closed == ["mono"]
    assert sink.underruns == 2  # of both
    assert devices.said == ["the loudspeaker is now stereo"]


def test_a_device_that_cannot_be_opened_leaves_the_old_one() -> None:
    devices = Devices("built-in", "headset")
    source, sink = devices.source("headset"), devices.sink("headset")
    source.start()
    captured(source)
    sink.start()
    source.switch("lamp")
    assert captured(source).pcm[0, 0] == 0.5
    assert opened(devices)[-1] == "headset"
    assert devices.said.pop() == (
        "lamp cannot be used, the microphone is headset: no device 'lamp'"
    )
    sink.switch("lamp")
    assert sink.wants_block(0.1)
    assert devices.said.pop() == (
        "lamp cannot be used, the loudspeaker is headset: no device 'lamp'"
    )
    # and is not looked for later, either
    devices.names[:] = ["built-in", "lamp"]
    blocks = read_until(source, lambda: opened(devices)[-1] == "built-in")
    assert not blocks or blocks[-1].pcm[0, 0] == 0.25
    assert "lamp" not in opened(devices)


def test_the_default_goes_on_where_the_old_one_is_gone_too() -> None:
    devices = Devices("built-in", "headset")
    source = devices.source("headset")
    source.start()
    captured(source)
    devices.names.remove("headset")
    source.switch("lamp")
    assert captured(source).pcm[0, 0] == 0.25
    assert devices.said == ["lamp cannot be used, the microphone is built-in: no device 'lamp'"]


def test_with_no_device_left_the_call_goes_on_and_finds_one_later() -> None:
    devices = Devices("built-in")
    source, sink = devices.source(), devices.sink()
    source.start()
    sink.start()
    devices.names.clear()
    source.switch("headset")
    sink.switch("headset")
    assert source.read(0.1) is None
    assert source.index is None
    assert sink.wants_block(0.1)
    assert sink.write(np.zeros((SIZE, 1), np.float32)) >= devices.clock.now_ns()
    assert sink.index is None
    assert all(text.startswith("headset cannot be used") for text in devices.said)
    assert all("without a" in text for text in devices.said)
    assert len(devices.said) == 2
    devices.names.append("built-in")
    assert read_until(source, lambda: source.index is not None)[-1:] or captured(source)
    while sink.index is None:
        if sink.wants_block(0.05):
            sink.write(np.zeros((SIZE, 1), np.float32))
    assert "a microphone again: built-in is there" in devices.said
    assert "a loudspeaker again: built-in is there" in devices.said


def test_a_device_that_vanishes_right_after_the_switch_gives_way_to_the_one_before() -> None:
    devices = Devices("default", "headset", "dock")
    source = devices.source("headset")
    source.start()
    captured(source)
    source.switch("dock")
    captured(source)
    devices.names.remove("dock")
    blocks = read_until(source, lambda: opened(devices)[-1] == "headset")
    assert (blocks or [captured(source)])[-1].pcm[0, 0] == 0.5
    assert devices.said[-1] == "a microphone again: headset is there"


def test_a_chosen_device_that_comes_back_is_taken_again() -> None:
    devices = Devices("built-in", "headset")
    source, sink = devices.source(), devices.sink()
    source.start()
    sink.start()
    source.switch("headset")
    captured(source)
    sink.switch("headset")
    assert sink.wants_block(0.1)
    devices.names.clear()
    assert source.read(0.1) is None
    assert not sink.wants_block(0.1)
    devices.names[:] = ["built-in", "headset"]
    read_until(source, lambda: source.index is not None)
    while sink.index is None:
        if sink.wants_block(0.05):
            sink.write(np.zeros((SIZE, 1), np.float32))
    assert devices.said[-2:] == [
        "a microphone again: headset is there",
        "a loudspeaker again: headset is there",
    ]


class Mute(Device):
    """It can be opened, and neither gives nor takes sound."""

    underruns = 0

    def read(self, timeout_s: float) -> Block | None:
        raise AudioError(f"{self.name} stopped delivering sound; was it unplugged?")

    def wants_block(self, timeout_s: float) -> bool:
        raise AudioError(f"{self.name} stopped playing; was it unplugged?")

    def write(self, pcm: Pcm) -> int:
        raise AssertionError("it wants nothing")


def test_a_device_that_never_gives_sound_is_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = Devices("built-in", "headset", "hdmi")
    source, sink = devices.source("headset"), devices.sink("headset")
    source.start()
    captured(source)
    sink.start()
    assert sink.wants_block(0.1)
    for kind in ("Microphone", "Speaker"):
        original = getattr(__import__("test_reopening"), kind)
        monkeypatch.setattr(
            f"test_reopening.{kind}",
            lambda d, name, usual=original: (Mute if name == "hdmi" else usual)(d, name),
        )
    source.switch("hdmi")
    read_until(source, lambda: opened(devices)[-1] == "headset")
    sink.switch("hdmi")
    while opened(devices)[-1] != "headset" or opened(devices).count("headset") < 4:
        sink.wants_block(0.05)
    assert opened(devices).count("hdmi") == 2  # once each


def test_of_several_choices_in_a_row_the_last_one_counts() -> None:
    devices = Devices("built-in", "headset", "dock")
    source = devices.source()
    source.start()
    source.switch("dock")
    source.switch("headset")
    captured(source)
    assert opened(devices) == ["built-in", "headset"]


def test_a_choice_before_the_call_has_begun_counts_from_its_beginning() -> None:
    devices = Devices("built-in", "headset")
    source = devices.source()
    source.switch("headset")
    source.start()
    assert captured(source).pcm[0, 0] == 0.5
    assert source.index == 0


def test_while_a_device_is_missed_the_system_is_asked_for_it_anew_now_and_then() -> None:
    devices, asked_ns = Devices("built-in"), list[int]()

    def renew() -> None:
        asked_ns.append(devices.clock.now_ns())
        if len(asked_ns) < 3:
            raise AudioError("there is no sound server")
        devices.names[:] = ["built-in"]

    def opens(name: str | None, sample_rate: int | None) -> Microphone:
        return Microphone(devices, devices.find(name, sample_rate))

    source = ReopeningSource(devices.clock, opens, None, None, devices.said.append, renew)
    source.start()
    captured(source)
    assert not asked_ns
    devices.names.clear()
    read_until(source, lambda: source.index is not None)
    assert len(asked_ns) == 3
    assert all(b - a >= RENEW_S * NS for a, b in itertools.pairwise(asked_ns))


def test_choices_come_from_another_thread() -> None:
    devices = Devices("built-in", "headset")
    source = devices.source()
    source.start()
    done = threading.Event()

    def choose() -> None:
        for n in range(2_000):
            source.switch("headset" if n % 2 else "built-in")
        done.set()

    chooser = threading.Thread(target=choose)
    chooser.start()
    while not done.is_set():
        captured(source)
    chooser.join()
    assert captured(source).pcm[0, 0] == 0.5
    assert len(devices.opened) == len(devices.closed) + 1
    assert len(devices.opened) == 1 + len(devices.said)


class OneRate(Devices):
    """Its devices have only 48 kHz, but for the default."""

    def find(self, device: str | None, sample_rate: int | None) -> str:
        if device not in (None, self.names[0]) and sample_rate is not None:
            raise AudioError(f"{device} cannot do {sample_rate} Hz")
        return super().find(device, sample_rate)


def test_a_device_without_the_rate_of_the_call_is_resampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Device, "sample_rate", property(lambda d: 48_000 if d.name == "headset" else RATE)
    )
    devices = OneRate("built-in", "headset")
    source = devices.source()
    source.start()
    captured(source)
    source.switch("headset")
    blocks = [captured(source) for _ in range(50)]
    assert devices.said == ["the microphone is now headset"]
    # a block of this fake has 160 samples, whatever its rate
    assert sum(len(block.pcm) for block in blocks) == pytest.approx(50 * SIZE / 3, abs=2)
    for one, two in itertools.pairwise(blocks):
        assert two.position == one.position + len(one.pcm)
    assert blocks[-1].pcm[-1, 0] == pytest.approx(0.5, abs=0.001)


def test_positions_of_a_resampled_microphone_tell_of_losses() -> None:
    class Lossy(Device):
        sample_rate, position = 48_000, 0

        def read(self, timeout_s: float) -> Block | None:
            if timeout_s == 0:
                return None
            pcm = np.zeros((480, 1), np.float32)
            first, self.position = self.position, self.position + 480
            return Block(pcm, first, 7 * MS)

    lossy = Lossy(Devices("headset"), "headset")
    source = SourceAtRate(lossy, RATE)
    source.start()
    assert source.read(0) is None
    one = source.read(0.1)
    lossy.position += 4_800
    two = source.read(0.1)
    assert one is not None
    assert two is not None
    assert (one.position, len(one.pcm), two.position) == (0, SIZE, SIZE + 1_600)
    assert one.captured_ns == 5 * MS  # the filter is 2 ms late
    assert not source.ended
    source.close()


def test_a_resampled_loudspeaker_gets_what_its_rate_takes() -> None:
    clock, given = ManualClock(), list[int]()

    class Fast(Device):
        sample_rate, underruns = 48_000, 3

        def wants_block(self, timeout_s: float) -> bool:
            return True

        def write(self, pcm: Pcm) -> int:
            given.append(len(pcm))
            return clock.now_ns()

    sink = SinkAtRate(Fast(Devices("dock"), "dock"), RATE)
    sink.start()
    assert sink.wants_block(0.1)
    assert sink.write(np.zeros((SIZE, 1), np.float32)) == clock.now_ns() + 2 * MS
    assert given == [480]
    assert sink.underruns == 3
    sink.close()
