"""The list of sound devices in a call: what it shows, what its keys do, and when it looks anew."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any

import pytest
from rich.cells import cell_len

from fakes import SAMPLE_RATE, ManualClock, ScriptedSource
from streamcodec.errors import AudioError
from streamcodec_client.audio import devices as sound
from streamcodec_client.audio.devices import MicrophoneSource, SoundDevice, newest_devices
from streamcodec_client.audio.paced import Discard, PacedSink
from streamcodec_client.audio.portaudio import Library
from streamcodec_client.commands.live_devices import loudspeaker, microphone
from streamcodec_client.live.controls import Controls
from streamcodec_client.live.device_menu import DeviceMenu, Part, choices
from streamcodec_client.screen.keys import keys_in
from streamcodec_client.screen.view import LEAST_WIDTH, View, lines_of
from test_screen import VIEW, Ears, Microphone, pressed


def device(
    index: int,
    name: str,
    inputs: int = 1,
    outputs: int = 2,
    host: str = "ALSA",
    *,
    default: bool = False,
) -> SoundDevice:
    return SoundDevice(index, name, host, inputs, outputs, 48_000, 1.0, 1.0, default, default)


FOUND = [
    device(0, "built-in", default=True),
    device(1, "headset"),
    device(2, "webcam", outputs=0),
    device(3, "hdmi", inputs=0),
]


class Chosen:
    """A microphone or loudspeaker of a call."""

    def __init__(self, index: int | None = 0) -> None:
        self.index, self.asked = index, list[str]()
        self.name = "headset"

    def switch(self, device: str) -> None:
        self.asked.append(device)


def menu_of(
    found: Sequence[SoundDevice] = FOUND, newest: bool = False, **parts: int | None
) -> tuple[DeviceMenu, Chosen, Chosen]:
    mic, speaker = Chosen(parts.get("mic", 0)), Chosen(parts.get("speaker", 1))
    both = (Part("microphone", mic), Part("loudspeaker", speaker))
    return DeviceMenu(both, lambda: (list(found), newest)), mic, speaker


async def looked(menu: DeviceMenu) -> None:
    async with asyncio.timeout(10):
        while any("looking" in section.note for section in shown(menu).sections):
            await asyncio.sleep(0)


def shown(menu: DeviceMenu) -> Any:
    found = menu.shown()
    assert found is not None
    return found


def text_of(menu: DeviceMenu, width: int = 80, **changes: Any) -> list[str]:
    view = dataclasses.replace(VIEW, devices=menu.shown(), **changes)
    return [line.plain.rstrip() for line in lines_of(view, width)]


async def test_d_shows_devices_by_name_and_which_is_in_use() -> None:
    menu, _, _ = menu_of()
    assert menu.shown() is None
    assert menu.press("d")
    assert "   looking for them" in text_of(menu)
    await looked(menu)
    lines = text_of(menu)
    at = lines.index("microphones")
    assert [line.split("  ")[0].strip() for line in lines[at : at + 9]] == [
        *("microphones", "1 built-in", "2 headset", "3 webcam"),
        *("loudspeakers", "4 built-in", "5 headset", "6 hdmi"),
        "restart to see devices plugged in since",
    ]
    assert lines[at + 1].endswith("  in use, default")
    assert lines[at + 5].endswith("  default")
    assert lines[at + 6].endswith("  in use")
    assert lines[-1] == "1-9 choose  d close  m mute  q leave"
    assert not any("Bob" in line for line in lines[:-5])  # the list has the place of the people
    assert any("Ada" in line for line in lines)  # but one's own meter stays


async def test_a_digit_chooses_and_the_mark_follows_once_it_is_in_use() -> None:
    menu, mic, speaker = menu_of()
    menu.press("d")
    await looked(menu)
    for key in ("2", "6", "1", "5", "9"):  # 1 and 5 are in use already, 9 is nothing
        assert menu.press(key)
    assert (mic.asked, speaker.asked) == (["headset"], ["hdmi"])
    assert shown(menu).sections[0].choices[0].in_use
    mic.index = 1
    assert [choice.in_use for choice in shown(menu).sections[0].choices] == [False, True, False]
    assert menu.is_open


async def test_d_or_escape_closes_and_other_keys_do_what_they_did() -> None:
    menu, mic, speaker = menu_of()
    own, ears, left = Microphone(), Ears(), list[bool]()
    controls = Controls(own, ears, lambda: left.append(True), devices=menu)
    pressed(controls, "2")  # a person: the list is not open
    assert controls.chosen == 9
    pressed(controls, "d")
    await looked(menu)
    pressed(controls, "1m")
    assert controls.chosen == 9  # it was about devices
    assert own.muted
    assert menu.is_open
    pressed(controls, "?")
    assert (menu.is_open, controls.help_open) == (False, True)
    pressed(controls, "d")
    assert (menu.is_open, controls.help_open) == (True, False)
    await looked(menu)
    pressed(controls, "d")
    assert not menu.is_open
    pressed(controls, "d")
    await looked(menu)
    for key in keys_in(b"\x1b[A\x1b"):  # an arrow, and Escape
        controls.press(key, (7, 9), 0)
    assert not menu.is_open
    pressed(controls, "\x1bq")
    assert left == [True]
    assert mic.asked == speaker.asked == []


@pytest.mark.parametrize("width", [LEAST_WIDTH, 80, 120, 200])
async def test_the_list_fits_24_rows_and_any_width(width: int) -> None:
    names = ["x" * 90, "\u6f22\u5b57" * 30, *(f"device {n}" for n in range(20))]
    menu, mic, _ = menu_of([device(n, name, default=not n) for n, name in enumerate(names)])
    menu.press("d")
    await looked(menu)
    notices = VIEW.notices[:1] * 3
    people = VIEW.people * 5
    seen = set()
    for _ in range(5):
        lines = text_of(menu, width, people=people, notices=notices, troubles=("slow",) * 3)
        assert len(lines) <= 23
        assert max(cell_len(line) for line in lines) <= width
        assert lines[-1].startswith("1-9 choose  0 others  d close")
        seen |= {choice.name for section in shown(menu).sections for choice in section.choices}
        menu.press("0")
    assert seen == set(names)
    assert any(line.startswith(" 1 xxxxxxxxxxxxxxxx") for line in text_of(menu, width))
    menu.press("0")
    menu.press("2")  # on the second page
    assert mic.asked == ["device 8"]


async def test_the_list_says_when_there_is_nothing_to_choose() -> None:
    clock = ManualClock()
    source, sink = ScriptedSource(), PacedSink(clock, Discard(SAMPLE_RATE, 1))

    def never() -> tuple[list[SoundDevice], bool]:
        raise AssertionError("there is nothing to look for")

    menu = DeviceMenu((microphone(source, "a.wav"), loudspeaker(sink, "b.flac")), never)
    menu.press("d")
    lines = text_of(menu)
    assert "   none to choose: a.wav is sent" in lines
    assert "   none to choose: sound goes to b.flac" in lines
    assert lines[-1] == "d close  m mute  q leave"
    menu = DeviceMenu((microphone(source, "tone"), loudspeaker(sink, "-")), never)
    menu.press("d")
    lines = text_of(menu)
    assert "   none to choose: a tone is sent" in lines
    assert "   none to choose: sound goes to standard output" in lines
    menu.press("1")


async def test_a_list_that_cannot_be_read_is_told_and_read_again_the_next_time() -> None:
    answers: list[Any] = [AudioError("the PortAudio library is not installed"), ([], True)]

    def find() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, AudioError):
            raise answer
        return answer

    menu = DeviceMenu((Part("loudspeaker", Chosen(None)),), find)
    menu.press("d")
    await looked(menu)
    assert "the PortAudio library is not installed" in text_of(menu)
    menu.press("d")
    menu.press("d")
    await looked(menu)
    assert shown(menu).notes == ()
    assert "   none is there" in text_of(menu)


async def test_the_event_loop_goes_on_while_devices_are_looked_for() -> None:
    """And keys meanwhile neither choose nor look once more."""
    may_end, looks = threading.Event(), list[str]()

    def find() -> tuple[list[SoundDevice], bool]:
        looks.append(threading.current_thread().name)
        assert may_end.wait(10)
        return FOUND, True

    mic = Chosen()
    menu = DeviceMenu((Part("microphone", mic),), find)
    for key in "d1ddd12":
        menu.press(key)
        await asyncio.sleep(0)
    assert not menu.is_open
    menu.press("d")
    assert not looks[1:]
    may_end.set()
    await looked(menu)
    assert looks != [threading.current_thread().name]
    assert not mic.asked
    assert [choice.name for choice in shown(menu).sections[0].choices] == [
        *("built-in", "headset", "webcam")
    ]
    menu.end()
    assert menu.shown() is None


async def test_a_session_that_ends_does_not_wait_for_the_list() -> None:
    may_end = threading.Event()
    menu = DeviceMenu((Part("microphone", Chosen()),), lambda: (FOUND, may_end.wait(10)))
    menu.press("d")
    await asyncio.sleep(0)
    menu.end()
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "_look" in str(task.get_coro())]
    may_end.set()


def test_each_device_is_asked_for_by_what_tells_it_from_others() -> None:
    found = [
        device(0, "Speakers", host="MME", default=True),
        device(1, "Speakers", host="WASAPI"),
        device(2, "Headset", host="MME"),
        device(3, "Headset", host="MME"),
        device(4, "Line", host="MME"),
        device(5, "HEADSET", host="WASAPI"),
    ]
    asked = {choice.index: choice.asked for choice in choices(found, "loudspeaker", 1)}
    assert asked == {
        **dict(enumerate(("Speakers, MME", "Speakers, WASAPI", "2", "3", "Line"))),
        5: "HEADSET, WASAPI",
    }
    # of the other sound systems, what is neither in use nor the default is not shown
    assert [choice.index for choice in choices(found, "loudspeaker", 0)] == [0, 2, 3, 4]
    assert [choice.index for choice in choices(found[1:], "loudspeaker", None)] == [1, 2, 3, 4, 5]
    lonely = [device(0, "out", inputs=0), device(1, "in", outputs=0)]
    assert [choice.index for choice in choices(lonely, "microphone", None)] == [1]


def test_without_a_microphone_and_people_the_keys_are_those_that_do_something() -> None:
    view = View("lobby", "connected", True, 1.0, listens=False)
    assert lines_of(view, 80)[-1].plain == "d devices  ? keys  q leave"


class PortAudioError(Exception):
    pass


class PortAudio(types.ModuleType):
    """The package sounddevice, whose library finds what is plugged in when it is initialised."""

    PortAudioError = PortAudioError
    default = types.SimpleNamespace(device=(0, 0))

    def __init__(self, *names: str) -> None:
        super().__init__("sounddevice")
        self.plugged, self.known = list(names), list(names)
        self.initialised, self.fails = 1, False

    def query_hostapis(self) -> list[dict[str, str]]:
        return [{"name": "ALSA"}]

    def query_devices(self, wanted: object = None, kind: str | None = None) -> Any:
        if not self.initialised:
            raise PortAudioError("not initialised")
        listed = [
            {
                "name": name,
                "index": index,
                "hostapi": 0,
                "default_samplerate": 48_000.0,
                **dict.fromkeys(("max_input_channels", "max_output_channels"), 2),
                **dict.fromkeys(("default_low_input_latency", "default_low_output_latency"), 0.01),
            }
            for index, name in enumerate(self.known)
        ]
        if kind is None:
            return listed
        for found in listed:
            if wanted in (None, found["name"]):
                return found
        raise ValueError(f"no {wanted}")

    def check_input_settings(self, **settings: object) -> None:
        """All of them are fine."""

    def _terminate(self) -> None:
        if not self.initialised:
            raise PortAudioError("not initialised")
        self.initialised -= 1

    def _initialize(self) -> None:
        if self.fails:
            raise PortAudioError("no sound server")
        self.initialised += 1
        self.known = list(self.plugged)


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    module = PortAudio("built-in")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(sound, "LIBRARY", Library())
    return module


def names(found: tuple[list[SoundDevice], bool]) -> tuple[list[str], bool]:
    return [device.name for device in found[0]], found[1]


def test_what_was_plugged_in_since_is_found_while_no_device_is_held(portaudio: PortAudio) -> None:
    portaudio.plugged.append("headset")
    microphone = MicrophoneSource(ManualClock(), None, None, 1)  # it keeps the device's number
    assert names(newest_devices()) == (["built-in"], False)
    with pytest.raises(AudioError, match="no input device 'headset'"):
        MicrophoneSource(ManualClock(), "headset", None, 1)
    microphone.close()
    microphone.close()  # counts once
    other = MicrophoneSource(ManualClock(), "built-in", None, 1)
    assert names(newest_devices()) == (["built-in"], False)
    other.close()
    assert names(newest_devices()) == (["built-in", "headset"], True)
    assert portaudio.initialised == 1


def test_a_library_that_does_not_start_again_is_told_and_tried_again(portaudio: PortAudio) -> None:
    portaudio.fails = True
    with pytest.raises(AudioError, match="does not start again: no sound server"):
        newest_devices()
    with pytest.raises(AudioError, match="cannot be listed: not initialised"):
        sound.list_devices()
    portaudio.fails = False
    assert names(newest_devices()) == (["built-in"], True)
    assert portaudio.initialised == 1


def test_once_initialised_anew_the_library_is_again_for_who_misses_a_device(
    portaudio: PortAudio,
) -> None:
    """Else a list that was read while the sound server was away would end sound for good."""
    portaudio.plugged.clear()
    sound.LIBRARY.keep_fresh()
    assert portaudio.known == ["built-in"]  # which can be opened when it is back
    assert names(newest_devices()) == ([], True)
    portaudio.plugged.append("built-in")
    with pytest.raises(AudioError):
        MicrophoneSource(ManualClock(), None, None, 1)
    sound.LIBRARY.keep_fresh()
    MicrophoneSource(ManualClock(), None, None, 1).close()
