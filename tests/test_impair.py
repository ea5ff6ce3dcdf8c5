"""Simulated networks with loss, jitter and drift, and records of real ones, on simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fakes import ManualClock, fake_info, fake_payload
from streamcodec.errors import ConfigError
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags, Packet, serialize
from streamcodec.wire.session import Message, StreamEnd, StreamStart, Welcome
from streamcodec_bench.cli import bench
from streamcodec_bench.network import ONE_WAY_MS, PLAYOUTS, listen, read_trace, summarise
from streamcodec_client.cli import main
from streamcodec_client.live.impair import HEAD_START_MS, ImpairedListener, Impairment
from streamcodec_client.report.arrivals import ArrivalRecorder

PACKETS = 2_000


class Ear:
    """A TransportListener that notes what it is told, and when."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.heard = clock, list[tuple[str, float]]()

    def connected(self, welcome: Welcome, connection: int) -> None:
        self._note("connected")

    def disconnected(self, reason: str) -> None:
        self._note(reason)

    def media(self, datagram: bytes, received_ns: int) -> None:
        assert received_ns == self.clock.now_ns()
        self._note(datagram.decode())

    def message(self, message: Message) -> None:
        self._note(type(message).__name__)

    def _note(self, what: str) -> None:
        self.heard.append((what, self.clock.now_ns() / 1e6))


class Laboratory:
    """An impaired listener whose loop is a heap of callbacks."""

    def __init__(self, impairment: Impairment) -> None:
        self.clock = ManualClock(0)
        self.ear = Ear(self.clock)
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.front = ImpairedListener(self.ear, impairment, self.clock, self._call_later)

    def _call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(
            self._waiting, (self.clock.now_ns() + round(seconds * 1e9), self._count, call)
        )

    def advance(self, milliseconds: float) -> None:
        end_ns = self.clock.now_ns() + round(milliseconds * 1e6)
        while self._waiting and self._waiting[0][0] <= end_ns:
            at_ns, _, call = heapq.heappop(self._waiting)
            self.clock.advance((at_ns - self.clock.now_ns()) / 1e6)
            call()
        self.clock.advance((end_ns - self.clock.now_ns()) / 1e6)

    def delays(self) -> list[float]:
        """Sends PACKETS packets, one each 20 ms -> delays in ms of those that arrive, in order."""
        for number in range(PACKETS):
            self.front.media(str(20 * number).encode(), self.clock.now_ns())
            self.advance(20)
        self.advance(5_000)
        return [at - float(sent) for sent, at in self.ear.heard]


def test_losses_come_in_bursts_and_in_the_share_asked_for() -> None:
    laboratory = Laboratory(Impairment(loss=0.1))
    laboratory.delays()
    came = {int(sent) // 20 for sent, _ in laboratory.ear.heard}
    assert 0.07 < 1 - len(came) / PACKETS < 0.13
    assert laboratory.front.lost == PACKETS - len(came)
    lost = np.array([n not in came for n in range(PACKETS)])
    bursts = int((lost[1:] & ~lost[:-1]).sum())
    assert 2 < lost.sum() / bursts < 4


def test_jitter_has_the_spread_asked_for() -> None:
    delays = Laboratory(Impairment(jitter_ms=20)).delays()
    assert len(delays) == PACKETS
    assert np.std(delays) == pytest.approx(20, rel=0.1)
    assert min(delays) >= 0


@pytest.mark.parametrize("ppm", [300.0, -300.0])
def test_drift_changes_the_delay_by_its_parts_per_million(ppm: float) -> None:
    delays = Laboratory(Impairment(drift_ppm=ppm)).delays()
    assert delays[-1] - delays[0] == pytest.approx(ppm * 1e-6 * 20 * (PACKETS - 1), abs=0.01)
    assert delays[0] == (HEAD_START_MS if ppm < 0 else 0)


def test_messages_do_not_overtake_media() -> None:
    laboratory = Laboratory(Impairment(drift_ppm=-1))
    laboratory.front.media(b"word", laboratory.clock.now_ns())
    laboratory.front.message(StreamEnd(1))
    laboratory.advance(1_000)
    assert [what for what, _ in laboratory.ear.heard] == ["word", "StreamEnd"]


@pytest.mark.parametrize(
    "option",
    [["--sim-loss", "95"], ["--sim-jitter", "-1"], ["--sim-drift", "1e9"], ["--sim-jitter", "nan"]],
)
def test_impossible_networks_are_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "--sink", "null", *option]) == 2
    assert capsys.readouterr().err.startswith("streamcodec: simulated")


def record(path: Path, arrivals: list[tuple[int, float]], first: int = 0) -> Path:
    """Packets (number, when it arrives in ms) of one stream, of `fake_info`, as a recorder would
    have seen them.
    """
    recorder = ArrivalRecorder(path)
    recorder.connected(
        Welcome("session", "lobby", None, (StreamStart(3, "talker", fake_info()),), 1, 1), 1
    )
    for number, at_ms in arrivals:
        sequence, capture = (
            (first + number) % SEQUENCE_MODULUS,
            (320 * (first + number)) % SEQUENCE_MODULUS,
        )
        packet = Packet(Flags(0), 3, sequence, capture, fake_payload(0.1), 0)
        recorder.media(serialize(packet), round(at_ms * 1e6))
    recorder.media(b"not a packet", 0)
    recorder.media(serialize(Packet(Flags(0), 4, 0, 0, b"of somebody unknown", 0)), 0)
    recorder.close()
    return path


@pytest.mark.parametrize("first", [0, SEQUENCE_MODULUS - 40])
def test_a_recorded_network_is_played_again(tmp_path: Path, first: int) -> None:
    rng = np.random.default_rng(0)
    delays = 500 + rng.uniform(0, 30, 200)
    arrivals = sorted(
        ((n, 20 * n + float(d)) for n, d in enumerate(delays) if n != 150),
        key=lambda arrival: arrival[1],
    )
    scenario = read_trace(record(tmp_path / "trace.csv", arrivals, first))
    assert len(scenario.arrivals()) == 199
    # Only the network's share of the delay can be known, so the quickest packet sets its beginning.
    expected = [at - 20 * n - delays.min() + ONE_WAY_MS for n, at in arrivals]
    assert [a.at_ms - a.captured_ms for a in scenario.arrivals()] == pytest.approx(
        expected, abs=0.01
    )
    result = summarise(listen(PLAYOUTS["adaptive"](), scenario), scenario)
    assert 0 < result.concealed < 5
    done = CliRunner().invoke(
        bench, ["network", "--trace", str(tmp_path / "trace.csv"), "--playouts", "adaptive"]
    )
    assert "| trace.csv | adaptive |" in done.output


def test_a_malformed_trace_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "stream,sequence,capture_ms,arrival_ms,packet_ms,flags\n1,0,0,0,20,0\n1,one,20,20,20,0\n"
    )
    with pytest.raises(ConfigError, match=r"line 3: no line of a trace"):
        read_trace(path)
    path.write_text("stream,sequence,capture_ms,arrival_ms,packet_ms,flags\n")
    with pytest.raises(ConfigError, match="holds no packets"):
        read_trace(path)
