"""The adaptive playout buffer in the impairment laboratory: simulated networks, simulated time."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest

from streamcodec.live.adaptive import AdaptivePlayout
from streamcodec.live.speed import is_fine
from streamcodec_bench.network import (
    DRIFTS_PPM,
    ONE_WAY_MS,
    PACKET_MS,
    SAMPLES_PER_MS,
    SCENARIOS,
    Heard,
    Scenario,
    listen,
    steps,
    summarise,
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def adaptive() -> AdaptivePlayout:
    return AdaptivePlayout(packet_ms=PACKET_MS, samples_per_ms=SAMPLES_PER_MS)


def heard(name: str) -> tuple[Scenario, list[Heard]]:
    scenario = BY_NAME[name]
    return scenario, listen(adaptive(), scenario)


@pytest.mark.parametrize("hours", [0.5, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ppm", DRIFTS_PPM)
def test_clocks_that_drift_are_followed(ppm: float, hours: float) -> None:
    """A day takes two minutes and 3 GB for each drift: run it with `pytest -m slow`."""
    scenario = Scenario("drift", 3_600 * hours, BY_NAME["clean"].delay_ms, drift_ppm=ppm)
    played = [
        h for h in listen(adaptive(), scenario) if 30_000 < h.at_ms < 3_600_000 * hours - 30_000
    ]
    assert len(played) > 170_000 * hours
    assert all(h.delay_ms is not None for h in played)
    delays = [h.delay_ms for h in played if h.delay_ms is not None]
    assert max(delays) - min(delays) <= 5
    assert all(is_fine(h.speed) for h in played)


def test_a_sink_whose_clock_drifts_is_followed() -> None:
    scenario = Scenario("sink", 600, BY_NAME["clean"].delay_ms, sink_ppm=-300)
    played = [h for h in listen(adaptive(), scenario) if 30_000 < h.at_ms < 595_000]
    delays = [h.delay_ms for h in played if h.delay_ms is not None]
    assert len(delays) == len(played)
    assert max(delays) - min(delays) <= 5


def test_with_30_ms_of_jitter_at_most_one_percent_is_concealed() -> None:
    scenario, log = heard("jitter N(0, 30 ms)")
    result = summarise(log, scenario)
    assert result.concealed <= 1
    assert result.mean_buffer <= 100


def test_wifi_stalls_are_bridged_and_their_delay_is_won_back_afterwards() -> None:
    scenario, log = heard("the same, over after 40 s")
    assert summarise(log, scenario).concealed <= 1
    before = dataclasses.replace(scenario, delay_ms=BY_NAME["clean"].delay_ms)
    undisturbed = summarise(listen(adaptive(), before), before)
    assert summarise(log, scenario).excess <= undisturbed.excess + 20


@pytest.mark.parametrize(
    "name",
    ["drift 25 ms/s and freeze 5 s", "drift -25 ms/s and freeze 5 s", "freeze 5 s", "freeze 10 s"],
)
def test_after_a_freeze_speech_is_back_within_200_ms_at_the_old_delay(name: str) -> None:
    _, log = heard(name)
    drift = {"drift 25": 0.025, "drift -2": -0.025}.get(name[:8], 0.0)
    thaw = 25_000 * (1 + drift) + ONE_WAY_MS
    back = next(h for h in log if h.delay_ms is not None and h.at_ms >= thaw)
    assert back.at_ms - thaw <= 200

    def excess(h: Heard) -> float:
        assert h.delay_ms is not None
        return h.delay_ms - ONE_WAY_MS - drift * (h.at_ms - h.delay_ms)

    live = [h for h in log if h.delay_ms is not None and h.at_ms >= thaw + 300]
    assert len(live) > 600
    assert max(excess(h) for h in live) <= 60


def test_duplicates_are_played_once() -> None:
    twice = next(s for s in SCENARIOS if s.duplicated)
    playout = adaptive()
    played = [h.number for h in listen(playout, twice) if h.waited_ms is not None]
    assert len(played) == len(set(played))
    assert playout.statistics().duplicate > 200


def test_a_route_change_costs_at_most_three_packets_and_no_lasting_delay() -> None:
    _, log = heard("route +60 ms, then -60 ms")
    assert sum(h.delay_ms is None for h in log if h.at_ms > 1_000) <= 3

    def longest_ms(after_ms: float, until_ms: float) -> float:
        return max(
            h.delay_ms for h in log if after_ms < h.at_ms < until_ms and h.delay_ms is not None
        )

    before = longest_ms(15_000, 20_000)
    assert longest_ms(30_100, 40_000) <= before + 60 + 5  # ten seconds after the step of 20 s
    assert longest_ms(50_100, 60_000) <= before + 5


@pytest.mark.parametrize("step_ms", [100, 300, 380, 420, 600, 1_000, 3_000])
def test_a_network_that_stays_slower_sets_a_new_baseline(step_ms: float) -> None:
    scenario = Scenario("slower", 40, steps([(20_000, step_ms)]))
    log = [h for h in listen(adaptive(), scenario) if h.delay_ms is not None]
    heard_again = next(h.at_ms for h in log if h.at_ms - (h.delay_ms or 0) >= 20_000)
    holes = [after.at_ms - before.at_ms for before, after in itertools.pairwise(log)]
    assert max(holes) <= step_ms + 400
    assert heard_again <= 20_000 + ONE_WAY_MS + step_ms + 500
    later = [h.delay_ms for h in log if h.at_ms > 32_000 and h.delay_ms is not None]
    assert max(later) <= ONE_WAY_MS + step_ms + 40
    assert len(later) > 350


@pytest.mark.parametrize("speed", [1.5, 3.0, 20.0])
def test_a_backlog_is_not_taken_for_a_slower_network(speed: float) -> None:
    """Ten seconds of speech that are delivered at last, `speed` times as fast as they were spoken:
    nothing is played that is older than the bound.
    """

    def drained(rng: np.random.Generator, sent: np.ndarray) -> np.ndarray:
        begin, thaw = 20_000.0, 30_000.0
        return np.where(sent < begin, 0.0, np.maximum(0.0, thaw + (sent - begin) / speed - sent))

    scenario = Scenario("backlog", 60, drained)
    after = [
        h.delay_ms
        for h in listen(adaptive(), scenario)
        if h.at_ms > 20_500 and h.delay_ms is not None
    ]
    assert max(after) <= ONE_WAY_MS + 400 + PACKET_MS


def test_losses_do_not_reset_the_decoder() -> None:
    """At any phase of arrivals (the clocks drift), what was concealed counts as decoded."""
    scenario = dataclasses.replace(BY_NAME["loss 5 %, bursts of 3"], drift_ppm=100)
    log = listen(adaptive(), scenario)
    lost = sum(
        h.waited_ms is None and after.waited_ms is not None for h, after in itertools.pairwise(log)
    )
    assert lost > 50
    assert sum(not h.follows for h in log[10:]) <= lost / 10


@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if s.seconds <= 120], ids=lambda s: s.name
)
def test_memory_is_bounded_in_every_scenario(scenario: Scenario) -> None:
    """Memory: the size of the whole state as a pickle."""
    playout = adaptive()
    listen(playout, scenario)
    assert playout.statistics().buffer_ms <= 400
    assert len(pickle.dumps(playout)) < 16_000
