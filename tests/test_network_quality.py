"""Jitter, drift and the rating of a call, and the comparison of clocks over the relay."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fakes import ManualClock
from streamcodec.live.network_quality import ArrivalStatistics, mean_opinion, transmission_rating
from streamcodec.wire.session import Message, Mute, Time, Welcome
from streamcodec_client.transport.clock_sync import ClockSync


def arrivals(seconds: float, ppm: float = 0.0, jitter_ms: float = 0.0) -> ArrivalStatistics:
    rng, statistics = np.random.default_rng(0), ArrivalStatistics()
    for media_ms in np.arange(0, seconds * 1000, 20).astype(float):
        statistics.arrived(media_ms, media_ms * (1 + ppm * 1e-6) + 40 + jitter_ms * rng.random())
    return statistics


@pytest.mark.parametrize("ppm", [0, 50, -50, 300, -300])
def test_drift_is_found_through_jitter(ppm: float) -> None:
    assert arrivals(20, ppm).drift_ppm is None
    assert arrivals(300, ppm, jitter_ms=30).drift_ppm == pytest.approx(ppm, abs=5)


def test_jitter_is_that_of_rfc_3550() -> None:
    assert arrivals(60).jitter_ms == 0
    # The mean difference of two numbers drawn evenly out of 30 is 10.
    assert np.mean([arrivals(t, jitter_ms=30).jitter_ms for t in range(5, 105)]) == pytest.approx(
        10, rel=0.15
    )


def test_a_stream_that_begins_anew_is_no_jitter_and_no_drift() -> None:
    statistics = arrivals(60)
    statistics.restart()
    for media_ms in np.arange(0, 60_000, 20).astype(float):
        statistics.arrived(media_ms, media_ms + 1e6)
    assert statistics.jitter_ms == 0
    assert statistics.drift_ppm == pytest.approx(0, abs=1e-6)


def test_the_rating_falls_with_delay_and_loss_as_published() -> None:
    assert mean_opinion(transmission_rating(0, 0)) == pytest.approx(4.41, abs=0.01)
    assert transmission_rating(150, 0) == pytest.approx(89.6, abs=0.1)
    # nearly all users dissatisfied begins at 60
    assert transmission_rating(400, 0) == pytest.approx(59.1, abs=0.2)
    ratings = [transmission_rating(100, share) for share in (0, 0.01, 0.05, 0.2, 1)]
    assert ratings == sorted(ratings, reverse=True)
    assert mean_opinion(transmission_rating(10_000, 1)) == 1
    with pytest.raises(ValueError, match="must be a number"):
        mean_opinion(float("nan"))


class FakeTransport:
    """A relay whose clock is ahead by `offset_ms`; both ways take as long as the test says."""

    tls = False

    def __init__(
        self,
        sync: ClockSync,
        clock: ManualClock,
        ways_ms: list[tuple[float, float]],
        offset_ms: float,
    ) -> None:
        self.sync, self.clock, self.ways_ms, self.offset_ms = sync, clock, ways_ms, offset_ms
        self.connection: int | None = 1

    async def send(self, datagram: bytes) -> int:
        raise AssertionError("no media")

    async def send_message(self, message: Message) -> bool:
        assert isinstance(message, Time)
        there, back = self.ways_ms.pop(0)
        self.clock.advance(there)
        relay_ms = self.clock.now_ns() / 1e6 + self.offset_ms
        self.clock.advance(back)
        self.sync.message(Mute(muted=True))
        self.sync.message(Time(message.sent_ms, relay_ms))
        if not self.ways_ms:
            self.connection = None
        return True


async def test_the_quickest_round_trip_tells_the_relays_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamcodec_client.transport.clock_sync.FIRST_INTERVAL_S", 0)
    monkeypatch.setattr("streamcodec_client.transport.clock_sync.INTERVAL_S", 0)
    clock = ManualClock()
    sync = ClockSync(clock)
    assert sync.offset_ms is None
    transport = FakeTransport(
        sync, clock, [(20, 90), (20, 21), (150, 20), (40, 20)], offset_ms=-5_000
    )
    task = asyncio.ensure_future(sync.run(transport))
    while transport.connection is not None:
        await asyncio.sleep(0)
    task.cancel()
    assert sync.offset_ms == pytest.approx(-5_000, abs=1)
    assert sync.rtt_ms == pytest.approx(60)
    sync.disconnected("gone")
    assert sync.rtt_ms is None
    sync.connected(Welcome("s", "lobby", None, (), 0, 1), 2)
    assert sync.offset_ms is None
