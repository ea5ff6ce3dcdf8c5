"""No command may write over what it reads, nor two outputs into one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from conftest import voice
from streamcodec.errors import ConfigError
from streamcodec.files import check_paths
from streamcodec_bench.demo import demo
from streamcodec_bench.samples import samples
from streamcodec_client.cli import main

SEND = "send --url ws://127.0.0.1:1 --duration 1 --name Ann"
LISTEN = "listen --url ws://127.0.0.1:1 --duration 1 --name Ann"
TALK = "talk --url ws://127.0.0.1:1 --duration 1 --name Ann"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with a recording under several names."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("t.wav", voice(0.2), 16_000)
    Path("below").mkdir()
    Path("link.wav").symlink_to("t.wav")
    os.link("t.wav", "hard.wav")
    Path("dangling.wav").symlink_to("new.wav")
    Path("s.toml").write_text("[send]\nmono = true\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (f"{SEND} --source t.wav --trace t.wav", "--source and --trace"),
        (f"{SEND} --source t.wav --trace ./below/../t.wav", "--source and --trace"),
        (f"{SEND} --source t.wav --trace link.wav", "--source and --trace"),
        (f"{SEND} --source link.wav --trace t.wav", "--source and --trace"),
        (f"{SEND} --source t.wav --trace hard.wav", "--source and --trace"),
        (f"--config s.toml {SEND} --source tone --trace s.toml", "--config and --trace"),
        (f"{TALK} --source t.wav --sink hard.wav", "--source and --sink"),
        (f"{TALK} --source t.wav --sink null --listen-trace t.wav", "--listen-trace"),
        (f"{TALK} --source tone --sink null --trace a --listen-trace ./a", "--listen-trace"),
        (f"{TALK} --source tone --sink new.wav --listen-trace dangling.wav", "--listen-trace"),
        (f"{LISTEN} --sink t.wav --trace link.wav", "--sink and --trace"),
        (f"{LISTEN} --sink new.wav --record-trace new.wav", "--sink and --record-trace"),
        (f"{LISTEN} --sink null --trace a --record-trace a", "--trace and --record-trace"),
    ],
)
def test_a_file_is_not_used_twice(
    command: str, names: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert names in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_samples_are_not_written_among_the_clips(folder: Path) -> None:
    for out in (".", "below", "below/../new"):
        with pytest.raises(ConfigError, match="lies in --data .: clips could be overwritten"):
            samples.main(["--data", ".", "--out", out], standalone_mode=False)
    assert not Path("new").exists()


def test_standard_streams_may_be_files_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("t.wav").read_bytes()
    with Path("t.wav").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main([*SEND.split(), "--source", "-", "--trace", "t.wav"]) == 2
        assert "--source and --trace are the same file" in capsys.readouterr().err
        assert main(["encode", "-", "t.wav", "--force"]) == 2
    assert Path("t.wav").read_bytes() == before


def test_files_of_a_model_are_inputs(
    folder: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = model_folder / "config.json"
    before = config.read_bytes()
    command = [*SEND.split(), "--source", "tone", "--model", str(model_folder), "--trace"]
    assert main([*command, str(config)]) == 2
    assert "--model and --trace are the same file" in capsys.readouterr().err
    assert config.read_bytes() == before


def test_a_demo_keeps_what_it_is_given(folder: Path) -> None:
    Path("t.wav").rename("decoded.wav")
    before = Path("decoded.wav").read_bytes()
    with pytest.raises(ConfigError, match="--source and --out are the same file, decoded.wav"):
        demo.main(["--source", "decoded.wav", "--out", "."], standalone_mode=False)
    assert Path("decoded.wav").read_bytes() == before


def test_several_inputs_and_devices_may_be_the_same(folder: Path) -> None:
    check_paths([("a", "t.wav"), ("b", "link.wav")], [("c", os.devnull), ("d", os.devnull)])
    check_paths([("a", None), ("b", "no/such/file")], [("c", None), ("d", Path("-"))])


def test_files_that_are_not_there_are_compared_too(folder: Path) -> None:
    for other in ("below/../new.wav", folder / "new.wav", "dangling.wav"):
        with pytest.raises(ConfigError, match="--sink and --trace are the same file, .*new|dangl"):
            check_paths([], [("--sink", "new.wav"), ("--trace", other)])
    with pytest.raises(ConfigError, match="same file"):
        check_paths([], [("--sink", "no/folder/new.wav"), ("--trace", "./no/folder/new.wav")])
