"""WAV files that grow, that are long, and whose writers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fakes import ManualClock
from streamcodec.units import Pcm
from streamcodec_client.audio.files import WavFile
from streamcodec_client.audio.pick import pick_sink
from streamcodec_client.audio.wav import parse_header

RATE = 16_000


def tone(samples: int, channels: int = 1) -> Pcm:
    one = np.sin(np.arange(samples) / 7).astype(np.float32)[:, None]
    return np.repeat(one / 2, channels, 1)


def written(path: Path) -> Pcm:
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0])


def test_a_short_recording_is_a_plain_wav(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    file = WavFile(path, 8_000, 2)
    file.write(tone(100, 2))
    file.close()
    with wave.open(str(path)) as read:  # knows neither RF64 nor WAVE_FORMAT_EXTENSIBLE
        assert (read.getnchannels(), read.getframerate(), read.getnframes()) == (2, 8_000, 100)
    assert written(path) == pytest.approx(tone(100, 2), abs=1 / 32_768)


def test_a_recording_that_riff_cannot_count_is_rf64(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    file = WavFile(path, RATE, 2, riff_limit=30_000)
    for _ in range(10):
        file.write(tone(1_000, 2))
    file.close()
    assert path.read_bytes()[:4] == b"RF64"
    assert soundfile.info(path).format == "RF64"
    assert written(path) == pytest.approx(np.tile(tone(1_000, 2), (10, 1)), abs=1 / 32_768)


def test_sizes_are_those_that_riff_counts_until_they_no_longer_fit(tmp_path: Path) -> None:
    path = tmp_path / "edge.wav"
    for samples, kind in ((100, b"RIFF"), (101, b"RF64")):
        file = WavFile(path, RATE, 1, riff_limit=72 + 200)
        file.write(tone(samples))
        file.close()
        assert path.read_bytes()[:4] == kind
        assert soundfile.info(path).frames == samples


def test_a_recording_lacks_at_most_a_second_while_it_grows(tmp_path: Path) -> None:
    path, clock = tmp_path / "growing.wav", ManualClock()
    sink = pick_sink(str(path), clock)
    for block in range(250):
        assert sink.wants_block(1)
        sink.write(tone(160))
        with wave.open(str(path)) as read:
            assert read.getnframes() >= (block + 1) // 100 * RATE
    sink.close()
    assert soundfile.info(path).duration == 2.5


@pytest.mark.skipif(sys.platform == "win32", reason="has no kill -9")
def test_a_killed_recorder_leaves_what_it_recorded(tmp_path: Path) -> None:
    path = tmp_path / "killed.wav"
    program = (
        "import os, signal; from pathlib import Path; import numpy as np; "
        "from streamcodec_client.audio.files import WavFile; "
        f"file = WavFile(Path({str(path)!r}), {RATE}, 1); "
        f"[file.write(np.full(({RATE // 2}, 1), 0.25, np.float32)) for _ in range(5)]; "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment)
    assert done.returncode == -signal.SIGKILL
    with wave.open(str(path)) as read:
        assert read.getnframes() == 2 * RATE
    assert (written(path) == 0.25).all()


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_header_the_start_of_one_or_an_error(rest: bytes, is_form: bool) -> None:
    first = b"RIFF" + bytes(4) + b"WAVE" + (b"fmt " if is_form else b"") + rest
    try:
        header = parse_header(first)
    except ValueError:
        return
    if isinstance(header, int):
        assert header > len(first)  # so a reader that reads so far comes to an end
    else:
        assert header.data_offset <= len(first)
