"""The gateway over real sockets: with a codec that needs no model, and with the shipped one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fakes import WAIT_S, FakeModel
from streamcodec_client.cli import main
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.gateway.member import MemberSettings
from streamcodec_client.gateway.server import Gateway, GatewayConfig
from streamcodec_client.live.codec import Codec, EncodingSettings, load_codec
from streamcodec_server.limits import RoomLimits
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig

DOCUMENT = Path(__file__).parents[1] / "docs" / "gateway.md"
FRAME = 320  # samples of 20 ms
RATE = 16_000


# --- real sockets ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def gateway(
    codec: Codec | None = None,
    *,
    relay: str | None = None,
    rooms: frozenset[str] | None = None,
    max_clients: int = 8,
    bitrate_bps: float = 6_000,
) -> AsyncIterator[str]:
    """-> its URL. `relay`: another than one of its own."""
    async with contextlib.AsyncExitStack() as opened:
        if relay is None:
            config = RelayConfig(port=0, limits=RoomLimits(rooms=rooms))
            server = await opened.enter_async_context(Relay(config).running())
            relay = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        settings = MemberSettings(
            relay, codec or FakeModel(), EncodingSettings(bitrate_bps), MonotonicClock()
        )
        running = Gateway(GatewayConfig(port=0, max_clients=max_clients), settings).running()
        server = await opened.enter_async_context(running)
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def level(value: float, samples: int = FRAME) -> bytes:
    return np.full(samples, round(value * 32_768), "<i2").tobytes()


def level_of(frame: bytes) -> float:
    return round(float(np.frombuffer(frame, "<i2")[-1]) / 32_768, 2)


async def event(client: ClientConnection, kind: str) -> dict[str, object]:
    """The next event of this kind."""
    async with asyncio.timeout(WAIT_S):
        while True:
            frame = await client.recv()
            if isinstance(frame, str) and (found := json.loads(frame))["type"] == kind:
                return dict(found)


async def frame_with(client: ClientConnection, right: Callable[[bytes], bool]) -> bytes:
    return (await frames_until(client, right))[-1]


async def frames_until(client: ClientConnection, right: Callable[[bytes], bool]) -> list[bytes]:
    frames = list[bytes]()
    async with asyncio.timeout(WAIT_S):
        while not frames or not right(frames[-1]):
            if isinstance(frame := await client.recv(), bytes):
                frames.append(frame)
    return frames


async def says(client: ClientConnection, value: float) -> None:
    """A level in real time, until cancelled."""
    while True:
        await client.send(level(value))
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def saying(client: ClientConnection, value: float) -> AsyncIterator[None]:
    task = asyncio.ensure_future(says(client, value))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_one_client_sends_another_receives() -> None:
    async with gateway() as url, connect(f"{url}/lobby?name=ear&role=listen") as ear:
        assert await event(ear, "connected") == {"type": "connected", "room": "lobby"}
        # nobody talks: frames of zeros come
        assert await frame_with(ear, lambda _: True) == bytes(2 * FRAME)
        async with connect(f"{url}/lobby?name=mouth") as mouth:
            joined = await event(ear, "talker_joined")
            assert joined["name"] == "mouth"
            async with saying(mouth, 0.3):
                assert len(await frame_with(ear, lambda f: level_of(f) == 0.3)) == 2 * FRAME
            # nobody hears itself
            assert await frame_with(mouth, lambda _: True) == bytes(2 * FRAME)
        assert await event(ear, "talker_left") == {
            "type": "talker_left",
            "stream": joined["stream"],
        }


async def test_talkers_of_other_rates_are_mixed() -> None:
    async with gateway() as url:
        async with (
            connect(f"{url}/lobby?rate=48000&role=listen") as ear,
            connect(f"{url}/lobby?role=talk") as one,
            connect(f"{url}/lobby?role=talk") as other,
            saying(one, 0.2),
            saying(other, 0.3),
        ):
            frame = await frame_with(ear, lambda f: level_of(f) == 0.5)
            assert len(frame) == 2 * 960


async def test_what_was_sent_before_leaving_is_heard() -> None:
    async with gateway() as url, connect(f"{url}/lobby?role=listen") as ear:
        await event(ear, "connected")
        async with connect(f"{url}/lobby?role=talk") as mouth:
            await event(mouth, "connected")
            await mouth.send(level(0.1, 5 * FRAME) + level(0.4, 5 * FRAME))
        await frame_with(ear, lambda f: level_of(f) == 0.4)


async def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    async with gateway() as url:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        narrow.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        async with (
            connect(f"{url}/lobby?role=listen&rate=48000", sock=narrow, max_queue=1) as stuck,
            connect(f"{url}/lobby?role=listen") as ear,
            connect(f"{url}/lobby?role=talk") as mouth,
        ):
            async with saying(mouth, 0.1):
                await frame_with(ear, lambda f: level_of(f) == 0.1)
                for _ in range(100):  # 2 s
                    assert len(await frame_with(ear, lambda _: True)) == 2 * FRAME
            async with saying(mouth, 0.6):
                await frame_with(ear, lambda f: level_of(f) == 0.6)
                # It has missed most of the first level: less than 1.5 s wait for it.
                waiting = await frames_until(stuck, lambda f: level_of(f) == 0.6)
            assert len(waiting) < 75
            stuck.transport.abort()


@pytest.mark.parametrize(
    ("query", "frame", "code", "reason"),
    [
        ("role=both", "hello", 1003, "binary frames of s16le PCM only"),
        ("role=listen", b"\0\0", 1008, "role=listen sends no audio"),
        ("role=both", bytes(70_000), 1009, ""),
    ],
)
async def test_a_client_that_breaks_the_rules_is_told_so(
    query: str, frame: str | bytes, code: int, reason: str
) -> None:
    async with gateway() as url, connect(f"{url}/lobby?{query}") as client:
        await client.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            await frame_with(client, lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        assert reason in closed.value.rcvd.reason


async def test_a_room_that_the_relay_refuses_is_named() -> None:
    async with gateway(rooms=frozenset({"lobby"})) as url, connect(f"{url}/cellar") as client:
        with pytest.raises(ConnectionClosed) as closed:
            await frame_with(client, lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert "cellar" in closed.value.rcvd.reason


async def test_a_client_can_leave_while_there_is_no_relay() -> None:
    async with gateway(relay="ws://127.0.0.1:1") as url, connect(f"{url}/lobby") as client:
        await client.send(level(0.1))
        said = {"type": "warning", "text": "no relay: connection refused; trying again"}
        # It is said once; waiting for a frame first would leave it out where it comes before one.
        assert await event(client, "warning") == said
        await frame_with(client, lambda _: True)
    # the gateway has ended: it waited for its client


async def test_clients_are_told_when_the_gateway_goes_down() -> None:
    async with contextlib.AsyncExitStack() as opened:
        url = await opened.enter_async_context(gateway())
        client = await connect(f"{url}/lobby")
        await event(client, "connected")
        await opened.aclose()
        with pytest.raises(ConnectionClosed):
            await frame_with(client, lambda _: False)
        assert client.close_code == 1012


async def test_what_is_wrong_or_too_much_is_answered_in_http() -> None:
    async with gateway(max_clients=1) as url:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/lobby?rate=1")
        assert refused.value.response.status_code == 400
        assert b"rate must be" in refused.value.response.body
        async with connect(f"{url}/lobby") as first:
            await event(first, "connected")
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}/lobby")
            assert refused.value.response.status_code == 503
            health = await asyncio.to_thread(read_health, url)
        assert health == {"status": "ok", "clients": 1}


def read_health(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url.replace("ws", "http", 1) + "/healthz", timeout=5) as answer:
        return dict(json.load(answer))


# --- with the shipped model -----------------------------------------------------------------------


def likeness(said: NDArray[np.float64], heard: NDArray[np.float64]) -> list[float]:
    """Of each second of `said`: its best correlation with `heard`, 0 to 1."""
    found = []
    for at in range(0, len(said) - RATE + 1, RATE):
        part = said[at : at + RATE]
        energy = correlate(np.square(heard), np.ones(RATE), "valid", "fft").clip(1)
        products = correlate(heard, part, "valid", "fft")
        found.append(float(np.max(products / np.sqrt(energy * np.square(part).sum()))))
    return found


async def test_speech_through_gateway_relay_and_gateway_is_what_was_sent(
    speech: NDArray[np.float32],
) -> None:
    said = np.round(speech[RATE : 5 * RATE] * 32_767).astype("<i2")
    heard, count = list[bytes](), itertools.count()
    codec = load_codec(None, "cpu")
    async with gateway(codec, bitrate_bps=16_000) as one:
        async with (  # with a full queue, a client that closes does not see the answer
            connect(f"{one}/lobby?role=listen", max_queue=None) as ear,
            connect(f"{one}/lobby", max_queue=None) as mouth,
        ):
            await event(ear, "connected")
            await event(mouth, "connected")

            async def speak() -> None:
                for at in range(0, len(said), FRAME):  # the frames that come are the clock
                    await frame_with(mouth, lambda _: True)
                    await mouth.send(said[at : at + FRAME].tobytes())

            speaking = asyncio.ensure_future(speak())
            wanted = len(said) // FRAME + 50
            heard += await frames_until(ear, lambda _: next(count) > wanted)
            await speaking
    pcm = np.frombuffer(b"".join(heard), "<i2").astype(float)
    # Playout may shift time within a second, once.
    assert sorted(likeness(said.astype(float), pcm))[1] > 0.8


def test_the_example_of_the_document_runs(tmp_path: Path) -> None:
    program = DOCUMENT.read_text().partition("```python\n")[2].partition("```")[0]
    assert 8 <= len([line for line in program.splitlines() if line]) <= 12
    with wave.open(str(tmp_path / "in.wav"), "wb") as said:
        said.setparams((1, 2, RATE, 0, "NONE", ""))
        said.writeframes(level(0.3, RATE))

    async def run() -> str:
        async with gateway() as url:
            text = program.replace("ws://127.0.0.1:8766", url)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", text), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            async with connect(f"{url}/lobby?role=listen") as ear:
                await frame_with(ear, lambda f: level_of(f) > 0.2)
            out, _ = await process.communicate()
            assert process.returncode == 0
            return out.decode()

    assert '"connected"' in asyncio.run(run())
    with wave.open(str(tmp_path / "out.wav")) as heard:
        assert heard.getnframes() == RATE


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="processes share a port on Linux only")
@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_share_a_port_and_end_on_a_signal(jobs: int) -> None:
    command = [sys.executable, "-m", "streamcodec_client", "gateway", "--port", "0"]
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    with subprocess.Popen(
        [*command, "--jobs", str(jobs)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(
                r"gateway listening on (ws://127\.0\.0\.1:\d+)\n", process.stdout.readline()
            )
            assert found is not None
            assert read_health(found[1])["status"] == "ok"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--relay", "http://x"], "relay URL must be ws://HOST:PORT"),
        (["--bitrate", "200"], "bit rate must be"),
        (["--port", "{taken}"], "cannot listen on 127.0.0.1:"),
        (["--port", "{taken}", "--jobs", "2"], "cannot listen on 127.0.0.1:"),
    ],
)
def test_wrong_settings_are_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [a.replace("{taken}", port) for a in arguments]
        assert main(["gateway", "--jobs", "1", *given]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
