"""Sources, sinks and what stands between them, without a sound device."""

from __future__ import annotations

import contextlib
import importlib.abc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fakes import ManualClock
from streamcodec.errors import AudioError, ConfigError
from streamcodec_client.audio.blocks import (
    BLOCK_MS,
    OUTPUT_LEAD_MS,
    SOURCE_LAG_LIMIT_MS,
    Pcm,
    with_channels,
)
from streamcodec_client.audio.files import FileSource, WavSink
from streamcodec_client.audio.paced import NullSink, ToneSource
from streamcodec_client.audio.pick import pick_sink, pick_source
from streamcodec_client.audio.pipes import PIPE_BYTES, StdinSource, StdoutSink
from streamcodec_client.audio.resample import LiveResampler
from streamcodec_client.audio.ring import SampleRing
from streamcodec_client.live.player import SOFT_CLIP_KNEE, mix, soft_clip

MS = 1_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # the test closed it
            os.close(end)


def ramp(samples: int) -> Pcm:
    return (np.arange(samples) / 32_768).astype(np.float32)[:, None]


def test_a_tone_comes_at_the_pace_of_the_clock(clock: ManualClock) -> None:
    source = ToneSource(clock, 16_000, 1)
    source.start()
    began_ns = clock.now_ns()
    for n in range(5):
        block = source.read(1)
        assert block is not None
        assert (block.position, block.captured_ns) == (160 * n, began_ns + 10 * (n + 1) * MS)
        assert clock.now_ns() == block.captured_ns


def test_a_read_gives_up_after_its_timeout(clock: ManualClock) -> None:
    source = ToneSource(clock, 16_000, 1)
    source.start()
    assert source.read(0.004) is None
    assert source.read(0.02) is not None


def test_a_slow_reader_loses_the_oldest(clock: ManualClock) -> None:
    source = ToneSource(clock, 16_000, 1)
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


def test_a_file_skips_what_a_slow_reader_missed(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, ramp(16_000), 16_000, "PCM_16")
    source = FileSource(clock, path)
    source.start()
    clock.advance(500)
    block = source.read(1)
    assert block is not None
    assert block.pcm[0, 0] == block.position / 32_768 > 0
    source.close()


def test_stereo_files_keep_their_channels(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.zeros((480, 2)), 48_000)
    source = FileSource(clock, path)
    assert (source.sample_rate, source.channels) == (48_000, 2)
    source.close()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a wave file at all" * 100])
def test_a_file_that_holds_no_audio_is_named(
    clock: ManualClock, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="cannot read .*broken.wav"):
        FileSource(clock, path)


def test_more_than_two_channels_are_refused(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "surround.wav"
    soundfile.write(path, np.zeros((10, 6)), 48_000)
    with pytest.raises(AudioError, match="6 channels; at most 2"):
        FileSource(clock, path)


@pytest.mark.parametrize("spec", ["nothing.wav", "microphone", ""])
def test_an_unknown_source_is_told_what_there_is(clock: ManualClock, spec: str) -> None:
    with pytest.raises(AudioError, match="mic, tone, -"):
        pick_source(spec, clock)


@pytest.mark.parametrize("spec", ["out.mp3", "loud", ""])
def test_an_unknown_sink_is_told_what_there_is(clock: ManualClock, spec: str) -> None:
    with pytest.raises(AudioError, match=r"speaker, null, -.*\.wav"):
        pick_sink(spec, clock)


def test_a_sink_that_cannot_be_written_is_named(clock: ManualClock, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot write .*missing/out.wav"):
        pick_sink(str(tmp_path / "missing" / "out.wav"), clock)


def test_a_sink_asks_one_block_ahead(clock: ManualClock) -> None:
    sink = NullSink(clock, 16_000, 1)
    sink.start()
    heard = []
    for _ in range(4):
        assert sink.wants_block(1)
        heard.append((sink.write(ramp(160)) - clock.now_ns()) / MS)
    assert heard == [OUTPUT_LEAD_MS - BLOCK_MS] * 4
    assert not sink.wants_block(0.005)
    assert sink.underruns == 0


def test_a_recording_has_silence_where_nothing_came(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    sink = WavSink(clock, path, 16_000, 1)
    sink.start()
    first_ns = sink.write(np.full((160, 1), 0.5, np.float32))
    clock.advance(50)  # OUTPUT_LEAD_MS were there to be played: 20 ms were missed
    second_ns = sink.write(np.full((160, 1), 0.25, np.float32))
    sink.close()
    pcm, _ = soundfile.read(path, dtype="float32")
    gap = round((second_ns - first_ns) / MS) * 16
    assert gap == 800 - 16 * (OUTPUT_LEAD_MS - BLOCK_MS)
    assert sink.underruns == 1
    assert (pcm[:160] == 0.5).all()
    assert not pcm[160:gap].any()
    assert (pcm[gap:] == 0.25).all()


def test_a_recording_does_not_wrap_round_at_full_scale(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    sink = WavSink(clock, path, 16_000, 1)
    sink.write(np.full((160, 1), 1.5, np.float32))
    sink.close()
    assert soundfile.read(path)[0].min() > 0.99


def test_raw_pcm_from_a_pipe(clock: ManualClock, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    source = StdinSource(clock, 16_000, 2, readable)
    source.start()
    frames = np.arange(400, dtype="<i2").reshape(200, 2)
    os.write(writable, frames.tobytes()[:-1])  # the last sample is cut in half
    os.close(writable)
    blocks = []
    while not source.ended:
        block = source.read(0.1)
        if block is not None:
            blocks.append(block)
    assert np.array_equal(np.concatenate([b.pcm for b in blocks]) * 32_768, frames[:199])
    assert [b.position for b in blocks] == [0, 160]


def test_a_pipe_is_read_no_faster_than_real_time(clock: ManualClock, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    source = StdinSource(clock, 16_000, 1, readable)
    source.start()
    began_ns = clock.now_ns()
    for _ in range(10):
        os.write(writable, bytes(320))
        assert source.read(1) is not None
    assert (clock.now_ns() - began_ns) / MS == 100


def test_an_empty_pipe_is_no_end(clock: ManualClock, pipe: tuple[int, int]) -> None:
    source = StdinSource(clock, 16_000, 1, pipe[0])
    source.start()
    assert source.read(0.01) is None
    assert not source.ended


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can change the size of a pipe")
def test_what_hides_in_a_pipe_shrinks_as_it_is_read(
    clock: ManualClock, pipe: tuple[int, int]
) -> None:
    """A recorder fills the pipe while we start: that much delay would stay for good."""
    import fcntl

    readable, writable = pipe
    os.write(writable, bytes(10_000))
    source = StdinSource(clock, 16_000, 1, readable)
    assert fcntl.fcntl(readable, fcntl.F_GETPIPE_SZ) == 16_384
    source.start()
    for _ in range(30):
        assert source.read(1) is not None
    assert fcntl.fcntl(readable, fcntl.F_GETPIPE_SZ) == PIPE_BYTES


def test_time_goes_on_while_a_pipe_is_empty(clock: ManualClock, pipe: tuple[int, int]) -> None:
    """Otherwise whatever a speech synthesiser says next would be as late as its pause was long, and
    nobody would play it.
    """
    readable, writable = pipe
    source = StdinSource(clock, 16_000, 1, readable)
    source.start()
    blocks = []
    for pause_ms in (0, 0, 40, 2_000, 0):
        clock.advance(pause_ms)
        os.write(writable, bytes(320))
        block = source.read(1)
        assert block is not None
        blocks.append(block)
    assert [b.after_pause for b in blocks] == [False, False, False, True, False]
    assert [b.position for b in blocks[:3]] == [0, 160, 320]
    assert blocks[3].position == pytest.approx(480 + 32_000, abs=160)
    assert blocks[4].position == blocks[3].position + 160


def test_raw_pcm_to_a_pipe(clock: ManualClock, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    sink = StdoutSink(clock, 16_000, 1, writable)
    sink.start()
    sink.write(np.array([[0.5], [-1.0], [1.0]], np.float32))
    assert np.frombuffer(os.read(readable, 100), "<i2").tolist() == [16_384, -32_768, 32_767]


def test_a_reader_that_does_not_read_loses_blocks_and_stops_nobody(
    clock: ManualClock, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    sink = StdoutSink(clock, 16_000, 1, writable)
    sink.start()
    for _ in range(100):
        assert sink.wants_block(1)
        sink.write(ramp(160))
    assert sink.underruns >= 80
    got = os.read(readable, 1 << 16)
    assert 0 < len(got) <= 200 * 32
    assert len(got) % 320 == 0


def test_a_reader_that_is_gone_ends_the_sink(clock: ManualClock, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    sink = StdoutSink(clock, 16_000, 1, writable)
    os.close(readable)
    with pytest.raises(AudioError, match="closed by its reader"):
        sink.write(ramp(160))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_a_ring_is_a_queue(steps: list[tuple[bool, int]]) -> None:
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


RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("upwards", [True, False])
def test_a_tone_survives_resampling(rate: int, upwards: bool) -> None:
    source, target = (rate, 16_000) if upwards else (16_000, rate)
    resampler = LiveResampler(source, target, 1)
    seconds = np.arange(source) / source
    wave = np.sin(2 * np.pi * 1_000 * seconds).astype(np.float32)[:, None]
    out = np.concatenate([resampler.convert(block) for block in np.array_split(wave, 100)])
    assert len(out) == target
    expected = np.sin(2 * np.pi * 1_000 * (np.arange(target) / target - resampler.delay_s))
    settled = slice(target // 50, None)
    assert np.abs(out[settled, 0] - expected[settled]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_resampling_adds_no_more_than_its_delay(rate: int) -> None:
    """10 ms in are 10 ms out, block by block: nothing is held back in lumps."""
    resampler = LiveResampler(rate, 16_000, 1)
    size = rate // 100
    assert resampler.delay_s <= 0.004
    for n in range(1, 30):
        total = sum(len(resampler.convert(np.zeros((size, 1), np.float32))) for _ in range(1))
        assert abs(total - size * 16_000 / rate) < 1, n


@given(
    st.sampled_from([(44_100, 16_000), (48_000, 16_000), (16_000, 22_050)]),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=8),
)
def test_resampling_does_not_depend_on_the_cuts(rates: tuple[int, int], sizes: list[int]) -> None:
    pcm = np.random.default_rng(0).standard_normal((sum(sizes), 2)).astype(np.float32)
    whole = LiveResampler(*rates, 2).convert(pcm)
    cut = LiveResampler(*rates, 2)
    parts = [cut.convert(part) for part in np.split(pcm, np.cumsum(sizes)[:-1])]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


def test_what_is_above_the_new_range_is_gone() -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(48_000) / 48_000).astype(np.float32)[:, None]
    assert np.abs(LiveResampler(48_000, 16_000, 1).convert(tone)[500:]).max() < 1e-3


def test_an_impossible_rate_is_named() -> None:
    with pytest.raises(ConfigError, match="sample rate must be 4000 to 384000 Hz, got 100"):
        LiveResampler(100, 16_000, 1)


def test_channels_are_averaged_and_copied() -> None:
    stereo = np.array([[0.5, -0.25]], np.float32)
    assert with_channels(stereo, 1).tolist() == [[0.125]]
    assert with_channels(with_channels(stereo, 1), 2).tolist() == [[0.125, 0.125]]
    assert with_channels(stereo, 2) is stereo


def test_a_voice_alone_passes_the_mixer_as_it_is() -> None:
    loud = np.full((10, 1), 0.99, np.float32)
    assert mix([loud]) is loud


def test_quiet_voices_are_summed_and_loud_ones_bent() -> None:
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


class _Broken(importlib.abc.MetaPathFinder):
    """`import sounddevice` where the package is there and the library is not."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "sounddevice":
            raise OSError("PortAudio library not found")


@pytest.mark.parametrize("spec", ["mic", "speaker"])
def test_without_portaudio_the_user_is_told_what_to_install(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Broken(), *sys.meta_path])
    with pytest.raises(AudioError, match="apt install libportaudio2"):
        (pick_source if spec == "mic" else pick_sink)(spec, clock)
