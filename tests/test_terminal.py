"""What users read on stderr: lines no wider than their terminal, under the names they gave."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.cells import cell_len
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from conftest import voice
from fakes import ManualClock
from streamcodec.errors import StreamcodecError
from streamcodec.terminal import fitted
from streamcodec_client.cli import main
from streamcodec_client.commands import recordings
from streamcodec_client.live.member import Member, Seat
from streamcodec_client.live.session import LiveSettings, run_live
from streamcodec_client.report.reporter import Reporter
from streamcodec_client.report.statistics import ListenerReport, SenderStatistics
from streamcodec_client.transport.failures import Progress, failure


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


SAID = "streamcodec: cannot read a-recording.wav as audio: it holds no sound, and two-part-words"


def test_a_terminal_gets_lines_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = fitted(SAID, Terminal()).split("\n")
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines) == SAID
    assert lines[1].startswith("  ")
    url = "ws://" + 90 * "x"
    assert fitted(f"no relay at {url}: refused", Terminal()).split("\n")[1].strip() == f"{url}:"
    assert fitted("short  and  spaced", Terminal()) == "short  and  spaced"


def test_a_file_gets_a_line() -> None:
    assert fitted(SAID, io.StringIO()) == SAID


def test_an_error_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert main(["send", "--url", "tcp://x", "--source", "tone"]) == 2
    said = terminal.getvalue()
    assert said.count("\n") == 2
    assert max(map(len, said.splitlines())) <= 80


async def test_an_error_does_not_continue_the_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(_: Member) -> None:
        raise StreamcodecError("the session failed")

    monkeypatch.setattr(Member, "leave", leave)
    monkeypatch.setattr(Member, "begin", lambda *parts: parts[1].close())
    monkeypatch.setattr(Member, "ends", leave)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    clock = ManualClock()
    reporter = Reporter(clock, as_json=False)
    reporter.second(False, None, None)
    assert terminal.getvalue().endswith("no connection")
    settings = LiveSettings(Seat("ws://127.0.0.1:1", "lobby", "Ada"), None, False)
    with pytest.raises(StreamcodecError, match="the session failed"):
        await run_live(settings, clock, reporter, None, None, [])
    assert terminal.getvalue().endswith("no connection\n")


@pytest.mark.parametrize("columns", [50, 100])
def test_a_status_line_fits_its_terminal_whatever_people_are_called(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    worst = ListenerReport("\u6f22\u5b57" * 20, 1.0, 90.0, 4.0)
    sent = SenderStatistics(9, 900, 1_800, 0, 0, 0.0, 0.0, 0.0, 0, 180.0, 0, (worst,))
    reporter = Reporter(ManualClock(), as_json=False)
    reporter.second(True, sent, None, 12.0)
    line = terminal.getvalue().removeprefix("\r\x1b[K")
    assert columns - 3 < cell_len(line) < columns  # a full line might be broken
    assert line.startswith("round trip 12 ms | ")


def test_lines_tell_trouble_with_the_microphone_when_it_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = Reporter(ManualClock(), as_json=True)
    reporter.trouble("others hear themselves")
    reporter.trouble("")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "others hear themselves; choose one with --device, or in the system's sound settings\n"
    )


def test_a_target_that_cannot_be_written_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recordings, "write_container", full)
    soundfile.write("a.wav", voice(0.1), 16_000)
    assert main(["encode", "a.wav", "out.sc"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("streamcodec: cannot write out.sc: no space left on the disk that")
    assert ".partial" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_standard_output_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", voice(0.1), 16_000)
    with open("/dev/full", "wb") as target:
        done = subprocess.run(
            [sys.executable, "-m", "streamcodec_client", "encode", tmp_path / "a.wav", "-"],
            stdout=target,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.returncode == 2
    assert done.stderr == (
        "streamcodec: cannot write /dev/stdout: no space left on the disk that holds /dev\n"
    )


def test_a_file_that_fails_among_several_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", voice(0.1), 16_000)
    Path("b.wav").write_text("no audio")
    assert main(["encode", "a.wav", "b.wav", "--jobs", "1"]) == 1
    assert capsys.readouterr().err.startswith("cannot read b.wav as audio: ")


def test_a_recording_with_a_sample_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.full(1_600, np.nan, np.float32), 16_000, subtype="FLOAT")
    assert main(["encode", "a.wav"]) == 2
    assert capsys.readouterr().err.startswith("streamcodec: a.wav: PCM holds ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b"this relay speaks the websocket subprotocol streamcodec.v1\n",
            "the relay speaks streamcodec.v1, and this program streamcodec.v3",
        ),
        (b"", "the server answers with HTTP 426: is it a streamcodec relay?"),
    ],
)
def test_a_relay_of_another_version_is_named(body: bytes, said: str) -> None:
    error = InvalidStatus(Response(426, "Upgrade Required", Headers(), body))
    failed = failure(error, "ws://relay", Progress(reached=True), None)
    assert failed.reason == said
    assert str(failed.refusal) == f"ws://relay: {said}"
