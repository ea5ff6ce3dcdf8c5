"""Relay, listener and sender as processes of their own over loopback, as `make demo` and `bench
latency` run them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import SPEECH
from streamcodec.errors import AudioError, ConfigError
from streamcodec_bench import outage
from streamcodec_bench.cli import bench
from streamcodec_bench.demo import demo
from streamcodec_bench.live_session import SessionFailed, SessionPlan, run_session

SECONDS = 3


def speech(folder: Path, sample_rate: int = 16_000) -> Path:
    """The first seconds of the bundled recording, every sample repeated up to `sample_rate`."""
    pcm, rate = soundfile.read(SPEECH, dtype="float32")
    target = folder / "speech.wav"
    soundfile.write(target, np.repeat(pcm[: SECONDS * rate], sample_rate // rate), sample_rate)
    return target


def test_the_demo_leaves_report_recordings_and_picture(tmp_path: Path, model_folder: Path) -> None:
    out = tmp_path / "demo"
    arguments = [
        "--out",
        str(out),
        "--source",
        str(speech(tmp_path)),
        "--model",
        str(model_folder),
        "--bitrate",
        "20000",
    ]
    done = CliRunner().invoke(demo, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    assert report["packets_sent"] >= SECONDS * 50
    assert report["payload_kbps"] > 1
    assert report["wire_kbps"] > report["payload_kbps"]
    # Physics, not speed: a packet must be full before it is coded, and waits for its playout.
    assert report["latency"]["end_to_end"]["p50"] > 20 + 5
    assert set(report["latency"]["stages"]) >= {
        "encode",
        "network + relay",
        "playout buffer",
        "decode",
    }
    decoded, rate = soundfile.read(out / "decoded.wav")
    assert len(decoded) > (SECONDS - 1) * rate
    assert (out / "session.png").stat().st_size > 10_000


def test_a_source_of_another_rate_is_recorded_at_its_own(
    tmp_path: Path, model_folder: Path
) -> None:
    plan = SessionPlan(speech(tmp_path, 48_000), tmp_path / "out", 20_000, model=str(model_folder))
    summaries = run_session(plan, lambda line: None)
    assert summaries.sender["send"]["packets"] >= SECONDS * 50
    assert soundfile.info(plan.decoded).samplerate == 48_000


def test_a_sender_that_refuses_to_start_ends_the_session(
    tmp_path: Path, model_folder: Path
) -> None:
    plan = SessionPlan(speech(tmp_path), tmp_path / "out", 500, model=str(model_folder))
    with pytest.raises(SessionFailed, match="status 2: streamcodec: bit rate must be 3000 to"):
        run_session(plan, lambda line: None)


def test_a_file_without_audio_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match="cannot read"):
        run_session(SessionPlan(tmp_path / "text.wav", tmp_path / "out"), lambda line: None)
    done = CliRunner().invoke(bench, ["latency", "--source", str(tmp_path / "text.wav")])
    assert isinstance(done.exception, AudioError)


def over_a_bad_link(model: Path, loss: float, outage_s: float) -> outage.LinkReport:
    """A session over real sockets and TUN devices, each IP packet delayed by 20 ms. How late sound
    is after an outage is tested on a simulated clock (test_outage) and measured by `bench link`.
    """
    try:
        report = outage.measure(SPEECH, 20.0, loss, outage_s, str(model), 20_000)
    except ConfigError as refused:
        pytest.skip(str(refused))
    # the talker goes on sending in an outage
    assert report.packets >= (outage.BEFORE_S + outage.AFTER_S - 2) * 50
    assert report.arrival.p50 >= 2 * 20.0  # each packet has crossed the link twice
    assert report.concealed_percent < 5
    return report


@pytest.mark.slow
def test_a_session_over_a_link_that_loses_packets(model_folder: Path) -> None:
    report = over_a_bad_link(model_folder, loss=0.01, outage_s=0.0)
    assert (report.back_ms, report.stale_ms, report.after) == (None, None, None)


@pytest.mark.slow
def test_a_session_over_a_link_that_breaks_for_three_seconds(model_folder: Path) -> None:
    report = over_a_bad_link(model_folder, loss=0.0, outage_s=3.0)
    assert report.back_ms is not None
    assert report.stale_ms is not None
    assert report.after is not None
    assert report.after.p50 >= 2 * 20.0
