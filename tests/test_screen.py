"""The screen of a live session: what it shows at any width, and what its keys do."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.cells import cell_len

from listening_room import Room, speak
from streamcodec.wire.session import Mute
from streamcodec_client.audio.level import FLOOR_DB, SILENCE, Level, LevelMeter
from streamcodec_client.live.controls import HELD_S, STEP_DB, Controls
from streamcodec_client.live.volumes import LEAST_DB, MOST_DB, Volumes
from streamcodec_client.screen.keys import keys_in
from streamcodec_client.screen.noise import Noise
from streamcodec_client.screen.stutter import COMPUTER, Stutter
from streamcodec_client.screen.view import (
    BAR_CELLS,
    Myself,
    Notice,
    Person,
    View,
    bar,
    lines_of,
    quality_of,
)

LOUD = Level(-20.0, -6.0)
VIEW = View(
    "lobby at ws://relay.example:8765",
    "connected",
    True,
    3_723.4,
    12.0,
    Myself("Ada", LOUD, bps=6_012.0, heard_by=2),
    (
        Person("1", "Bob", LOUD, False, 67.0, 4.3),
        Person("2", "Cleopatra Philopator of Egypt", Level(), False, 310.0, 3.2, 4.0, 3.0),
        Person("3", "\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57", muted=True, chosen=True),
        Person("", "Eve", LOUD, volume_db=None),
    ),
    notices=(Notice("Bob joined"), Notice("disconnected: the relay went away " * 4, warns=True)),
)


def shown(view: View, width: int) -> list[str]:
    return [line.plain for line in lines_of(view, width)]


@pytest.mark.parametrize("width", [20, 50, 60, 80, 100, 200])
@pytest.mark.parametrize("help_open", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, help_open: bool) -> None:
    lines = shown(dataclasses.replace(VIEW, help_open=help_open), width)
    assert max(cell_len(line) for line in lines) <= width
    assert lines[0].endswith("1:02:03")


def test_at_50_columns_everybody_still_has_a_meter() -> None:
    rows = shown(VIEW, 50)
    assert re.search(r"^   Ada +\S{20} on air +6\.0 ", rows[2])
    assert re.search(r"^ 1 Bob +\S{20} talking +67 ", rows[3])


def test_everybody_has_a_row_with_a_meter_and_a_word() -> None:
    text = "\n".join(shown(VIEW, 100))
    assert "lobby at ws://relay.example:8765  connected, round trip 12 ms" in text
    assert re.search(r" Ada +\S{20} on air +6\.0 kbit/s, heard by 2", text)
    assert re.search(r" 1 Bob +\S{20} talking +67 ms good\n", text)
    assert re.search(
        r" 2 Cleopatra Philopator\S* of\S+ \S{20} +310 ms poor: 4 % lost, long delay \+3 dB", text
    )
    assert re.search(r" 3 \S+ +\S{20} muted", text)
    assert re.search(r" Eve +\u00b7{20} not heard", text)


@pytest.mark.parametrize(
    ("me", "word"),
    [
        (Myself("Ada", muted=True), "muted"),
        (Myself("Ada", muted=True, push_to_talk=True), "hold space to talk"),
        (Myself("Ada", connected=False, bps=6_000.0), "not connected"),
        (Myself("Ada", Level(-3.0, 0.0, clipping=True)), "clipping"),
        (Myself("Ada", Level(silent_s=4.0)), "silent"),
        (Myself("Ada", lost_ms=30.0), "30 ms not captured"),
        (Myself("Ada", bps=6_000.0, finished=True), "has ended, you listen"),
        (Myself("Ada", muted=True, finished=True), "has ended, you listen"),
    ],
)
def test_the_own_microphone_says_what_is_wrong_with_it(me: Myself, word: str) -> None:
    row = next(line for line in shown(dataclasses.replace(VIEW, myself=me), 100) if "Ada" in line)
    assert word in row


def test_an_empty_room_a_slow_computer_and_no_connection_are_told() -> None:
    alone = dataclasses.replace(VIEW, people=())
    assert "   nobody else talks here" in shown(alone, 80)
    away = dataclasses.replace(alone, connected=False, state="no connection: refused")
    assert "no connection: refused" in shown(away, 80)[0]
    assert "   nobody else talks here" not in shown(away, 80)
    slow = dataclasses.replace(VIEW, troubles=("this computer does not keep up",))
    assert "this computer does not keep up" in shown(slow, 80)


def stuttered(slowest_ms: float, late_s: float, loudspeaker: str | None = "HDMI") -> str:
    """What is told after 10 s, of which the last 5 had three underruns."""
    stutter = Stutter(0.0)
    for tenth in range(101):
        at_s = tenth / 10
        stutter.woke(at_s, at_s - (late_s if tenth == 80 else 0.001))
        underruns = 7 if tenth == 100 else 4
        told = stutter.reason(at_s, underruns, slowest_ms, loudspeaker)
    return told


def test_who_stutters_is_named() -> None:
    assert stuttered(2.0, 0.2) == stuttered(30.0, 0.0) == COMPUTER
    assert stuttered(2.0, 0.01) == (
        "the loudspeaker HDMI takes sound unevenly and stutters: try another (d)"
    )
    assert stuttered(2.0, 0.01, None) == "what is heard is not taken in time: it has gaps"


def test_a_few_underruns_and_those_of_the_beginning_are_no_stutter() -> None:
    stutter = Stutter(0.0)
    assert stutter.reason(0.0, 0, 30.0, None) == ""
    assert stutter.reason(2.0, 9, 30.0, None) == ""
    for second in range(3, 20):
        assert stutter.reason(second, 9, 30.0, None) == (COMPUTER if second == 5 else "")
    assert stutter.reason(20.0, 11, 30.0, None) == ""


def test_a_meter_shows_level_and_peak() -> None:
    assert bar(SILENCE).plain == "\u00b7" * BAR_CELLS
    assert bar(Level(-30.0, -30.0)).plain == "\u2588" * 10 + "\u00b7" * 10
    assert bar(Level(-30.0, -6.0)).plain == "\u2588" * 10 + "\u00b7" * 7 + "\u2502\u00b7\u00b7"
    assert bar(Level(0.0, 3.0)).plain == "\u2588" * BAR_CELLS


def test_quality_has_a_reason() -> None:
    assert quality_of(Person("1", "Bob"))[0] == ""
    assert quality_of(Person("1", "Bob", mos=4.2, concealed_percent=3.0))[0] == "good"
    assert quality_of(Person("1", "Bob", mos=3.7, concealed_percent=3.0))[0] == "fair: 3 % lost"
    far = Person("1", "Bob", mos=3.0, mouth_to_ear_ms=400.0)
    assert quality_of(far)[0] == "poor: long delay"


def test_a_level_follows_sound_and_its_peak_is_held_for_a_while() -> None:
    meter = LevelMeter(16_000)
    assert meter.level == SILENCE
    tone = 0.5 * np.sin(np.arange(1_600) * 0.3).astype(np.float32)[:, None]
    for _ in range(10):
        meter.add(tone)
    assert meter.level.db == pytest.approx(-9.03, abs=0.1)
    assert meter.level.peak_db == pytest.approx(-6.02, abs=0.05)
    assert not meter.level.clipping
    quiet = np.zeros((1_600, 1), np.float32)
    for _ in range(10):
        meter.add(quiet)
    assert meter.level.db < -40
    assert meter.level.peak_db == pytest.approx(-6.02, abs=0.05)
    assert meter.level.silent_s == pytest.approx(1.0)
    for _ in range(10):
        meter.add(quiet)
    assert meter.level.peak_db == FLOOR_DB
    meter.add(np.ones((160, 2), np.float32))
    assert meter.level.clipping
    assert meter.level.silent_s == 0


class Microphone:
    muted = False

    def mute(self, muted: bool) -> None:
        self.muted = muted


class Ears:
    volumes = Volumes()


def pressed(
    controls: Controls, keys: str, streams: Sequence[int] = (7, 9), at_s: float = 0
) -> None:
    for key in keys:
        controls.press(key, streams, at_s)


def test_keys_mute_choose_and_change_volumes() -> None:
    microphone, ears, left = Microphone(), Ears(), []
    controls = Controls(microphone, ears, lambda: left.append(True))
    pressed(controls, "m")
    assert microphone.muted
    pressed(controls, "m ")  # a space is nothing without push-to-talk
    assert not microphone.muted
    pressed(controls, "++-")
    assert ears.volumes.overall_db == STEP_DB
    pressed(controls, "2--x39z")
    assert controls.chosen == 9
    assert ears.volumes.stream_db == {9: -2 * STEP_DB}
    assert ears.volumes.muted == {9}
    assert ears.volumes.gain(9) == 0.0
    assert ears.volumes.gain(7) == pytest.approx(10 ** (STEP_DB / 20))
    pressed(controls, "x2")
    assert ears.volumes.muted == frozenset()
    assert controls.chosen is None
    pressed(controls, "1")
    controls.tick([9], 0)  # that person has left
    assert controls.chosen is None
    pressed(controls, "?")
    assert controls.help_open
    assert not left
    pressed(controls, "q")
    assert left == [True]


def test_volumes_stay_within_bounds_and_unity_changes_nothing() -> None:
    volumes = Volumes()
    assert volumes.gain(1) == 1.0
    for _ in range(30):
        volumes = volumes.changed(3.0)
    assert volumes.overall_db == MOST_DB
    for _ in range(30):
        volumes = volumes.changed(-3.0, 4)
    assert volumes.stream_db == {4: LEAST_DB}


def test_with_push_to_talk_one_is_heard_while_the_space_bar_is_held() -> None:
    microphone = Microphone()
    controls = Controls(microphone, None, lambda: None, push_to_talk=True)
    assert microphone.muted
    pressed(controls, " ", at_s=1.0)
    assert not microphone.muted
    controls.tick([], 1.0 + HELD_S - 0.1)
    pressed(controls, " ", at_s=1.0 + HELD_S - 0.1)
    controls.tick([], 1.0 + HELD_S + 0.1)
    assert not microphone.muted
    controls.tick([], 1.0 + 2 * HELD_S)
    assert microphone.muted
    pressed(controls, "m", at_s=9.0)  # hands-free after all
    controls.tick([], 99.0)
    assert not microphone.muted


def test_who_only_listens_has_nothing_to_mute_and_who_only_talks_nothing_to_turn_up() -> None:
    pressed(Controls(None, Ears(), lambda: None, push_to_talk=True), "m +-1x")
    pressed(Controls(Microphone(), None, lambda: None), "+-1x")


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"m", ["m"]),
        (b"+-1", ["+", "-", "1"]),
        (b"\x1b[A m\x1bOP\x1b[15~q", [" ", "m", "q"]),
        ("\u00e4m".encode(), ["\u00e4", "m"]),
        (b"\xffm", ["m"]),
    ],
)
def test_keys_are_characters_and_arrows_are_nothing(typed: bytes, keys: list[str]) -> None:
    assert keys_in(typed) == keys


async def test_a_receiver_has_levels_and_volumes_of_its_talkers() -> None:
    room = Room()
    room.welcome()
    room.joins(3)
    heard = await speak(room, 4, lambda: room.says(3, 0.5))
    assert heard[-1] == 0.5
    assert room.receiver.levels[3].peak_db == pytest.approx(-6.02, abs=0.1)
    room.receiver.volumes = Volumes().changed(-6.0, 3)
    heard = await speak(room, 4, lambda: room.says(3, 0.5))
    assert heard[-1] == pytest.approx(0.25, abs=0.002)
    room.receiver.volumes = Volumes(muted=frozenset({3}))
    assert (await speak(room, 4, lambda: room.says(3, 0.5)))[-1] == 0
    # the meter still shows that somebody talks
    assert room.receiver.levels[3].peak_db == pytest.approx(-6.02, abs=0.1)
    room.receiver.message(Mute(muted=True, stream=3))
    await room.hears(1)
    assert room.receiver.muted_streams == {3}
    await room.hears(200)
    assert room.receiver.levels[3].db < -60  # nothing is heard of whoever sends nothing
    assert room.receiver.levels[3].peak_db == FLOOR_DB
    await room.close()


def test_what_libraries_write_to_standard_error_is_kept_from_the_screen() -> None:
    code = (
        "import os\n"
        "from streamcodec_client.screen.noise import Noise\n"
        "noise = Noise()\n"
        "with noise.caught() as terminal:\n"
        "    os.write(2, b'ALSA lib pcm.c: Unknown PCM\\n')\n"
        "    print('screen', file=terminal)\n"
        "os.write(2, b'after\\n')\n"
        "print(list(noise.lines))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "screen\nafter\n"
    assert ran.stdout == "['ALSA lib pcm.c: Unknown PCM']\n"


def test_noise_begins_empty() -> None:
    assert not Noise().lines


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def in_terminal(arguments: Sequence[str], *steps: tuple[str, str | int]) -> tuple[str, int]:
    """Runs a command in a terminal of 80 columns; once it has shown the text of a step presses its
    keys, or gives the terminal so many columns -> all that it wrote, and its status.
    """
    process, terminal = pty.fork()
    if not process:
        resize(0, 80)
        # whole: readline, which pytest loads, sets COLUMNS for children without Python's knowing
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        command = [sys.executable, "-m", "streamcodec_client", *arguments]
        os.execve(sys.executable, command, environment | {"TERM": "xterm"})
    seen, begin, end, waiting = "", 0, time.monotonic() + 60, list(steps)
    try:
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(terminal, 65_536)
            except OSError:  # it has ended
                break
            seen += data.decode(errors="replace")
            if waiting and waiting[0][0] in seen[begin:]:
                begin, (_, does) = len(seen), waiting.pop(0)
                if isinstance(does, int):
                    resize(terminal, does)
                else:
                    os.write(terminal, does.encode())
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return seen, status


@pytest.fixture
def url() -> Iterator[str]:
    """Of a relay."""
    serve = [sys.executable, "-m", "streamcodec_client", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            yield relay.stdout.readline().split("listening on ")[1].split()[0]
        finally:
            relay.terminate()


def test_talk_in_a_terminal_shows_a_screen_and_leaves_it_as_it_was(url: str) -> None:
    talk = ["talk", "--url", url, "--source", "tone", "--sink", "null", "--name", "Ada"]
    nothing = "none to choose: a tone is sent"
    seen, status = in_terminal(talk, ("on air", "md"), (nothing, "dq"))
    assert status == 0
    seen = re.sub(r"\x1b\[(?!\?25h)[0-9;?]*[a-zA-Z]", "", seen)  # colours and movements
    assert "connected, round trip" in seen
    assert "nobody else talks here" in seen
    assert "none to choose: nothing is played" in seen
    assert "sent: payload" in seen.rpartition("\x1b[?25h")[2]  # behind the cursor's return


def test_a_file_that_has_ended_is_told_and_one_goes_on_listening(url: str, tmp_path: Path) -> None:
    said = tmp_path / "said.wav"
    soundfile.write(said, np.zeros(8_000), 16_000)
    talk = ["talk", "--url", url, "--source", str(said), "--sink", "null", "--name", "Ada"]
    seen, status = in_terminal(talk, ("has ended, you listen", "q"))
    assert status == 0
    assert "said.wav has ended: you listen until you leave" in seen


def test_a_terminal_that_becomes_narrow_is_drawn_anew(url: str) -> None:
    talk = ["talk", "--url", url, "--source", "tone", "--sink", "null", "--name", "Ada"]
    # once more what was broken into several lines would stand above the screen
    seen, status = in_terminal(talk, ("on air", 50), ("\x1b[2J\x1b[H", "q"))
    assert status == 0
    wide, _, narrow = seen.partition("\x1b[2J\x1b[H")
    assert wide
    shown = re.sub(r"\x1b\[(?!\?25h)[0-9;?]*[a-zA-Z]", "", narrow).partition("\x1b[?25h")[0]
    assert "Ada" in shown
    assert max(cell_len(line) for line in re.split(r"[\r\n]+", shown)) <= 50
