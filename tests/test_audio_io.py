"""Sources, sinks, the ring buffer and the mixer, without a sound device."""

from __future__ import annotations

import importlib.abc
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fakes import ManualClock
from streamcodec.errors import AudioError
from streamcodec.units import Pcm
from streamcodec_client.audio.blocks import (
    AHEAD_MS,
    BLOCK_MS,
    SOURCE_LAG_LIMIT_MS,
    with_channels,
)
from streamcodec_client.audio.paced import (
    TONE_AMPLITUDE,
    TONE_HZ,
    Discard,
    PacedSink,
    PacedSource,
    Tone,
)
from streamcodec_client.audio.pick import pick_sink, pick_source
from streamcodec_client.audio.ring import SampleRing
from streamcodec_client.audio.tracks import SOFT_CLIP_KNEE, soft_clip
from streamcodec_client.live.mix import mix

MS = 1_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ramp(samples: int) -> Pcm:
    return (np.arange(samples) / 32_768).astype(np.float32)[:, None]


def test_a_tone_comes_at_the_pace_of_the_clock(clock: ManualClock) -> None:
    source = pick_source("tone", clock)
    source.start()
    began_ns = clock.now_ns()
    for n in range(5):
        block = source.read(1)
        assert block is not None
        assert (block.position, block.captured_ns) == (160 * n, began_ns + 10 * (n + 1) * MS)
        assert clock.now_ns() == block.captured_ns


def test_a_tone_has_no_jump_between_blocks_nor_after_lost_ones(clock: ManualClock) -> None:
    source = pick_source("tone", clock)
    source.start()
    for lag_ms in (0, 0, SOURCE_LAG_LIMIT_MS + 53):
        clock.advance(lag_ms)
        block = source.read(1)
        assert block is not None
        at_s = (block.position + np.arange(len(block.pcm))) / source.sample_rate
        expected = TONE_AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * at_s)
        assert block.pcm[:, 0] == pytest.approx(expected, abs=1e-5)


def test_closing_a_source_or_sink_closes_what_it_reads_or_writes(clock: ManualClock) -> None:
    closed: list[str] = []

    class ClosableTone(Tone):
        def close(self) -> None:
            closed.append("reader")

    class ClosableDiscard(Discard):
        def close(self) -> None:
            closed.append("writer")

    source = PacedSource(clock, ClosableTone(16_000, 1))
    source.close()
    assert source.ended
    PacedSink(clock, ClosableDiscard(16_000, 1)).close()
    assert closed == ["reader", "writer"]


def test_a_read_gives_up_after_its_timeout(clock: ManualClock) -> None:
    source = pick_source("tone", clock)
    source.start()
    assert source.read(0.004) is None
    assert source.read(0.02) is not None


def test_a_reader_that_falls_behind_loses_the_oldest_samples(clock: ManualClock) -> None:
    source = pick_source("tone", clock)
    source.start()
    clock.advance(SOURCE_LAG_LIMIT_MS - 20)
    block = source.read(1)
    assert block is not None
    assert block.position == 0
    clock.advance(SOURCE_LAG_LIMIT_MS + 100)
    block = source.read(1)
    assert block is not None
    lost_ms = (block.position - 160) / 16
    assert lost_ms > SOURCE_LAG_LIMIT_MS
    assert clock.now_ns() - block.captured_ns <= BLOCK_MS * MS


def test_a_file_is_read_whole_and_in_order(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, ramp(1000), 16_000, "PCM_16")
    source = pick_source(str(path), clock)
    source.start()
    blocks = []
    while not source.ended:
        block = source.read(1)
        if block is not None:
            blocks.append(block)
    source.close()
    assert [len(b.pcm) for b in blocks] == [160] * 6 + [40]
    assert np.array_equal(np.concatenate([b.pcm for b in blocks]), ramp(1000))
    assert blocks[-1].captured_ns - blocks[0].captured_ns == 840 * 1_000_000_000 // 16_000


def test_a_file_skips_the_samples_that_a_slow_reader_missed(
    clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, ramp(16_000), 16_000, "PCM_16")
    source = pick_source(str(path), clock)
    source.start()
    clock.advance(500)
    block = source.read(1)
    assert block is not None
    assert block.pcm[0, 0] == block.position / 32_768 > 0
    source.close()


def test_stereo_files_keep_their_channels(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.zeros((480, 2)), 48_000)
    source = pick_source(str(path), clock)
    assert (source.sample_rate, source.channels) == (48_000, 2)
    source.close()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a wave file at all" * 100])
def test_a_file_that_holds_no_audio_is_named(
    clock: ManualClock, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="cannot read .*broken.wav"):
        pick_source(str(path), clock)


def test_more_than_two_channels_are_refused(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "surround.wav"
    soundfile.write(path, np.zeros((10, 6)), 48_000)
    with pytest.raises(AudioError, match="6 channels; at most 2 can be coded: --mono mixes them"):
        pick_source(str(path), clock)
    source = pick_source(str(path), clock, mono=True)
    assert source.channels == 6  # the sender mixes them
    source.close()


def wav_with_sizes(riff: int, data: int) -> bytes:
    """A second of sound whose header says something else."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form
    return head + struct.pack("<4sI", b"data", data) + SECOND.tobytes()


SECOND = np.arange(1, 16_001, dtype="<i2")


@pytest.mark.parametrize("riff", [0, 36, 32_036, 2**32 - 1])
def test_what_a_killed_recorder_left_is_read_to_the_end(
    riff: int, clock: ManualClock, tmp_path: Path
) -> None:
    path, said = tmp_path / "killed.wav", list[str]()
    path.write_bytes(wav_with_sizes(riff, 0))
    source = pick_source(str(path), clock, warn=said.append)
    source.start()
    blocks = [source.read(1) for _ in range(101)]
    source.close()
    heard = np.concatenate([block.pcm for block in blocks if block is not None])
    assert np.array_equal(heard[:, 0] * 32_768, SECOND)
    assert said == [
        f"{path}: its header says 0 samples, as killed recorders leave it; read to the end: 1.00 s"
    ]


def test_a_file_without_samples_is_refused(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    note = b"LIST" + (1_000).to_bytes(4, "little") + bytes(1_000)
    finished = wav_with_sizes(36 + len(note), 0)[:44] + note
    for content in (wav_with_sizes(36, 0)[:44], finished, b""):
        path.write_bytes(content)
        with pytest.raises(
            AudioError, match="cannot read .*silent.wav as audio: it (holds no s|is empty)"
        ):
            pick_source(str(path), clock)
    soundfile.write(tmp_path / "silent.flac", np.zeros((0, 1)), 16_000)
    with pytest.raises(AudioError, match="cannot read .*silent.flac"):
        pick_source(str(tmp_path / "silent.flac"), clock)


@pytest.mark.parametrize("ending", ["flac", "ogg", "opus"])
def test_a_sink_writes_what_a_source_reads(ending: str, clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / f"heard.{ending}"
    sink = pick_sink(str(path), clock)
    tone = Tone(16_000, 1)
    for _ in range(100):
        assert sink.wants_block(1)
        sink.write(tone.read(160))
    sink.close()
    pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert (len(pcm), rate) == (16_000, 16_000)
    assert pcm[4_000:-4_000] == pytest.approx(Tone(16_000, 1).read(16_000)[4_000:-4_000], abs=0.03)


def flac_of_unknown_length(tmp_path: Path) -> Path:
    """What a killed recorder leaves: FLAC's header counts samples when the file is closed."""
    path = tmp_path / "killed.flac"
    soundfile.write(path, ramp(16_000), 16_000, "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


def test_flac_of_unknown_length_is_read_to_the_end(clock: ManualClock, tmp_path: Path) -> None:
    source = pick_source(str(flac_of_unknown_length(tmp_path)), clock)
    source.start()
    blocks = [source.read(1) for _ in range(101)]
    assert source.ended
    heard = np.concatenate([block.pcm for block in blocks if block is not None])
    assert np.array_equal(heard, ramp(16_000))
    source.close()


def test_a_slow_reader_of_such_a_file_comes_to_its_end(clock: ManualClock, tmp_path: Path) -> None:
    source = pick_source(str(flac_of_unknown_length(tmp_path)), clock)
    source.start()
    assert source.read(1) is not None
    clock.advance(5_000)
    assert source.read(1) is None
    assert source.ended
    source.close()


def test_opus_has_its_own_sample_rates(clock: ManualClock, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="x.opus: Opus has 8000, .* Hz, not 44100"):
        pick_sink(str(tmp_path / "x.opus"), clock, rate=44_100)


@pytest.mark.parametrize("spec", ["nothing.wav", "microphone", ""])
def test_an_unknown_source_is_refused_with_those_that_are_known(
    clock: ManualClock, spec: str
) -> None:
    with pytest.raises(AudioError, match="mic, tone, -"):
        pick_source(spec, clock)


@pytest.mark.parametrize("spec", ["out.mp3", "loud", ""])
def test_an_unknown_sink_is_refused_with_those_that_are_known(
    clock: ManualClock, spec: str
) -> None:
    with pytest.raises(AudioError, match=r"speaker, null, -.*\.wav"):
        pick_sink(spec, clock)


def test_a_sink_that_cannot_be_written_is_named(clock: ManualClock, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot write .*missing/out.wav"):
        pick_sink(str(tmp_path / "missing" / "out.wav"), clock)


def test_a_sink_asks_one_block_ahead(clock: ManualClock) -> None:
    sink = pick_sink("null", clock)
    sink.start()
    heard = []
    for _ in range(4):
        assert sink.wants_block(1)
        heard.append((sink.write(ramp(160)) - clock.now_ns()) / MS)
    assert heard == [AHEAD_MS] * 4
    assert not sink.wants_block(0.005)
    assert sink.underruns == 0


def test_a_recording_has_silence_where_nothing_was_written(
    clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "heard.wav"
    sink = pick_sink(str(path), clock)
    sink.start()
    first_ns = sink.write(np.full((160, 1), 0.5, np.float32))
    clock.advance(50)  # AHEAD_MS and a block were held: 30 ms were missed
    second_ns = sink.write(np.full((160, 1), 0.25, np.float32))
    sink.close()
    pcm, _ = soundfile.read(path, dtype="float32")
    gap = round((second_ns - first_ns) / MS) * 16
    assert gap == 800 - 16 * AHEAD_MS
    assert sink.underruns == 1
    assert (pcm[:160] == 0.5).all()
    assert not pcm[160:gap].any()
    assert (pcm[gap:] == 0.25).all()


def test_a_recording_does_not_wrap_round_at_full_scale(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    sink = pick_sink(str(path), clock)
    sink.write(np.full((160, 1), 1.5, np.float32))
    sink.close()
    assert soundfile.read(path)[0].min() > 0.99


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_a_ring_gives_samples_in_the_order_they_were_written(steps: list[tuple[bool, int]]) -> None:
    ring, expected, counter = SampleRing(64, 1), [], 0
    for writes, size in steps:
        if writes:
            size = min(size, 64 - ring.available)
            values = list(range(counter, counter + size))
            counter += size
            ring.write(np.array(values, np.float32).reshape(-1, 1))
            expected += values
        else:
            out = np.full((size, 1), -1, np.float32)
            got = ring.read_into(out)
            assert out[:got, 0].tolist() == expected[:got]
            assert got == min(size, len(expected))
            del expected[:got]
        assert ring.available == len(expected)


def test_channels_are_averaged_and_copied() -> None:
    stereo = np.array([[0.5, -0.25]], np.float32)
    assert with_channels(stereo, 1).tolist() == [[0.125]]
    assert with_channels(with_channels(stereo, 1), 2).tolist() == [[0.125, 0.125]]
    assert with_channels(stereo, 2) is stereo


def test_a_voice_alone_passes_the_mixer_as_it_is() -> None:
    loud = np.full((10, 1), 0.99, np.float32)
    assert mix([loud]) is loud


def test_quiet_voices_are_summed_and_loud_ones_compressed() -> None:
    quiet, loud = np.full((1, 1), 0.25, np.float32), np.full((1, 1), -0.9, np.float32)
    assert mix([quiet, quiet]).item() == 0.5
    assert -1 <= mix([loud, loud, loud]).item() < -0.95


@given(st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20))
def test_soft_clip_keeps_order_and_full_scale(values: list[float]) -> None:
    clipped = soft_clip(np.sort(np.array(values, np.float32))[:, None])[:, 0]
    assert np.abs(clipped).max() <= 1
    assert (np.diff(clipped) >= 0).all()
    assert soft_clip(np.full((1, 1), SOFT_CLIP_KNEE / 2, np.float32)).item() == np.float32(
        SOFT_CLIP_KNEE / 2
    )


class BrokenSoundDevice(importlib.abc.MetaPathFinder):
    """`import sounddevice` where the package is there and the library is not."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "sounddevice":
            raise OSError("PortAudio library not found")


@pytest.mark.parametrize("spec", ["mic", "speaker"])
def test_without_portaudio_the_user_is_told_what_to_install(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [BrokenSoundDevice(), *sys.meta_path])
    with pytest.raises(AudioError, match="apt install libportaudio2"):
        (pick_source if spec == "mic" else pick_sink)(spec, clock)
