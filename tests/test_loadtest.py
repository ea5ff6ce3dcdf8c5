"""`streamcodec loadtest`: what it counts is what was sent."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from relay_clients import NO_BUDGETS, PATIENCE_S, relay
from streamcodec.errors import ConfigError
from streamcodec.wire.session import Role
from streamcodec_bench.load_clients import Client, Load, Tally, hello, masked
from streamcodec_bench.loadtest import run_load
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
