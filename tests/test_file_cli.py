"""The commands as a user types them, without the network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from conftest import voice
from streamcodec import CodecModel, StreamEncoder
from streamcodec.coding.container import read_container, write_container
from streamcodec_client.cli import main

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.stack([voice(1.0, 44_100), 0.3 * voice(1.0, 44_100, 1)], 1), 44_100)
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_a_recording_is_encoded_decoded_and_described(
    recording: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run("encode", recording, tmp_path / "a.sc", "--quality", "1", "--model", model_folder) == 0
    )
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav", "--model", model_folder) == 0
    before, rate = soundfile.read(recording)
    after, rate_after = soundfile.read(tmp_path / "back.wav")
    assert (rate_after, after.shape) == (rate, before.shape)
    lag = int(np.argmax(correlate(after[:, 0], before[:, 0], "full"))) - (len(before) - 1)
    assert abs(lag) <= 2
    capsys.readouterr()
    assert run("info", tmp_path / "a.sc") == 0
    assert "2 channel(s), source 44100 Hz" in capsys.readouterr().out
    assert run("info", model_folder) == 0
    said = capsys.readouterr().out
    assert "algorithmic latency 25 ms" in said
    assert "no high band" in said
    assert run("info") == 0
    said = capsys.readouterr().out
    assert "48000 Hz, algorithmic latency 26.2 ms, 0.8 kbit/s more" in said


@pytest.mark.parametrize("rate", [8_000, 96_000, 192_000])
def test_recordings_of_other_rates_come_back_as_they_were(
    rate: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = voice(1.0, rate)
    soundfile.write(tmp_path / "in.wav", before, rate)
    assert run("encode", tmp_path / "in.wav", tmp_path / "a.sc") == 0
    assert run("info", tmp_path / "a.sc") == 0
    assert ("full band" in capsys.readouterr().out) == (rate > 16_000)
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav") == 0
    after, rate_after = soundfile.read(tmp_path / "back.wav")
    assert (rate_after, len(after)) == (rate, len(before))
    lag = int(np.argmax(correlate(after, before, "full"))) - (len(before) - 1)
    assert abs(lag) <= max(2, 2 * rate // 16_000)


def test_a_recording_of_a_rate_that_cannot_be_coded_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "slow.wav", voice(1.0, 8_000), 1_000)
    assert run("encode", tmp_path / "slow.wav", tmp_path / "a.sc") == 2
    said = "slow.wav: sample rate must be 4000 to 384000 Hz, got 1000"
    assert said in capsys.readouterr().err
    assert run("send", "--source", tmp_path / "slow.wav") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("source", [GOLDEN / "voice-16k.sc", "voice-16k"])
def test_info_reads_files_and_models_without_pytorch(source: object) -> None:
    program = (
        "import sys; from streamcodec_client.cli import main; "
        f"status = main(['info', {str(source)!r}]); print(status, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("model ")
    assert done.stdout.endswith("0 False\n")


def test_of_a_cut_file_the_whole_payloads_are_decoded(
    recording: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("encode", recording, tmp_path / "a.sc", "--quality", "1", "--mono", "--model", model_folder)
    whole = (tmp_path / "a.sc").read_bytes()
    (tmp_path / "cut.sc").write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    assert run("decode", tmp_path / "cut.sc", tmp_path / "back.wav", "--model", model_folder) == 0
    assert "payloads are whole" in capsys.readouterr().err
    assert 0.1 < soundfile.info(tmp_path / "back.wav").duration < 0.9


def test_a_file_without_payloads_becomes_one_without_sound(
    model: CodecModel, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "a.sc").open("wb") as file:
        write_container(file, StreamEncoder(model, quality=1).header(0, 0), [])
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav", "--model", model_folder) == 0
    assert soundfile.info(tmp_path / "back.wav").frames == 0
    assert "back.wav: 0.00 s of sound" in capsys.readouterr().err


def test_a_damaged_payload_is_concealed_and_counted(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "in.wav", voice(1.0), 16_000)
    run("encode", tmp_path / "in.wav", tmp_path / "a.sc", "--quality", "1", "--model", model_folder)
    with (tmp_path / "a.sc").open("rb") as file:
        recording = read_container(file)
    payloads = list(recording.payloads)
    # more than any symbol could need
    payloads[20:22] = [payload + bytes(range(1, 9)) for payload in payloads[20:22] if payload]
    with (tmp_path / "a.sc").open("wb") as file:
        write_container(file, recording.header, payloads)
    capsys.readouterr()
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav", "--model", model_folder) == 0
    assert soundfile.info(tmp_path / "back.wav").duration == 1.0
    assert (
        f"2 of {len(payloads)} payloads are damaged and were concealed" in capsys.readouterr().err
    )


@pytest.mark.parametrize("content", [b"RIFF....", b"", b"SCV3\xff\xff"])
def test_a_malformed_file_is_one_line_and_status_2(
    content: bytes, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.sc").write_bytes(content)
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav", "--model", model_folder) == 2
    error = capsys.readouterr().err
    assert error.startswith("streamcodec: ")
    assert error.count("\n") == 1
    assert run("encode", tmp_path / "a.sc", tmp_path / "b.sc", "--model", model_folder) == 2
    assert "as audio" in capsys.readouterr().err


def test_a_file_of_another_model_is_refused(
    recording: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("encode", recording, tmp_path / "a.sc", "--model", model_folder)
    capsys.readouterr()
    assert run("decode", tmp_path / "a.sc", tmp_path / "back.wav") == 2
    assert "give the right one with --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bitrate", "7g"], "'7g' is no bit rate: write 6000, 6k or 1.5k"),
        (["--bitrate", "6k", "--quality", "0.5"], "--bitrate or --quality, not both"),
        (["--bitrate", "200"], "for 2 channels of this model, got 200"),
        (["--codec-device", "tpu"], "tpu"),
        (["--model", "nonesuch"], "no model nonesuch"),
    ],
)
def test_wrong_settings_are_one_line_and_status_2(
    arguments: list[str],
    complaint: str,
    recording: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = [] if "--model" in arguments else ["--model", model_folder]
    assert run("encode", recording, tmp_path / "a.sc", *model, *arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_settings_come_from_flags_then_environment_then_file(
    recording: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[encode]\nquality = 0.0\n")
    from_file = ("--config", settings)

    def size(before: tuple[object, ...], after: tuple[object, ...]) -> int:
        target = tmp_path / "a.sc"
        command = ("encode", recording, target, "--force", "--model", model_folder)
        assert run(*before, *command, *after) == 0
        return target.stat().st_size

    low, high = size((), ("--quality", "0")), size((), ("--quality", "1"))
    assert size(from_file, ()) == low < high
    monkeypatch.setenv("STREAMCODEC_ENCODE_QUALITY", "1")
    assert size(from_file, ()) == high
    assert size(from_file, ("--quality", "0")) == low


def test_a_settings_file_with_an_unknown_command_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("[sing]\nloud = true\n")
    assert run("--config", tmp_path / "s.toml", "info", tmp_path / "s.toml") == 2
    assert "no command sing" in capsys.readouterr().err


def test_two_channels_are_joint_stereo_at_14_kbit_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = np.stack([voice(4.0), 0.5 * voice(4.0, seed=1)], 1)
    soundfile.write(tmp_path / "both.wav", both, 16_000)
    assert run("encode", tmp_path / "both.wav", tmp_path / "both.sc") == 0
    capsys.readouterr()
    assert run("info", tmp_path / "both.sc") == 0
    told = capsys.readouterr().out
    assert "joint stereo, source 16000 Hz" in told
    assert 13 < float(told.partition(" kbit/s payload")[0].split()[-1]) < 15
    assert run("decode", tmp_path / "both.sc", tmp_path / "back.wav") == 0
    back, rate = soundfile.read(tmp_path / "back.wav")
    assert (back.shape, rate) == (both.shape, 16_000)
    assert np.std(back[:, 1]) == pytest.approx(np.std(both[:, 1]), rel=0.2)
