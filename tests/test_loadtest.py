"""`streamcodec loadtest`: what it counts is what was sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay_clients import NO_BUDGETS, PATIENCE_S, relay
from streamcodec.errors import ConfigError
from streamcodec.wire.session import Role
from streamcodec_bench.load_clients import Client, Load, Tally, hello, masked
from streamcodec_bench.loadtest import LoadReport, run_load
from streamcodec_bench.loadtest_command import loadtest
from streamcodec_server.limits import RoomLimits
from streamcodec_server.relay import Relay
from streamcodec_server.settings import RelayConfig

SHORT = Load(rooms=2, talkers=1, listeners=3, seconds=0.4)


async def test_every_delivery_is_counted_once() -> None:
    async with Relay(RelayConfig(port=0)).running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        report = await run_load(f"ws://127.0.0.1:{port}", SHORT)
    assert report.expected == pytest.approx(2 * 3 * 20, abs=12)
    assert report.delivered == report.expected
    assert 0 < report.age_p50_ms <= report.age_p99_ms <= report.age_max_ms < 1_000 * PATIENCE_S
    assert report.closed == {}
    assert report.cpu_percent is None
    assert json.loads(report.to_json())["lost_percent"] == 0


async def test_what_the_relay_drops_is_missed() -> None:
    """Of 50 packets a second this relay lets five pass."""
    limits = RoomLimits(**{**NO_BUDGETS, "packets_per_s": 5.0, "burst_s": 20.0})
    async with relay(limits) as (_, clock, url):
        report = await run_load(url, SHORT)
        assert clock.now_ms == 0  # no second passes: 100 packets at once are all
    assert report.lost_percent == 0
    limits = RoomLimits(**{**NO_BUDGETS, "packets_per_s": 5.0, "burst_s": 12.0})
    async with relay(limits) as (_, _, url):
        report = await run_load(url, SHORT)
    assert report.lost_percent > 20
    assert report.delivered < report.expected


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"listeners": 0}, "listeners must be above 0, got 0"),
        ({"payload_bytes": 7}, "8 bytes for its time, got 7"),
        ({"abuse": "noise"}, "abuse must be one of mutes, pings"),
    ],
)
def test_a_load_that_cannot_be_is_named(fields: dict[str, int], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Load(**fields)  # type: ignore[arg-type]


def test_the_command_starts_a_relay_of_its_own() -> None:
    arguments = ["--listeners", "2", "--seconds", "0.3", "--json"]
    ran = CliRunner().invoke(loadtest, arguments, catch_exceptions=False)
    report = json.loads(ran.output)
    assert report["delivered"] == report["expected"] > 0
    assert report["rss_mib"] > 5
    assert report["load"]["listeners"] == 2


def test_frames_are_found_however_they_are_cut() -> None:
    tally = Tally(since_ns=0)
    joined: list[int] = []
    stamped = b"\x82\x14" + bytes(12) + (1).to_bytes(8, "big")
    large = b"\x82\x7e" + (300).to_bytes(2, "big") + bytes(12) + (1).to_bytes(8, "big") + bytes(280)
    stream = b"HTTP/1.1 101 Fine\r\n\r\n\x81\x02{}" + stamped + large + stamped
    for size in (1, 7, 1_000):
        client = Client(hello(Role.LISTEN, "a", "x"), tally, lambda: joined.append(1))
        before = tally.delivered
        for at in range(0, len(stream), size):
            client.data_received(stream[at : at + size])
        assert tally.delivered - before == 3
    assert joined == [1, 1, 1]


def test_a_clients_frame_has_a_mask() -> None:
    assert masked(1, b"hi") == b"\x81\x82\0\0\0\0hi"
    assert masked(2, bytes(126))[:8] == b"\x82\xfe\0\x7e\0\0\0\0"


async def test_windows_follow_each_other_with_the_same_clients() -> None:
    shown: list[LoadReport] = []
    async with Relay(RelayConfig(port=0)).running() as server:
        port = next(iter(server.sockets)).getsockname()[1]
        last = await run_load(f"ws://127.0.0.1:{port}", SHORT, None, 3, shown.append)
    assert [report.delivered == report.expected > 0 for report in shown] == [True] * 3
    assert shown[-1] == last
    assert {report.joined_s for report in shown} == {last.joined_s}


def test_a_relay_that_was_stopped_delivers_nothing_old() -> None:
    """Once it sent 232 of 251 packets, up to 5 s old, within 8 ms."""
    arguments = ["--listeners", "3", "--seconds", "6", "--abuse", "stall", "--json"]
    ran = CliRunner().invoke(loadtest, arguments, catch_exceptions=False)
    report = json.loads(ran.output)
    assert report["lost_percent"] > 60
    assert report["delivered"] > 50


async def test_a_relay_elsewhere_cannot_be_stopped() -> None:
    with pytest.raises(ConfigError, match="only a relay that this command has started"):
        await run_load("ws://127.0.0.1:1", Load(abuse="stall"))


def test_runs_are_drawn(tmp_path: Path) -> None:
    arguments = ["--listeners", "1,2", "--seconds", "0.3", "--peer"]
    picture = tmp_path / "load.png"
    ran = CliRunner().invoke(
        loadtest, [*arguments, "--picture", str(picture)], catch_exceptions=False
    )
    rows = [line.split("|")[1].strip() for line in ran.output.splitlines()[2:]]
    assert rows == ["ours", "bare"] * 2
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ws://x", "--peer"], "a peer runs on this machine"),
        (["--windows", "0"], "windows must be at least 1"),
        (["--rooms", "many"], "write numbers such as 100,500"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments: list[str], complaint: str) -> None:
    ran = CliRunner().invoke(loadtest, arguments)
    assert ran.exit_code
    assert complaint in ran.output + str(ran.exception)
