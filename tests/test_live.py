"""Whole sessions through the real relay on loopback, in one process, with a codec that needs no
PyTorch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fakes import WAIT_S, FakeModel
from streamcodec.errors import AudioError, ConfigError, ConnectionRefused
from streamcodec_client.audio.blocks import Sink, Source
from streamcodec_client.audio.paced import Discard, PacedSink
from streamcodec_client.audio.pick import pick_sink, pick_source
from streamcodec_client.cli import main
from streamcodec_client.clock import MonotonicClock
from streamcodec_client.commands import live as live_cli
from streamcodec_client.live.codec import EncodingSettings
from streamcodec_client.live.member import Seat
from streamcodec_client.live.receiver import Receiver
from streamcodec_client.live.sender import Sender
from streamcodec_client.live.session import LiveSettings, run_live
from streamcodec_client.report.reporter import Reporter
from streamcodec_client.report.trace import NullTrace, Trace
from streamcodec_server.limits import RoomLimits
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig

CLOCK = MonotonicClock()


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Two sessions of one process, which only a test has, put back each other's signal handlers."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.asynccontextmanager
async def relay(port: int = 0, rooms: frozenset[str] | None = None) -> AsyncIterator[int]:
    """-> its port."""
    async with Relay(RelayConfig(port=port, limits=RoomLimits(rooms=rooms))).running() as server:
        yield next(iter(server.sockets)).getsockname()[1]


def session(
    port: int,
    sender: Sender | None = None,
    receiver: Receiver | None = None,
    *,
    as_json: bool = False,
    take_copies: int = 0,
    duration_s: float | None = None,
    traces: Sequence[Trace] = (),
) -> asyncio.Future[None]:
    settings = LiveSettings(
        Seat(f"ws://127.0.0.1:{port}", "lobby", "talker" if sender else "listener", take_copies),
        duration_s,
        exit_when_done=True,
    )
    reporter = Reporter(CLOCK, as_json=as_json)
    return asyncio.ensure_future(run_live(settings, CLOCK, reporter, sender, receiver, traces))


def sending(source: Source, duration_s: float | None = None, redundancy: int = 0) -> Sender:
    settings = EncodingSettings(bitrate_bps=6_000, redundancy=redundancy)
    return Sender(FakeModel(), source, settings, CLOCK, duration_s=duration_s)


def listening(sink: Sink) -> Receiver:
    return Receiver(FakeModel(), sink, CLOCK, playout=60)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def connected(receiver: Receiver) -> None:
    await until(lambda: receiver.connection > 0)


async def test_a_file_goes_through_a_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
    soundfile.write(said, np.repeat([0.1, 0.3, 0.5], 3_200), 16_000)
    async with relay() as port:
        receiver = listening(pick_sink(str(heard), CLOCK))
        listener = session(port, receiver=receiver, as_json=True)
        await connected(receiver)
        await session(port, sending(pick_source(str(said), CLOCK)))
        await listener
    pcm, _ = soundfile.read(heard)
    levels = [round(float(level), 1) for level in pcm[::160]]
    order = [
        level for level, before in zip(levels, [0.0, *levels], strict=False) if level != before
    ]
    assert order[:3] == [0.1, 0.3, 0.5]
    captured = capsys.readouterr()
    reports = [json.loads(line) for line in captured.out.splitlines()]
    assert reports[-1]["type"] == "summary"
    assert reports[-1]["receive"]["packets"] == 30
    assert reports[-1]["receive"]["payload_bytes"] == 30 * 3
    assert reports[-1]["receive"]["wire_bytes"] == 30 * (3 + 4 + 2 + 52) + 2 * 8
    assert "sent: payload 1.2 wire " in captured.err
    assert ", 30 packets, dropped 0" in captured.err
    assert "disconnected" not in captured.err


async def test_a_relay_that_restarts_is_found_again() -> None:
    sender = sending(pick_source("tone", CLOCK))
    receiver = listening(pick_sink("null", CLOCK))
    async with relay() as port:
        listener = session(port, receiver=receiver)
        await connected(receiver)
        talker = session(port, sender)
        await until(lambda: receiver.statistics().played > 5)
    await until(lambda: sender.statistics().unconnected_ms > 0)
    before = receiver.statistics().played
    async with relay(port):
        await until(lambda: receiver.statistics().played > before + 20)
        sender.stop()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(talker, listener)


async def test_two_who_talk_hear_each_other() -> None:
    async with relay() as port:
        pairs = [
            (sending(pick_source("tone", CLOCK)), listening(pick_sink("null", CLOCK)))
            for _ in range(2)
        ]
        talkers = [session(port, sender, receiver) for sender, receiver in pairs]
        await until(lambda: all(receiver.statistics().played > 5 for _, receiver in pairs))
        for sender, receiver in pairs:
            assert len(receiver.statistics().streams) == 1
            sender.stop()
        async with asyncio.timeout(WAIT_S):  # neither waits for the other to leave first
            await asyncio.gather(*talkers)


async def test_copies_go_to_those_who_take_them_and_are_made_for_nobody_else() -> None:
    """Sizes tell: a fake payload has 3 bytes, a copy in front of it adds 4."""
    sender = sending(pick_source("tone", CLOCK), redundancy=1)
    plain, mending = (listening(pick_sink("null", CLOCK)) for _ in range(2))

    def mean_bytes(receiver: Receiver, since: tuple[int, int]) -> float:
        now = receiver.statistics()
        return (now.payload_bytes - since[1]) / max(1, now.packets - since[0])

    async with relay() as port:
        sessions = [session(port, receiver=plain)]
        await connected(plain)
        sessions.append(session(port, sender))
        await until(lambda: plain.statistics().packets > 10)
        assert mean_bytes(plain, (0, 0)) == 3
        sessions.append(session(port, receiver=mending, take_copies=4))
        await until(lambda: mending.statistics().packets > 20)
        assert mean_bytes(mending, (0, 0)) > 6
        assert mean_bytes(plain, (0, 0)) == 3  # the relay takes them out
        sender.stop()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*sessions)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_ctrl_c_or_a_closed_terminal_says_goodbye(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    before = signal.getsignal(number)
    async with relay() as port:
        sender = sending(pick_source("tone", CLOCK))
        talker = session(port, sender)
        await until(lambda: sender.statistics().packets > 2)
        os.kill(os.getpid(), number)
        await talker
    assert "sent: " in capsys.readouterr().err
    assert signal.getsignal(number) is before


async def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with relay() as port:
        sender = sending(pick_source("tone", CLOCK))
        talker = session(port, sender)
        await until(lambda: sender.statistics().packets > 2)
        os.kill(os.getpid(), signal.SIGHUP)
        sent = sender.statistics().packets
        await until(lambda: sender.statistics().packets > sent + 2)
        sender.stop()
        await talker


async def test_a_listener_leaves_when_its_duration_is_over() -> None:
    receiver = listening(pick_sink("null", CLOCK))
    async with relay() as port:
        async with asyncio.timeout(WAIT_S):
            await session(port, receiver=receiver, duration_s=0.05)
    assert receiver.connection == 1


class FullDisk(NullTrace):
    def flush(self) -> None:
        raise ConfigError("cannot write the trace t.jsonl: No space left on device")


async def test_a_trace_that_cannot_be_written_ends_the_session() -> None:
    sender = sending(pick_source("tone", CLOCK))
    async with relay() as port:
        with pytest.raises(ConfigError, match="No space left"):
            async with asyncio.timeout(WAIT_S):
                await session(port, sender, traces=[FullDisk()])


async def test_a_room_that_is_not_there_ends_the_session() -> None:
    async with relay(rooms=frozenset({"stage"})) as port:
        with pytest.raises(ConnectionRefused, match="4404") as refused:
            await session(port, sending(pick_source("tone", CLOCK)))
    assert refused.value.close_code == 4404


class BreakingSink(PacedSink):
    def wants_block(self, timeout_s: float) -> bool:
        raise AudioError("sound device 3 stopped playing; was it unplugged?")


async def test_a_device_that_breaks_ends_the_session() -> None:
    async with relay() as port:
        with pytest.raises(AudioError, match="unplugged"):
            await session(port, receiver=listening(BreakingSink(CLOCK, Discard(16_000, 1))))


@pytest.fixture
def _fake_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_cli, "load_codec", lambda *asked: FakeModel())


@pytest.mark.usefixtures("_fake_codec")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("send --source nothing.wav", "streamcodec: no source 'nothing.wav': give mic, tone, -"),
        ("send --source .", "streamcodec: source '.' is a folder: give mic, tone, - (raw PCM"),
        ("send --source tone --url http://relay", "streamcodec: relay URL must be ws://"),
        (
            "send --source tone --bitrate 6k --quality 0.5",
            "streamcodec send: give --bitrate or --quality, not both",
        ),
        ("send --source tone --packet-ms 30", "'30' is not one of '20', '40', '60'"),
        ("listen --sink song.mp3", "streamcodec: no sink 'song.mp3': give speaker, null, -"),
        ("listen --sink - --json", "streamcodec: --sink - and --json both want standard output"),
        (
            "listen --sink null --trace /nowhere/trace.jsonl",
            "streamcodec: cannot write /nowhere/trace.jsonl: there is no folder /nowhere",
        ),
        ("listen --sink null --playout-ms 900", "900.0 is not in the range 0<=x<=280"),
        ("listen --sink null --playout-ms 20..x", "'20..x' is no range: write 20..400"),
        (
            "listen --sink null --playout-ms 300..400",
            "leave 120 ms between its bounds, got 300..400",
        ),
        ("listen --sink null --playout-ms 20..9000", "must lie within 0..2000 ms"),
        ("listen --sink null --playout-ms nan..nan", "must lie within 0..2000 ms"),
        ("talk --source tone --sink null --duration 0", "0.0 is not in the range x>0"),
    ],
)
def test_mistakes_are_said_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
