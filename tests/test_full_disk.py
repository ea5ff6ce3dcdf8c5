"""A disk that is full: the error names file and disk, and what was written before stays."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamcodec.errors import AudioError, OutputError
from streamcodec_client.audio.files import WavFile, file_writer
from streamcodec_client.audio.pipes import PipeWriter
from streamcodec_client.report.arrivals import ArrivalRecorder
from streamcodec_client.report.trace import FileTrace

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
FULL = "no space left on the disk that holds /dev"
NOISE = np.random.default_rng(0).normal(0, 0.1, (16_000, 1)).astype(np.float32)


@pytest.fixture
def on_full_disk(tmp_path: Path) -> Path:
    """A folder whose files, out.*, are on a disk without room."""
    for ending in ("wav", "flac", "ogg", "opus", "sc", "jsonl"):
        (tmp_path / f"out.{ending}").symlink_to("/dev/full")
    return tmp_path


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus"])
def test_a_sink_says_which_disk_is_full(ending: str, on_full_disk: Path) -> None:
    path = on_full_disk / f"out.{ending}"

    def record() -> None:
        with contextlib.closing(file_writer(path, 16_000, 1)) as writer:
            for _ in range(10):
                writer.write(NOISE)

    with pytest.raises(AudioError, match=f"cannot write {path}: {FULL}"):
        record()


def test_traces_say_which_disk_is_full(on_full_disk: Path) -> None:
    path = on_full_disk / "out.jsonl"
    trace = FileTrace(path)
    trace.add({"sequence": 1})
    with pytest.raises(OutputError, match=f"cannot write {path}: {FULL}"):
        trace.flush()
    with pytest.raises(OutputError, match=FULL):
        trace.close()
    recorder = ArrivalRecorder(path)
    with pytest.raises(OutputError, match=FULL):
        recorder.close()


def test_standard_output_on_a_full_disk() -> None:
    with open("/dev/full", "wb") as file:
        with pytest.raises(AudioError, match="cannot write /dev/stdout: no space left on the disk"):
            PipeWriter(16_000, 1, file.fileno()).write(NOISE)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of files")
def test_a_recording_keeps_what_was_written_before_the_disk_was_full(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / "out.wav"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        writer = WavFile(path, 16_000, 1)
        for _ in range(3):
            writer.write(NOISE)
        with pytest.raises(AudioError, match=f"cannot write {path}: File too large"):
            writer.write(NOISE)
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert soundfile.info(path).duration == 3
