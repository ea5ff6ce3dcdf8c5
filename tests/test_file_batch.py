"""`streamcodec encode` and `decode`: which file is written where, pipes, and what is kept."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import voice
from streamcodec import StreamEncoder, encode, load_model, read_container, write_container
from streamcodec.coding.model import CodecModel
from streamcodec_client.cli import main
from streamcodec_client.commands import whole_files
from streamcodec_client.commands.folders import convert_all
from streamcodec_client.commands.options import CodecOptions
from streamcodec_client.commands.recordings import Done, Progress
from streamcodec_client.commands.targets import Job, Plan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with recordings of 0.3 s: a.wav and B.WAV."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", voice(0.3), 16_000)
    soundfile.write("B.WAV", voice(0.3, seed=1), 16_000)
    return tmp_path


def names() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def content() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in names()}


def run(command: str, *, standard_input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with real pipes."""
    return subprocess.run(
        [sys.executable, "-m", "streamcodec_client", *command.split()],
        input=standard_input,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_what_a_shell_makes_of_an_asterisk_becomes_a_file_each(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content()
    assert main(["encode", "a.wav", "B.WAV", "--jobs", "1"]) == 0
    error = capsys.readouterr().err
    assert re.search(r"2 written: 0\.60 s of sound, \d+\.\d\d kbit/s payload, \d+ x real", error)
    assert names() == ["B.WAV", "B.sc", "a.sc", "a.wav"]
    assert {name: content()[name] for name in before} == before
    # the same again keeps what is there
    Path("a.sc").write_text("mine")
    assert main(["encode", "a.wav", "B.WAV"]) == 0
    assert "0 written, 2 were there already (--force)" in capsys.readouterr().err
    assert Path("a.sc").read_text() == "mine"


def test_several_files_go_into_a_folder_under_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["encode", "a.wav", "B.WAV", "missing.wav", "--out-dir", "new/sc", "--jobs", "1"]
    assert main(command) == 2
    assert "no file missing.wav" in capsys.readouterr().err
    assert names() == ["B.WAV", "a.wav"]
    Path("bad.wav").write_text("no audio")
    command[3] = "bad.wav"
    assert main(command) == 1
    assert names() == ["B.WAV", "a.wav", "bad.wav", "new/sc/B.sc", "new/sc/a.sc"]
    assert main(["decode", "new/sc", "--format", "flac", "--jobs", "1"]) == 0
    assert names()[-4:] == ["new/sc/B.flac", "new/sc/B.sc", "new/sc/a.flac", "new/sc/a.sc"]


def test_a_single_file_has_a_name_by_default_and_is_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", "a.wav"]) == 0
    error = capsys.readouterr().err
    assert re.fullmatch(r"a\.sc: 0\.30 s of sound, .* kbit/s payload, \d+ x real time\n", error)
    kept = Path("a.sc").read_bytes()
    assert main(["encode", "a.wav", "a.sc", "--quality", "1"]) == 2
    assert "a.sc is there already: --force writes it anew" in capsys.readouterr().err
    assert Path("a.sc").read_bytes() == kept
    assert main(["encode", "a.wav", "--quality", "1", "--force"]) == 0
    assert Path("a.sc").read_bytes() != kept
    assert main(["decode", "a.sc", "--out-dir", "back"]) == 0
    assert soundfile.info("back/a.wav").frames == 4_800
    assert main(["info", "a.sc"]) == 0
    assert "source 16000 Hz, 0.30 s" in capsys.readouterr().out


def test_encode_decode_and_info_tell_one_rate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a single sample, whose payload holds 20 ms."""
    soundfile.write("short.wav", voice(0.1)[:1], 16_000)
    assert main(["encode", "short.wav"]) == 0
    assert main(["decode", "short.sc", "back.wav"]) == 0
    assert main(["encode", "a.wav", "short.wav", "--jobs", "1", "--out-dir", "both"]) == 0
    assert main(["info", "short.sc"]) == 0
    told = capsys.readouterr()
    *singly, together = re.findall(r"(\d+\.\d\d) kbit/s payload", told.err)
    assert singly == 2 * re.findall(r"(\d+\.\d\d) kbit/s payload", told.out)
    contents = [read_container(io.BytesIO(file.read_bytes())) for file in Path("both").glob("*.sc")]
    coded = [payload or b"" for content in contents for payload in content.payloads]
    assert together == f"{sum(map(len, coded)) * 8 / len(coded) / 20:.2f}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("encode a.wav a.wav", "a.wav is given twice: TARGET must end in .sc"),
        ("encode B.WAV B.WAV", "B.WAV is given twice: TARGET must end in .sc"),
        ("encode a.wav ./a.wav", "a.wav is given twice: TARGET must end in .sc"),
        ("decode a.wav", "a.wav is no file to read here: give one that ends in .sc"),
        ("encode kept.sc", "kept.sc is no file to read here: give one that ends in .aif"),
        ("info nope.sc", "no file nope.sc"),
        ("encode a.wav a.flac", "the target of a.flac are the same file, a.sc"),
        ("encode a.wav link.sc --force", "SOURCE and TARGET are the same file, link.sc"),
        ("encode a.wav hard.sc --force", "SOURCE and TARGET are the same file, hard.sc"),
        ("encode a.wav B.WAV b.sc", "b.sc is among several files to read"),
        ("encode a.wav b.txt", "no file b.txt; what is written must end in .sc"),
        ("encode a.wav kept.sc", "kept.sc is there already: --force"),
        ("encode a.wav below", "below is a folder, and a.wav a file: give --out-dir below"),
        ("encode a.wav B.WAV below", "below is a folder: convert it alone"),
        ("encode a.wav b.sc --out-dir below", "give a target, b.sc, or --out-dir below, not both"),
        ("encode a.wav B.WAV --out-dir kept.sc", "kept.sc is a file: name a folder"),
        ("encode a.wav no/folder/a.sc", "cannot write no/folder/a.sc: there is no folder"),
        ("encode - --out-dir below", "standard input has no name to take in --out-dir below"),
        ("decode kept.sc kept.mp3", "must end in .wav or .flac or .ogg or .oga or .opus"),
        ("decode kept.sc a.wav", "a.wav is there already: --force writes it anew"),
    ],
)
def test_what_would_lose_something_is_refused_before_anything_is_written(
    command: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("a.flac", voice(0.1), 16_000)
    Path("link.sc").symlink_to("a.wav")
    os.link("a.wav", "hard.sc")
    Path("kept.sc").write_text("mine")
    Path("below").mkdir()
    before = content()
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert content() == before


def test_a_failure_keeps_what_was_there(folder: Path) -> None:
    assert main(["encode", "a.wav"]) == 0
    Path("bad.wav").write_text("no audio")
    before = content()
    assert main(["encode", "bad.wav", "a.sc", "--force"]) == 2
    assert main(["decode", "bad.wav", "a.wav", "--force"]) == 2
    assert content() == before


def test_a_link_as_a_target_stays_a_link(folder: Path) -> None:
    Path("link.sc").symlink_to("real.sc")
    assert main(["encode", "a.wav", "link.sc"]) == 0
    assert Path("link.sc").is_symlink()
    assert main(["info", "real.sc"]) == 0


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus"])
def test_decode_writes_what_encode_reads(ending: str, folder: Path) -> None:
    assert main(["encode", "a.wav", "--quality", "1"]) == 0
    assert main(["decode", "a.sc", f"back.{ending}"]) == 0
    assert soundfile.info(f"back.{ending}").duration == pytest.approx(0.3)
    assert main(["encode", f"back.{ending}"]) == 0


def test_pipes_carry_what_files_hold(folder: Path) -> None:
    recording = Path("a.wav").read_bytes()
    assert main(["encode", "a.wav"]) == 0
    assert main(["decode", "a.sc", "back.wav"]) == 0
    coded, back = Path("a.sc").read_bytes(), Path("back.wav").read_bytes()
    for command in ("encode - piped.sc", "encode /dev/stdin piped.sc --force"):
        done = run(command, standard_input=recording)
        assert (done.returncode, done.stdout) == (0, b"")
        assert Path("piped.sc").read_bytes() == coded
    for command in ("encode a.wav -", "encode -", "encode a.wav /dev/stdout"):
        done = run(command, standard_input=recording)
        assert (done.returncode, done.stdout) == (0, coded)
        assert done.stderr.startswith((b"standard output: 0.30 s", b"/dev/stdout: 0.30 s"))
    assert run("decode -", standard_input=coded).stdout == back
    for command in ("info -", "info /dev/stdin"):
        told = run(command, standard_input=coded).stdout
        assert told == run("info a.sc", standard_input=b"").stdout
    flac = run("decode - --format flac", standard_input=coded).stdout
    assert soundfile.read(io.BytesIO(flac), dtype="int16")[0] == pytest.approx(
        soundfile.read("back.wav", dtype="int16")[0]
    )
    nothing = run("encode -", standard_input=b"")
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert nothing.stderr == (
        b"streamcodec: cannot read standard input as audio: it is empty (0 bytes)\n"
    )


def test_a_named_pipe_is_a_source_and_a_target(folder: Path) -> None:
    os.mkfifo("pipe")
    recording, got = Path("a.wav").read_bytes(), list[bytes]()
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(recording))
    writer.start()
    assert main(["encode", "pipe", "a.sc"]) == 0
    writer.join()
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    assert main(["encode", "a.wav", "pipe"]) == 0
    reader.join()
    assert got == [Path("a.sc").read_bytes()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "a.wav", "/dev/full"]) == 2
    said = "streamcodec: cannot write /dev/full: no space left on the disk that holds /dev"
    assert said in capsys.readouterr().err


def test_files_of_killed_recorders_are_encoded_with_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = bytearray(Path("a.wav").read_bytes())
    at = sound.index(b"data") + 4
    sound[at : at + 4] = bytes(4)
    Path("killed.wav").write_bytes(sound)
    assert main(["encode", "killed.wav"]) == 0
    error = capsys.readouterr().err
    assert "killed.wav: its header says 0 samples" in error
    assert "killed.sc: 0.30 s of sound" in error
    soundfile.write("nothing.wav", np.zeros((0, 1)), 16_000)
    assert main(["encode", "nothing.wav"]) == 2
    assert "cannot read nothing.wav as audio: it holds no sound (0 samples)" in (
        capsys.readouterr().err
    )
    assert not Path("nothing.sc").exists()


def test_encode_and_send_take_the_same_channels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("six.wav", np.repeat(voice(0.2)[:, None], 6, 1), 16_000)
    assert main(["encode", "six.wav"]) == 2
    assert "six.wav has 6 channels; at most 2 can be coded: --mono mixes them" in (
        capsys.readouterr().err
    )
    assert main(["encode", "six.wav", "--mono"]) == 0


def test_a_file_of_which_nothing_can_be_decoded_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", "a.wav", "--quality", "0.5"]) == 0
    whole = Path("a.sc").read_bytes()
    header_end = whole.index(b"}", whole.index(b'"payloads"')) + 1 + 4  # a checksum follows it
    Path("cut.sc").write_bytes(whole[:header_end])
    assert main(["decode", "cut.sc"]) == 2
    assert "cut.sc: none of its payloads can be decoded" in capsys.readouterr().err
    assert not Path("cut.wav").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="TerminateProcess asks nobody")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("several", [False, True])
def test_a_signal_leaves_nothing_half_written(
    folder: Path, number: signal.Signals, several: bool
) -> None:
    write_long_recordings()
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_DFL)  # also where the tests run under nohup
    before = names()
    arguments = ["long.sc", "longer.sc", "--jobs", "2"] if several else ["long.sc"]
    with decoding(*arguments) as process:
        wait_for_partials(process, 2 if several else 1)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + number, "")
    assert names() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
def test_ctrl_c_ends_the_conversion_of_several_files_and_all_its_processes(folder: Path) -> None:
    write_long_recordings()
    before = names()
    # In the background, the suite inherits that SIGINT is ignored, and would hand that on.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = decoding("long.sc", "longer.sc", "--jobs", "2", start_new_session=True)
    signal.signal(signal.SIGINT, handler)
    with begun as process:
        wait_for_partials(process, 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert names() == before
    with contextlib.suppress(ProcessLookupError):  # raised when the last of them has ended
        for _ in range(600):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("processes go on behind the end of the command")


class Interruptible:
    """A conversion that says whether Ctrl-C could end its process when it came there."""

    ending = ".sc"

    def __reduce__(self) -> tuple[Callable[[], Interruptible], tuple[()]]:
        return Interruptible, ()

    def __init__(self) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.said = "blocked" if signal.SIGINT in blocked else "not blocked"

    def __call__(
        self, model: CodecModel, source: Path, target: Path, name: str, progress: Progress
    ) -> Done:
        target.touch()
        return Done(0.3, 1, 0.3, (self.said,))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no masks of signals")
def test_ctrl_c_reaches_no_process_that_begins(folder: Path, model_folder: Path) -> None:
    """It would print where it was; this one has not come to `_begin` when it looks."""
    jobs = [Job(Path("a.wav"), Path("a.sc"), 1)]
    codec = CodecOptions(str(model_folder), "cpu", "auto", "auto")
    outcome = convert_all(Plan(jobs), Interruptible(), codec, 1)
    assert (outcome.warnings, outcome.failures) == (["blocked"], [])
    assert Interruptible().said == "not blocked"


def test_a_name_as_long_as_the_system_allows_is_written(folder: Path) -> None:
    for letter in ("a", "\u4e2d"):
        name = letter * (251 // len(letter.encode()))
        source = Path(name).with_suffix(".wav")
        Path("a.wav").rename(source)
        assert main(["encode", str(source), "--quality", "0.5"]) == 0
        assert source.with_suffix(".sc").is_file()
        assert not [*Path().glob(".partial-*")]
        source.rename("a.wav")


def test_a_name_too_long_for_the_disk_is_the_one_that_was_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a disk takes shorter names than we think."""
    monkeypatch.setattr(whole_files, "LONGEST_NAME", 1_000)
    name = f"{'n' * 246}.sc"
    assert main(["encode", "a.wav", name]) == 2
    assert f"cannot write {name}: File name too long" in capsys.readouterr().err


def write_long_recordings() -> None:
    """Two of half an hour: they are not decoded before a signal comes."""
    encoder = StreamEncoder(load_model("voice-16k", "cpu"), quality=0.5)
    payloads = [*encode(voice(1.0), encoder)] * 2_000
    for name in ("long.sc", "longer.sc"):
        with Path(name).open("wb") as file:
            write_container(file, encoder.header(payloads=len(payloads)), payloads)


def decoding(*arguments: str, start_new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamcodec_client", "decode", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=start_new_session,
    )


def wait_for_partials(process: subprocess.Popen[str], count: int) -> None:
    begun_s = time.monotonic()
    while len([*Path().glob(".partial-*")]) < count:
        assert process.poll() is None
        assert time.monotonic() < begun_s + 60
        time.sleep(0.02)
