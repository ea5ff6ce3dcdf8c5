"""Microphone and loudspeaker of a program's room: switched in a room of a real relay, with devices
that keep time and know one level of sound each; and those of a real sound server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_rooms import RATE, first, level, room
from streamcodec.errors import AudioError, ConfigError, RoomClosed
from streamcodec.units import Pcm
from streamcodec_bench.sound_server import SoundServer, missing
from streamcodec_client import connect
from streamcodec_client.api.devices import OpenDevices, RoomDevice
from streamcodec_client.audio.blocks import Block
from streamcodec_client.audio.devices import SoundDevice
from streamcodec_client.audio.paced import Discard, PacedSink, PacedSource
from streamcodec_client.audio.reopening import ReopeningSink, ReopeningSource
from streamcodec_client.clock import MonotonicClock
from test_live import relay, until

LEVELS = {"built-in": 0.25, "headset": 0.5}
LISTED = [
    SoundDevice(n, name, "ALSA", 1, 2, RATE, 1.0, 1.0, n == 0, n == 0)
    for n, name in enumerate(LEVELS)
]
CLOCK = MonotonicClock()


class Flat:
    """A SampleReader of one level, without end."""

    sample_rate, channels = RATE, 1

    def __init__(self, value: float) -> None:
        self.value = value

    def read(self, samples: int) -> Pcm:
        return np.full((samples, 1), self.value, np.float32)

    def skip(self, samples: int) -> None:
        """It is all the same."""

    def close(self) -> None:
        """There is nothing to close."""


class Sound:
    """What is plugged in; the first one is the default."""

    def __init__(self) -> None:
        self.names, self.open = list(LEVELS), list[str]()
        self.played: dict[str, list[float]] = {name: [] for name in LEVELS}

    def take(self, device: str | None) -> str:
        name = next((n for n in self.names if device is None or device in n), None)
        if name is None:
            raise AudioError(f"no device {device!r}")
        self.open.append(name)
        return name

    def devices(self, *kinds: str) -> OpenDevices:
        source = ReopeningSource(CLOCK, self._microphone, None, None, logging.warning)
        sink = ReopeningSink(CLOCK, self._speaker, None, None, logging.warning)
        found: dict[str, Any] = {"microphone": source, "loudspeaker": sink}
        return OpenDevices(**{kind: found[kind] for kind in kinds})

    def _microphone(self, device: str | None, sample_rate: int | None) -> Any:
        sound, name = self, self.take(device)

        class Microphone(PacedSource):
            def __init__(self) -> None:
                super().__init__(CLOCK, Flat(LEVELS[name]))
                self.name, self.index = name, list(LEVELS).index(name)

            def read(self, timeout_s: float) -> Block | None:
                if name not in sound.names:
                    raise AudioError(f"{name} stopped delivering sound; was it unplugged?")
                return super().read(timeout_s)

        return Microphone()

    def _speaker(self, device: str | None, sample_rate: int | None) -> Any:
        sound, name = self, self.take(device)

        class Speaker(PacedSink):
            def __init__(self) -> None:
                super().__init__(CLOCK, Discard(RATE, 1))
                self.name, self.index = name, list(LEVELS).index(name)

            def write(self, pcm: Pcm) -> int:
                sound.played[name].append(round(float(pcm[-1, 0]), 2))
                return super().write(pcm)

        return Speaker()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Of a relay."""
    async with relay() as port:
        yield f"ws://127.0.0.1:{port}"


async def test_a_microphone_talks_and_is_switched_while_it_does(url: str) -> None:
    sound = Sound()
    async with (
        room(url, name="Bo", talk=False) as bo,
        room(url, devices=sound.devices("microphone")) as ada,
    ):
        heard = bo.listen()
        await first(heard, 0.25)
        assert ada.microphone.name == "built-in"
        assert await ada.microphone.switch("head") == "headset"
        assert ada.microphone.name == "headset"
        await first(heard, 0.5)
        await ada.mute()
        assert ada.muted
        assert ada.statistics().sent.captured_ms > 0


async def test_a_loudspeaker_plays_what_is_heard_by_its_volume_and_frames_come_besides(
    url: str,
) -> None:
    sound = Sound()
    async with (
        room(url, talk=False, devices=sound.devices("loudspeaker")) as ada,
        room(url, name="Bo", listen=False) as bo,
    ):
        heard = ada.listen()
        saying = asyncio.ensure_future(bo.send(level(0.4, 30)))
        assert (await first(heard, 0.4)).talker.name == "Bo"
        await until(lambda: 0.4 in sound.played["built-in"])
        assert await ada.loudspeaker.switch("headset") == "headset"
        await until(lambda: 0.4 in sound.played["headset"])
        ada.volumes = ada.volumes.changed(-20.0)
        await until(lambda: 0.04 in sound.played["headset"])
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


async def test_a_device_that_cannot_be_had_is_named_and_the_one_before_goes_on(url: str) -> None:
    sound = Sound()
    async with room(url, devices=sound.devices("microphone")) as ada:
        await ada.microphone.switch("headset")
        with pytest.raises(AudioError, match="no device 'lamp'"):
            await ada.microphone.switch("lamp")
        assert ada.microphone.name == "headset"


async def test_of_wishes_at_once_each_is_answered(url: str) -> None:
    sound = Sound()
    async with room(url, devices=sound.devices("microphone", "loudspeaker")) as ada:
        outcomes = await asyncio.gather(
            ada.microphone.switch("headset"),
            ada.microphone.switch("lamp"),
            ada.microphone.switch("built"),
            ada.loudspeaker.switch("headset"),
            return_exceptions=True,
        )
    assert [str(outcome) for outcome in outcomes] == [
        "headset",
        "no device 'lamp'",
        "built-in",
        "headset",
    ]


async def test_a_microphone_that_is_unplugged_ends_no_session(url: str) -> None:
    sound = Sound()
    async with room(url, devices=sound.devices("microphone")) as ada:
        sound.names.clear()
        await until(lambda: ada.microphone.name is None)
        sound.names.append("headset")
        await until(lambda: ada.microphone.name == "headset")


async def test_who_waits_for_a_device_when_the_session_ends_is_told(url: str) -> None:
    sound = Sound()
    async with room(url, devices=sound.devices("microphone")) as ada:
        microphone = ada.microphone
    with pytest.raises(RoomClosed, match="nothing more can be switched"):
        await microphone.switch("headset")


async def test_a_room_is_recorded_with_its_microphone(url: str, tmp_path: Path) -> None:
    async with room(url, devices=Sound().devices("microphone")) as ada:
        recording = ada.record(tmp_path)
        await until(lambda: ada.statistics().sent.packets > 5)
        assert [path.name.split("-", 2)[2] for path in await recording.stop()] == [
            "Ada.flac",
            "mix.flac",
        ]


async def test_choices_say_which_is_in_use(url: str) -> None:
    async def outcome(future: asyncio.Future[str]) -> str:
        return await future

    source = Sound().devices("microphone").microphone
    assert source is not None
    microphone = RoomDevice("microphone", source, outcome, lambda: (LISTED, True))
    found = await microphone.choices()
    assert [(c.name, c.asked, c.in_use, c.default) for c in found] == [
        ("built-in", "built-in", True, True),
        ("headset", "headset", False, False),
    ]


async def test_a_room_without_devices_says_how_to_have_them(url: str) -> None:
    async with room(url) as ada:
        with pytest.raises(ConfigError, match="no microphone: it was joined without microphone="):
            _ = ada.microphone
        with pytest.raises(ConfigError, match="no loudspeaker"):
            _ = ada.loudspeaker
    async with room(url, devices=Sound().devices("microphone")) as ada:
        with pytest.raises(ConfigError, match="what its microphone captures"):
            await ada.send(level(0.5))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"microphone": 3}, "microphone must be True for the default one, .* got 3"),
        ({"loudspeaker": ""}, "loudspeaker must be"),
        ({"microphone": True, "talk": False}, "a microphone is of no use with talk=False"),
        ({"loudspeaker": "headset", "listen": False}, "a loudspeaker is of no use with listen="),
        ({"gain_control": 1}, "gain_control must be True or False"),
    ],
)
async def test_settings_that_cannot_be_are_refused(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        async with connect("ws://127.0.0.1:1", **settings):
            pass


async def test_devices_are_closed_where_the_room_cannot_be_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = list[str]()

    class Closing(OpenDevices):
        def close(self) -> None:
            closed.append("closed")

    def opened(*_: object) -> OpenDevices:
        return Closing()

    monkeypatch.setattr("streamcodec_client.api.connect.open_devices", opened)
    with pytest.raises(ConfigError, match="bit rate"):
        async with connect("ws://127.0.0.1:1", microphone=True, bitrate_bps=1.0):
            pass
    assert closed == ["closed"]


EXAMPLE = """
import asyncio, re, sys
from pathlib import Path
from streamcodec_client import connect, list_devices

page = Path(sys.argv[1]).read_text()
blocks = re.findall(r"^```python\\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
names = {}
for block in blocks:
    exec(compile(block, "python.md", "exec"), names)

async def main():
    url = sys.argv[2]
    talking = asyncio.ensure_future(names["call"](url, "pulse"))
    async with connect(url, name="Bo", talk=False) as bo:
        async for frame in bo.listen():
            break
        print("heard", frame.talker.name)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

asyncio.run(main())
print("devices", any(device.default_input for device in list_devices()))
"""


async def test_the_example_of_the_page_talks_with_the_devices_of_a_sound_server(
    url: str, tmp_path: Path
) -> None:
    if package := missing():
        pytest.skip(f"no sound server to test with: {package}")
    page = Path(__file__).parents[1] / "docs" / "python.md"

    def run() -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "pulse"
        folder.mkdir()
        with SoundServer(folder, ["loop"]) as server:
            path = os.pathsep.join(part for part in sys.path if part)
            return subprocess.run(
                [sys.executable, "-c", EXAMPLE, str(page), url],
                env=server.environment() | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

    ran = await asyncio.to_thread(run)
    assert ran.returncode == 0, ran.stderr
    assert "default in use" in ran.stdout
    assert "the microphone is now pulse" in ran.stdout
    assert "heard Ada" in ran.stdout
    assert "devices True" in ran.stdout
