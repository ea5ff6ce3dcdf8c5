import os
import sys
import types
from pathlib import Path

import pytest
import soundfile

from conftest import voice
from streamcodec_client.cli import COMMANDS, main


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage: streamcodec" in capsys.readouterr().out


def test_an_unknown_command_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "train", ("no_such_module.cli:train", "train", ""))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == (
        "streamcodec: train needs no_such_module: "
        "install it with pip install 'streamcodec[train]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "--bitrate", "nan"], "'nan' is no bit rate"),
        (["send", "--bitrate", "inf"], "'inf' is no bit rate"),
        (["send", "--duration", "nan"], "no number of seconds"),
        (
            ["train", "--data", ".", "--out", "x", "--steps", "1", "--config", "README.md"],
            "no shape of a network",
        ),
    ],
)
def test_malformed_numbers_and_files_are_one_line_and_status_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("tlak", "No such command 'tlak'. Did you mean 'talk'?"),
        ("bench latncy", "No such command 'latncy'. Did you mean 'latency'?"),
        ("send --bitrate 6", "6 bit/s is too little: did you mean 6k?"),
        ("encode x.wav --bitrate 1.5", "1.5 bit/s is too little: did you mean 1.5k?"),
        ("gateway --bitrate 6000k", "6000000 bit/s is too much: did you mean 6000?"),
        ("send --bitrate 0", "'0' is no bit rate: it must be above 0"),
        ("send --bitrate -6k", "'-6k' is no bit rate: it must be above 0"),
        ("listen --playout-ms 20-400", "'20-400' is no delay: did you mean 20..400?"),
        ("listen --playout-ms 20,400", "did you mean 20..400?"),
        ("talk --playout-ms 60ms", "did you mean 60?"),
        ("listen --playout-ms adaptiv", "did you mean adaptive?"),
        ("listen --playout-ms soon", "write 60, 20..400 or adaptive"),
        ("send --rate 6", "write 8000 to 192000 (Hz); a bit rate is --bitrate, such as 6k"),
        ("send --rate 48k", "'48k' is no sample rate: did you mean 48000?"),
        ("listen --rate 44", "did you mean 44100?"),
        ("listen --rate 5", "'5' is no sample rate: write 8000 to 192000 (Hz)"),
        ("listen --rate fast", "'fast' is no sample rate: write 8000 to 192000 (Hz)"),
        ("send --source x.wav --rate 48000", "--rate 48000 is for --source mic, tone and -, not"),
        ("send --source x.wav --channels 1", "a file has its own, which --mono mixes into one"),
        ("listen --sink x.opus --rate 44100", "cannot write x.opus: Opus has 8000"),
        ("listen --sink x.mp4", "no sink 'x.mp4'"),
        ("talk --sink no/x.wav --source tone", "cannot write no/x.wav: there is no folder no"),
        ("listen --sink null --trace no/t", "cannot write no/t: there is no folder no"),
        ("listen --device nonesuch", "device 'nonesuch'"),
        ("talk --source tone --device Buildin", "did you mean 'Built-in'?"),
        ("send --device Buildin", "did you mean 'Built-in'?"),
    ],
)
def test_wrong_values_are_refused_before_a_model_is_loaded(
    command: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def load_codec(*asked: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("streamcodec_client.commands.live.load_codec", load_codec)
    monkeypatch.setitem(sys.modules, "sounddevice", devices_named("Built-in", "Headset"))
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def devices_named(*names: str) -> types.ModuleType:
    """The package sounddevice on a machine with these devices."""

    def query_devices(wanted: str | None = None, kind: str | None = None) -> object:
        if kind is None:
            return [{"name": name} for name in names]
        raise ValueError(f"No {kind} device matching {wanted!r}")

    module = types.ModuleType("sounddevice")
    vars(module).update(query_devices=query_devices, PortAudioError=RuntimeError)
    return module


def test_a_rate_that_the_model_lacks_costs_no_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, trace = tmp_path / "yesterday.wav", tmp_path / "trace"
    soundfile.write(recording, voice(0.2), 16_000)
    trace.write_text("yesterday")
    before = recording.read_bytes()
    rest = f"--source tone --bitrate 900k --trace {trace}".split()
    assert main(["talk", "--sink", str(recording), "--force", *rest]) == 2
    assert main(["send", "--force", *rest]) == 2
    assert capsys.readouterr().err.count("bit rate must be") == 2
    assert (recording.read_bytes(), trace.read_text()) == (before, "yesterday")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("listen", "--sink"),
        ("talk --source tone", "--sink"),
        ("listen --sink null", "--trace"),
        ("listen --sink null", "--record-trace"),
        ("send --source tone", "--trace"),
        ("talk --source tone --sink null", "--trace"),
        ("talk --source tone --sink null", "--listen-trace"),
    ],
)
def test_a_file_that_is_there_is_written_anew_only_with_force(
    command: str, output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "yesterday.wav"
    there.write_bytes(b"yesterday")
    asked = [*command.split(), "--url", "ws://127.0.0.1:1", "--duration", "0.05", output]
    assert main([*asked, str(there)]) == 2
    assert f"{output} {there} is there already: --force writes it" in capsys.readouterr().err
    assert there.read_bytes() == b"yesterday"
    assert main([*asked, str(there), "--force"]) == 2
    assert "no connection" in capsys.readouterr().err
    assert there.read_bytes() != b"yesterday"
    if output != "--sink":
        assert main([*asked, os.devnull]) == 2
        assert "no connection" in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["--room=", "--name=", "--room=" + 65 * "a"])
def test_a_name_that_no_relay_takes_is_refused_at_once(
    flags: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "--sink", "null", flags]) == 2
    assert "must be 1 to 64 printable characters" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line_and_status_2(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", voice(0.2), 16_000)
    target = tmp_path / "no-such-folder" / "a.sc"
    assert main(["encode", str(tmp_path / "a.wav"), str(target), "--model", str(model_folder)]) == 2
    said = f"streamcodec: cannot write {target}: there is no folder {target.parent}\n"
    assert capsys.readouterr().err == said


def test_a_wrong_model_name_costs_no_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "yesterday.wav"
    soundfile.write(target, voice(0.2), 16_000)
    before = target.read_bytes()
    assert main(["listen", "--sink", str(target), "--model", "nonesuch"]) == 2
    assert target.read_bytes() == before
    assert main(["talk", "--source", str(target), "--sink", str(target)]) == 2
    assert target.read_bytes() == before
    assert "--source and --sink are the same file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("send = 5", "send stands outside a table"),
        ("[sing]\nx = 1", "no command sing"),
        ('[send]\nbitrat = "9k"', "no setting 'bitrat'"),
        ("[bench.latency]\npackets = 1", "[bench.latency] has no setting 'packets'"),
        ("[send", "is no TOML file"),
    ],
)
def test_unknown_settings_are_refused(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(settings)
    command = ["bench", "latency"] if "bench" in settings else ["send"]
    assert main(["--config", str(file), *command, "--help"]) == 2
    assert said in capsys.readouterr().err


def test_settings_are_named_after_flags_in_the_file_and_in_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcodec_client.commands.devices.list_devices", list)
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == ""
    file = tmp_path / "settings.toml"
    file.write_text("[devices]\njson = true")
    assert main(["--config", str(file), "devices"]) == 0
    assert capsys.readouterr().out == "[]\n"
    monkeypatch.setenv("STREAMCODEC_DEVICES_JSON", "1")
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == "[]\n"
