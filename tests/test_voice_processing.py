"""Gain control and noise suppression of a microphone: levels, delay, and what switches them on."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from fakes import FakeModel, ManualClock, ScriptedSource, SteppedSink, fake_info
from streamcodec.config import CodecConfig
from streamcodec.errors import ConfigError
from streamcodec.units import Pcm
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.voice_processing import (
    SUPPRESSION_DB,
    SUPPRESSION_DELAY,
    VoiceProcessor,
    VoiceSettings,
    missing,
)
from streamcodec_client.cli import main
from streamcodec_client.commands import live, live_options
from streamcodec_client.live.packetizer import Packetizer

RATE = 16_000
FRAME = 160
NS = 1_000_000_000
GAIN = VoiceSettings(gain_control=True)
BOTH = VoiceSettings(gain_control=True, suppression_db=12)


@pytest.fixture(scope="module")
def spoken(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ten seconds of speech, mono."""
    return speech[: 10 * RATE]


def level(pcm: NDArray[np.float32]) -> float:
    """dB of full scale, of the 20 ms that are within 20 dB of the loudest."""
    frames = pcm.reshape(-1)[: pcm.size // 320 * 320].reshape(-1, 320)
    power = (frames.astype(np.float64) ** 2).mean(1)
    return float(10 * np.log10(power[power > power.max() / 100].mean()))


def at(pcm: NDArray[np.float32], wanted_db: float) -> Pcm:
    """[T, 1], at this level, within full scale."""
    scaled = pcm * 10 ** ((wanted_db - level(pcm)) / 20)
    return scaled.clip(-1, 1).astype(np.float32)[:, None]


def in_blocks(pcm: Pcm, size: int, process: Callable[[Pcm], Pcm]) -> Pcm:
    return np.concatenate([process(pcm[i : i + size]) for i in range(0, len(pcm), size)])


@pytest.mark.parametrize("given_db", [-40, -26, -10])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_faint_and_a_loud_voice_reach_the_same_level(
    spoken: NDArray[np.float32], given_db: float, channels: int
) -> None:
    voice = VoiceProcessor(RATE, channels, GAIN)
    pcm = np.repeat(at(spoken, given_db), channels, 1)
    out = in_blocks(pcm, FRAME, voice.process)
    assert out.shape == pcm.shape
    assert level(out[5 * RATE :, 0]) == pytest.approx(-22, abs=4)
    assert np.abs(out).max() <= 1


def test_a_voice_at_the_right_level_begins_unchanged(spoken: NDArray[np.float32]) -> None:
    """The controller's own start would be at +15 dB."""
    pcm = at(spoken, -23)
    out = VoiceProcessor(RATE, 1, GAIN).process(pcm)
    assert level(out[:RATE]) == pytest.approx(level(pcm[:RATE]), abs=1.5)


@pytest.mark.parametrize("noise_db", [-70.0, -60.0, -50.0])
def test_what_is_no_voice_is_never_made_louder(noise_db: float) -> None:
    noise = np.random.default_rng(0).standard_normal((15 * RATE, 1)).astype(np.float32)
    noise *= np.float32(10 ** (noise_db / 20))
    out = in_blocks(noise, FRAME, VoiceProcessor(RATE, 1, GAIN).process)
    assert level(out[10 * RATE :]) <= noise_db + 1
    assert not VoiceProcessor(RATE, 1, BOTH).process(np.zeros((RATE, 1), np.float32)).any()


@pytest.mark.parametrize(("weaker", "stronger"), [(6, 12), (12, 21)])
def test_noise_is_turned_down_by_about_as_much_as_was_asked(weaker: int, stronger: int) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal((5 * RATE, 1)).astype(np.float32)
    down = {}
    for decibels in (weaker, stronger):
        out = VoiceProcessor(RATE, 1, VoiceSettings(suppression_db=decibels)).process(noise)
        down[decibels] = level(noise[3 * RATE :]) - level(out[3 * RATE :])
        assert down[decibels] == pytest.approx(decibels, abs=3)
    assert down[stronger] > down[weaker] + 3


@pytest.mark.parametrize("size", [1, 7, 159, 161, 441, 1_000])
def test_blocks_of_any_size_give_what_whole_frames_give(
    spoken: NDArray[np.float32], size: int
) -> None:
    pcm = at(spoken[:RATE], -30)
    whole, odd = VoiceProcessor(RATE, 1, BOTH), VoiceProcessor(RATE, 1, BOTH)
    out = in_blocks(pcm, size, odd.process)
    assert len(out) + odd.waiting == len(pcm)
    assert np.array_equal(out, whole.process(pcm)[: len(out)])


def lag(given: NDArray[np.float32], out: NDArray[np.float32]) -> int:
    """Samples by which `out` is later."""
    size = 2 * len(given)
    spectrum = np.fft.rfft(out, size) * np.conj(np.fft.rfft(given, size))
    return int(np.argmax(np.fft.irfft(spectrum)[: len(given)]))


@pytest.mark.parametrize("rate", SUPPRESSION_DELAY)
@pytest.mark.parametrize("settings", [GAIN, VoiceSettings(suppression_db=6), BOTH])
def test_it_delays_by_as_much_as_it_says(
    spoken: NDArray[np.float32], rate: int, settings: VoiceSettings
) -> None:
    hiss = np.random.default_rng(0).standard_normal(5 * rate)
    pcm = soxr.resample(at(spoken[: 5 * RATE], -26)[:, 0], RATE, rate)
    pcm = (pcm + 0.002 * hiss).astype(np.float32)
    voice = VoiceProcessor(rate, 1, settings)
    out = voice.process(pcm[:, None])
    assert lag(pcm[: len(out)], out[:, 0]) == pytest.approx(voice.delay_s * rate, abs=1)


class KeepingEncoder:
    """Keeps what it is given; a packet for every 20 ms."""

    copying = False

    def __init__(self) -> None:
        self.config = CodecConfig(RATE, 320, 80, 320, 1)
        self.heard: list[Pcm] = []
        self.copies: list[bytes] = []
        self._waiting = 0

    def encode(self, pcm: Pcm) -> list[bytes]:
        self.heard.append(pcm)
        packets, self._waiting = divmod(self._waiting + len(pcm), 320)
        self.copies = [b""] * packets
        return [b"F"] * packets

    def flush(self) -> list[bytes]:
        return self.encode(np.zeros((-self._waiting % 320, 1), np.float32))

    def drop_waiting(self) -> None:
        self._waiting = 0

    def reset(self) -> None:
        self._waiting = 0


def packetizer(
    source_rate: int = RATE, settings: VoiceSettings | None = BOTH
) -> tuple[Packetizer, KeepingEncoder]:
    encoder = KeepingEncoder()
    voice = None if settings is None else VoiceProcessor(RATE, 1, settings)
    clock = ManualClock(1e6)
    return Packetizer(encoder, fake_info(), source_rate, clock, voice=voice), encoder


@dataclasses.dataclass
class Blocks:
    """A source whose blocks have any size."""

    rate: int
    position: int = 0

    def next(self, pcm: Pcm) -> Block:
        begin, self.position = self.position, self.position + len(pcm)
        return Block(pcm, begin, self.position * NS // self.rate)


@pytest.mark.parametrize(("rate", "size"), [(16_000, 160), (44_100, 441), (48_000, 333)])
def test_packets_say_when_their_sound_was_captured(rate: int, size: int) -> None:
    """The delay of the processing is not the network's: without it listeners would see less delay
    than there is.
    """
    times, waits = {}, {}
    for settings in (None, BOTH):
        target, _ = packetizer(rate, settings)
        blocks = Blocks(rate)
        out = []
        waited: list[int] = []
        while blocks.position < rate:
            block = blocks.next(np.zeros((size, 1), np.float32))
            for packet in target.push(block, 1):
                out.append(packet)
                waited.append(block.captured_ns)
        assert [o.packet.capture_time for o in out] == [320 * n for n in range(len(out))]
        times[settings] = [o.captured_ns for o in out]
        waits[settings] = waited
    for plain, processed in zip(times[None], times[BOTH], strict=True):
        assert plain - processed == pytest.approx(6_000_000, abs=2_000)
    # Frames begin with packets: none waits for a frame that it does not need.
    assert waits[None] == waits[BOTH]


def test_after_a_new_connection_packets_begin_where_their_sound_did() -> None:
    target, encoder = packetizer(settings=GAIN)
    blocks = Blocks(RATE)
    target.push(blocks.next(np.full((250, 1), 0.1, np.float32)), 1)
    assert sum(map(len, encoder.heard)) == FRAME
    encoder.heard.clear()
    packets = target.push(blocks.next(np.zeros((330, 1), np.float32)), 2)
    assert [o.packet.capture_time for o in packets] == [250]
    assert packets[0].captured_ns == (250 + 320) * NS // RATE
    assert not np.concatenate(encoder.heard).any()


def test_a_pause_drops_what_waits_for_its_frame() -> None:
    target, encoder = packetizer(settings=GAIN)
    blocks = Blocks(RATE)
    target.push(blocks.next(np.full((FRAME + 100, 1), 0.1, np.float32)), 1)
    assert target.pause()
    encoder.heard.clear()
    target.push(blocks.next(np.zeros((FRAME, 1), np.float32)), 1)
    assert sum(map(len, encoder.heard)) == FRAME
    assert not np.concatenate(encoder.heard).any()


def test_the_end_of_a_source_is_sent(spoken: NDArray[np.float32]) -> None:
    target, encoder = packetizer()
    blocks = Blocks(RATE)
    target.push(blocks.next(at(spoken[: 3 * RATE + 77], -26)), 1)
    target.flush()
    # the encoder pads its last packet by itself
    given = sum(map(len, encoder.heard[:-1]))
    assert given == 3 * RATE + 77 + SUPPRESSION_DELAY[RATE]


def test_the_tap_is_told_when_its_sound_began() -> None:
    target, _ = packetizer(48_000)
    said: list[tuple[int, int]] = []
    target.tap = lambda pcm, began_ns: said.append((len(pcm), began_ns))
    blocks = Blocks(48_000)
    for _ in range(30):
        target.push(blocks.next(np.zeros((700, 1), np.float32)), 1)
    position = 0
    for samples, began_ns in said:
        at_ns = position * NS // RATE - 8_000_000  # 6 of the suppression, 2 of the resampler
        assert began_ns == pytest.approx(at_ns, abs=70_000)
        position += samples


def test_the_meter_shows_the_microphone(spoken: NDArray[np.float32]) -> None:
    """Who clips, or is silent, must see it."""
    target, _ = packetizer(settings=GAIN)
    blocks = Blocks(RATE)
    for start in range(0, 8 * RATE, FRAME):
        target.push(blocks.next(at(spoken, -45)[start : start + FRAME]), 1)
    assert target.meter.level.peak_db < -25


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(RATE) is None
    with pytest.raises(ConfigError, match="work at 16000, 32000, 48000 Hz, not at 24000"):
        VoiceProcessor(24_000, 1, GAIN)
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamcodec\[client\]'"):
        VoiceProcessor(RATE, 1, GAIN)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[VoiceSettings | None]:
    """What the sender of each command was asked to do with the voice."""
    wanted: list[VoiceSettings | None] = []

    class RecordingSender:
        def __init__(self, *parts: object, voice: VoiceSettings | None, **rest: object) -> None:
            wanted.append(voice)

    async def run_live(*parts: object) -> None:
        """Nothing runs."""

    def pick_source(spec: str, clock: object, **device: Any) -> ScriptedSource:
        return ScriptedSource()

    def pick_sink(spec: str, clock: object, **device: Any) -> SteppedSink:
        return SteppedSink(ManualClock())

    monkeypatch.setattr(live, "load_codec", lambda *names: FakeModel())
    monkeypatch.setattr(live, "Sender", RecordingSender)
    monkeypatch.setattr(live, "run_live", run_live)
    monkeypatch.setattr(live_options, "pick_source", pick_source)
    monkeypatch.setattr(live_options, "pick_sink", pick_sink)
    monkeypatch.setattr(live_options, "check_sink", lambda spec, **device: None)
    return wanted


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("talk", GAIN),
        ("talk --no-gain-control", None),
        ("talk --noise-suppression 12", BOTH),
        ("talk --no-gain-control --noise-suppression 6", VoiceSettings(suppression_db=6)),
        ("talk --source tone", None),
        ("talk --source -", None),
        ("send", None),
        ("send --gain-control", GAIN),
        ("send --noise-suppression 21", VoiceSettings(suppression_db=SUPPRESSION_DB[-1])),
    ],
)
def test_what_flags_ask_of_the_voice(
    wanted: list[VoiceSettings | None], command: str, settings: VoiceSettings | None
) -> None:
    assert main(command.split()) == 0
    assert wanted == [settings]


@pytest.mark.parametrize("flag", ["--gain-control", "--noise-suppression 6"])
def test_files_and_pipes_stay_as_they_are(
    wanted: list[VoiceSettings | None], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["talk", "--source", "tone", *flag.split()]) == 2
    assert "is for --source mic, not for tone" in capsys.readouterr().err
    assert wanted == []


def test_without_the_library_a_call_goes_on_unless_it_was_asked_for(
    wanted: list[VoiceSettings | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    assert main(["talk"]) == 0
    assert wanted == [None]
    assert "level is left as it is" in capsys.readouterr().err
    assert main(["talk", "--gain-control"]) == 0
    assert wanted == [None, GAIN]  # which the sender refuses


@pytest.mark.parametrize(
    ("command", "said"),
    [("talk", 1), ("talk --source tone", 0), ("talk --sink null", 0), ("talk --quiet", 0)],
)
def test_headphones_are_asked_for_once(
    wanted: list[VoiceSettings | None],
    capsys: pytest.CaptureFixture[str],
    command: str,
    said: int,
) -> None:
    assert main(command.split()) == 0
    assert capsys.readouterr().err.count("use headphones") == said
