"""`streamcodec doctor`: what it finds, and what it says to do."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import numpy as np
import pytest
from click.testing import CliRunner
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from relay_clients import relay
from streamcodec.errors import AudioError, ModelError
from streamcodec_client.audio.devices import SoundDevice
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.commands import doctor as module
from streamcodec_client.commands.doctor import chirp_at, doctor, found_at
from streamcodec_client.live.member import Seat

SPEAKERS = SoundDevice(1, "speakers", "ALSA", 0, 2, 48_000, 0.0, 5.0, False, True)
HEADSET = SoundDevice(2, "headset", "ALSA", 1, 0, 44_100, 5.0, 0.0, True, False)


def findings(*arguments: str) -> tuple[dict[str, tuple[str, str]], int]:
    """What was found and what to do, by what it is about, and the exit status."""
    ran = CliRunner().invoke(doctor, [*arguments, "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in ran.output.splitlines()]
    return {line["about"]: (line["text"], line["todo"]) for line in lines}, ran.exit_code


@pytest.fixture
def _devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "list_devices", lambda: [SPEAKERS, HEADSET])


@pytest.mark.usefixtures("_devices")
async def test_where_all_is_well_the_status_is_0() -> None:
    async with relay() as (_, _, url):
        found, status = await asyncio.to_thread(findings, "--url", url)
    assert status == 0
    assert {todo for _, todo in found.values()} == {""}
    assert found["microphone"][0] == "headset (ALSA), 44100 Hz"
    assert found["loudspeaker"][0] == "speakers (ALSA), 48000 Hz"
    assert "ms to encode 20 ms of voice" in found["codec"][0]
    assert found["relay"][0].startswith(f"{url}, connected in ")
    assert "Python 3." in found["versions"][0]


def test_what_is_missing_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_portaudio() -> list[SoundDevice]:
        raise AudioError("the PortAudio library is not installed: apt install libportaudio2")

    def no_codec(*_: object) -> None:
        raise ModelError("the native engine is not built: install a C compiler")

    monkeypatch.setattr(module, "list_devices", no_portaudio)
    monkeypatch.setattr(module, "load_codec", no_codec)
    monkeypatch.setattr(module, "WELCOME_S", 0.2)
    found, status = findings("--url", "ws://127.0.0.1:9")
    assert status == 1
    assert "apt install libportaudio2" in found["sound"][1]
    assert "install a C compiler" in found["codec"][1]
    text, todo = found["relay"]
    assert text == "ws://127.0.0.1:9 lets nobody in"
    assert todo.startswith("connection refused (tried for 0.2 s); is it running there")


async def test_what_a_relay_answers_is_told_once() -> None:
    async def relay_line(url: str) -> str:
        seat = Seat(url, "doctor", "doctor")
        (found,) = await asyncio.to_thread(lambda: list(module.relay(seat, MonotonicClock())))
        return found.line().removeprefix(f"!!  relay        {url} lets nobody in: ")

    def refuse(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "no relay\n")

    async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        assert await relay_line(url) == (
            "the server answers with HTTP 404: is it a streamcodec relay?"
        )
    assert "is it running" not in await relay_line("http://127.0.0.1:9")


def test_a_computer_without_a_microphone_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "list_devices", lambda: [SPEAKERS])
    monkeypatch.setattr(module, "WELCOME_S", 0.2)
    found, _ = findings("--url", "ws://127.0.0.1:9")
    assert found["microphone"][0] == "there is no default one"
    assert "--device" in found["microphone"][1]
    assert found["loudspeaker"][1] == ""


@pytest.mark.usefixtures("_devices")
def test_lines_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WELCOME_S", 0.2)
    ran = CliRunner().invoke(doctor, ["--url", "ws://127.0.0.1:9"], catch_exceptions=False)
    marks = [line[:2] for line in ran.output.splitlines()]
    assert marks == ["ok", "ok", "ok", "ok", "!!"]


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_chirp_is_found_where_it_is_and_nowhere_else(rate: int) -> None:
    rng, chirp = np.random.default_rng(1), chirp_at(rate)
    noise = 0.02 * rng.standard_normal(rate).astype(np.float32)
    assert found_at(noise, chirp) is None
    heard = noise.copy()
    heard[rate // 3 : rate // 3 + len(chirp)] += 0.1 * chirp
    heard[rate // 2 : rate // 2 + len(chirp)] += 0.04 * chirp  # an echo
    at = found_at(heard, chirp)
    assert at == pytest.approx(rate // 3, abs=2)
