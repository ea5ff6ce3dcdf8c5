"""`streamcodec encode` and `decode` of whole folders."""

from pathlib import Path

import pytest
import soundfile

from conftest import voice
from streamcodec_client.cli import main


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings, one of them in a folder below, and what is no audio."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    soundfile.write(folder / "a.wav", voice(0.3), 16_000)
    soundfile.write(folder / "deep" / "b.FLAC", voice(0.2, 8_000), 8_000, format="FLAC")
    soundfile.write(folder / "deep" / "er" / "c.ogg", voice(0.4), 16_000)
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_text("no audio")
    return folder


def test_a_folder_is_encoded_and_decoded_under_the_same_names(
    recordings: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded, back, model = tmp_path / "sc", tmp_path / "back", ("--model", model_folder)
    assert run("encode", recordings, coded, "--quality", "1", "--jobs", "2", *model) == 0
    assert "3 written" in capsys.readouterr().err
    assert names(coded) == ["a.sc", "deep/b.sc", "deep/er/c.sc"]
    assert run("decode", coded, back, "--format", "flac", "--jobs", "1", *model) == 0
    assert names(back) == ["a.flac", "deep/b.flac", "deep/er/c.flac"]
    assert soundfile.info(back / "deep" / "b.flac").frames == 1_600
    # the same bytes as of a single file
    assert run("encode", recordings / "a.wav", tmp_path / "a.sc", "--quality", "1", *model) == 0
    assert (tmp_path / "a.sc").read_bytes() == (coded / "a.sc").read_bytes()


def test_one_file_that_fails_is_named_and_the_others_go_on(
    recordings: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "sc"
    (recordings / "bad.wav").write_text("no audio")
    soundfile.write(recordings / "a.flac", voice(0.1), 16_000)
    assert run("encode", recordings, coded, "--quality", "1", "--model", model_folder) == 1
    error = capsys.readouterr().err
    assert f"cannot read {recordings / 'bad.wav'} as audio" in error
    # two files of one name would be one after the other in the same place
    assert f"{recordings / 'a.wav'}: {recordings / 'a.flac'} is written to" in error
    assert "3 written, 2 failed" in error
    assert names(coded) == ["a.sc", "deep/b.sc", "deep/er/c.sc"]


def test_what_is_there_is_skipped_unless_forced(
    recordings: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "sc"
    (coded / "deep").mkdir(parents=True)
    (coded / "a.sc").write_text("mine")
    arguments = ("encode", recordings, coded, "--quality", "1", "--model", model_folder)
    assert run(*arguments) == 0
    assert "2 written, 1 were there already" in capsys.readouterr().err
    assert (coded / "a.sc").read_text() == "mine"
    assert run(*arguments) == 0
    assert "0 written, 3 were there already" in capsys.readouterr().err
    assert run(*arguments, "--force") == 0
    assert (coded / "a.sc").read_bytes() != b"mine"


def test_an_input_is_never_overwritten(
    recordings: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = recordings / "a.wav", ("--model", model_folder)
    before = path.read_bytes()
    assert run("encode", path, path, *model) == 2
    assert "is given twice: TARGET must end in .sc" in capsys.readouterr().err
    assert path.read_bytes() == before
    coded = tmp_path / "sc"
    coded.mkdir()
    (coded / "a.sc").symlink_to(path)
    assert run("encode", recordings, coded, "--quality", "1", "--force", *model) == 1
    assert "is one of the files that are read" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        (".", "in/a.wav", "a file: name a folder to write into"),
        ("in/a.wav", ".", "is a folder, and"),
        ("empty", "out", "empty holds no files that end in .aif, .aiff"),
    ],
)
def test_a_folder_and_a_file_are_told_apart(
    source: str,
    target: str,
    complaint: str,
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    assert run("encode", tmp_path / source, tmp_path / target) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert names(recordings.parent / "empty") == []


def test_the_format_of_a_single_file_is_its_ending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.sc").write_text("")
    assert run("decode", tmp_path / "a.sc", tmp_path / "a.wav", "--format", "flac") == 2
    assert "--format is for files without a TARGET" in capsys.readouterr().err


def test_without_a_model_nothing_is_started(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encode", recordings, tmp_path / "out", "--model", "nonesuch") == 2
    assert "no model nonesuch" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
