import pytest

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


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(COMMANDS, "train", ("no_such_module.cli:train", "train", ""))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "streamcodec: train needs no_such_module: install it with pip install 'streamcodec[train]'\n"
