"""Raw PCM from standard input and to standard output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from fakes import ManualClock
from streamcodec.errors import AudioError
from streamcodec.units import Pcm
from streamcodec_client.audio.paced import PacedSink
from streamcodec_client.audio.pipes import PIPE_BYTES, PipeWriter, StdinSource

MS = 1_000_000
UNKNOWN = b"data" + b"\xff" * 4


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


def wav(data: bytes, rate: int, channels: int, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    dtype = {"PCM_16": "<i2", "FLOAT": "<f4"}[subtype]
    soundfile.write(
        file, np.frombuffer(data, dtype).reshape(-1, channels), rate, subtype, format="WAV"
    )
    return file.getvalue()


def heard(source: StdinSource) -> Pcm:
    source.start()
    blocks = []
    while not source.ended:
        block = source.read(0.1)
        if block is not None:
            blocks.append(block.pcm)
    return np.concatenate(blocks) * 32_768


FRAMES = np.arange(1, 801, dtype="<i2").reshape(400, 2)
NOTE = b"LIST" + (300).to_bytes(4, "little") + bytes(300)


@pytest.mark.parametrize("sizes", ["known", "unknown", "with a note before and after the samples"])
def test_a_wav_from_a_pipe_is_played_without_its_header(
    sizes: str, clock: ManualClock, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    content = wav(FRAMES.tobytes(), 16_000, 2)
    if sizes == "unknown":  # what ffmpeg writes into a pipe
        content = content.replace(b"data" + len(FRAMES.tobytes()).to_bytes(4, "little"), UNKNOWN)
    elif sizes != "known":
        content = content[:12] + NOTE + content[12:] + NOTE
    os.write(writable, content)
    os.close(writable)
    assert np.array_equal(heard(StdinSource(clock, 16_000, 2, readable)), FRAMES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (wav(FRAMES.tobytes(), 44_100, 2), "44100 Hz and 2 channel.*--rate 44100 --channels 2"),
        (wav(FRAMES.tobytes(), 16_000, 1), "16000 Hz and 1 channel.*--rate 16000 --channels 1"),
        (wav(bytes(800), 16_000, 2, "FLOAT"), "32-bit float: 16-bit PCM can be piped"),
        (b"RIFF" + bytes(4) + b"WAVEjunk", "no whole WAV: it holds no samples"),
        (b"RIFF" + bytes(4) + b"WAVEdata" + bytes(400), "no chunk fmt"),
        (b"fLaC" + bytes(400), "FLAC: give raw PCM or WAV"),
    ],
)
def test_other_files_from_a_pipe_are_no_noise(
    content: bytes, said: str, clock: ManualClock, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    os.write(writable, content)
    os.close(writable)
    with pytest.raises(AudioError, match=f"standard input is .*{said}"):
        heard(StdinSource(clock, 16_000, 2, readable))


def test_a_pipe_is_read_no_faster_than_real_time(clock: ManualClock, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    source = StdinSource(clock, 16_000, 1, readable)
    source.start()
    began_ns = clock.now_ns()
    for _ in range(10):
        os.write(writable, bytes(320))
        assert source.read(1) is not None
    assert (clock.now_ns() - began_ns) / MS == 100


def test_an_empty_pipe_does_not_end_the_source(clock: ManualClock, pipe: tuple[int, int]) -> None:
    source = StdinSource(clock, 16_000, 1, pipe[0])
    source.start()
    assert source.read(0.01) is None
    assert not source.ended


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can change the size of a pipe")
def test_a_full_pipe_shrinks_as_it_is_read(clock: ManualClock, pipe: tuple[int, int]) -> None:
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
    sink = PacedSink(clock, PipeWriter(16_000, 1, writable))
    sink.start()
    sink.write(np.array([[0.5], [-1.0], [1.0]], np.float32))
    assert np.frombuffer(os.read(readable, 100), "<i2").tolist() == [16_384, -32_768, 32_767]


def test_a_reader_that_does_not_read_loses_blocks_and_holds_nobody_up(
    clock: ManualClock, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    sink = PacedSink(clock, PipeWriter(16_000, 1, writable))
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
    sink = PacedSink(clock, PipeWriter(16_000, 1, writable))
    os.close(readable)
    with pytest.raises(AudioError, match="closed by its reader"):
        sink.write(ramp(160))
