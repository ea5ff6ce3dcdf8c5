"""The adaptive playout buffer, alone and in the impairment laboratory. All times are simulated."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import AdaptivePlayout, DelayBounds
from streamcodec.live.delay import DelayTarget
from streamcodec.live.playout import Arrival, Conceal, Play
from streamcodec.wire.packet import Flags
from streamcodec_bench.network import (
    DRIFTS_PPM,
    ONE_WAY_MS,
    PACKET_MS,
    PLAYOUTS,
    SAMPLES_PER_MS,
    SCENARIOS,
    Heard,
    Scenario,
    listen,
    steps,
    summarise,
)

NONE = Flags(0)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def adaptive(min_ms: float = 20.0, max_ms: float = 400.0) -> AdaptivePlayout:
    return AdaptivePlayout(
        packet_ms=PACKET_MS, samples_per_ms=SAMPLES_PER_MS, bounds=DelayBounds(min_ms, max_ms)
    )


def receive(playout: AdaptivePlayout, number: int, now_ms: float, flags: Flags = NONE) -> Arrival:
    return playout.receive(
        number % (1 << 32), number * 320 % (1 << 32), b"%d" % number, flags, now_ms
    )


def heard(name: str, playout: str = "adaptive") -> tuple[Scenario, list[Heard]]:
    scenario = BY_NAME[name]
    return scenario, listen(PLAYOUTS[playout](), scenario)


def test_the_first_packet_waits_for_the_first_target() -> None:
    playout = adaptive()
    receive(playout, 0, 1000)
    assert playout.poll(1050) is None
    event = playout.poll(1060)
    assert isinstance(event, Play)
    assert (event.payload, event.waited_ms, event.speed) == (b"0", 60, 1.0)


def test_what_comes_late_after_a_stall_is_still_played() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    assert isinstance(playout.poll(60), Play)
    assert playout.poll(80) == Conceal(1)
    assert playout.poll(100) == Conceal(2)
    assert receive(playout, 1, 110) is Arrival.BUFFERED
    event = playout.poll(120)
    assert isinstance(event, Play)
    assert event.payload == b"1"
    assert event.follows


def test_what_is_lost_after_a_stall_is_not_concealed_twice() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    playout.poll(60)
    assert playout.poll(80) == Conceal(1)
    receive(playout, 2, 90)
    event = playout.poll(100)
    assert isinstance(event, Play)
    assert event.payload == b"2"
    assert event.follows  # what the decoder made up stands for packet 1


def test_a_hole_between_packets_is_concealed_and_passed() -> None:
    playout = adaptive()
    for number in (0, 2):
        receive(playout, number, 20.0 * number)
    assert isinstance(playout.poll(60), Play)
    assert playout.poll(80) == Conceal(1)
    assert isinstance(playout.poll(100), Play)
    assert receive(playout, 1, 110) is Arrival.LATE


def test_a_stall_without_end_falls_silent() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    playout.poll(60)
    events = [playout.poll(80 + PACKET_MS * i) for i in range(10)]
    assert [isinstance(event, Conceal) for event in events] == [True] * 6 + [False] * 4


def test_a_stream_that_begins_anew_is_followed() -> None:
    playout = adaptive()
    receive(playout, 5_000, 0)
    playout.poll(60)
    receive(playout, 3, 100, Flags.RESET)
    assert isinstance(playout.poll(160), Play)
    assert playout.statistics().restarts == 1


def test_a_pause_in_capture_is_no_delay() -> None:
    """Sequence numbers go on where capture times have moved: the packets after a mute are no later
    than those before it.
    """
    playout = adaptive()
    for number in range(100):
        playout.receive(number, number * 320, b"x", NONE, 20.0 * number)
        playout.poll(20.0 * number + 60)
    pause_ms = 30_000
    for number in range(100, 200):
        at_ms = 20.0 * number + pause_ms
        playout.receive(number, number * 320 + pause_ms * 16, b"x", NONE, at_ms)
        playout.poll(at_ms + 60)
    assert playout.statistics().target_ms <= 60
    assert playout.statistics().late == 0


def test_ended_streams_are_drained_and_conceal_nothing() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    playout.end()
    assert not playout.drained
    assert isinstance(playout.poll(60), Play)
    assert playout.drained
    assert playout.poll(80) is None
    playout.resume()
    assert not playout.drained


@pytest.mark.parametrize(
    "wrong",
    [(-1.0, 400.0), (300.0, 400.0), (20.0, 5_000.0), (float("nan"), 400.0), (0.0, float("nan"))],
)
def test_impossible_bounds_are_named(wrong: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="must lie within 0..2000 ms"):
        DelayBounds(*wrong)


@pytest.mark.parametrize("packet_ms", [0.0, 80.0])
def test_an_impossible_packet_is_named(packet_ms: float) -> None:
    with pytest.raises(ConfigError, match="packet duration must be"):
        AdaptivePlayout(packet_ms=packet_ms, samples_per_ms=SAMPLES_PER_MS)


def test_memory_is_bounded_where_nobody_polls() -> None:
    playout = adaptive(max_ms=200)
    for number in range(1_000):
        receive(playout, number, 20.0 * number)
        assert playout.statistics().buffer_ms <= 200
    assert playout.statistics().skipped == 990


def test_a_target_rises_at_once_and_falls_a_packet_a_second() -> None:
    target = DelayTarget(packet_ms=PACKET_MS, min_ms=20, max_ms=360)
    for i in range(500):
        target.arrived(20.0 * i, 20.0 * i + (100 if i % 100 == 50 else 0))
    assert 100 <= target.ms <= 110
    before = target.ms
    for i in range(500, 1000):
        target.arrived(20.0 * i, 20.0 * i)
        assert before - target.ms <= 0.02 * 20 + 1e-9
        before = target.ms
    assert target.ms == 20


def test_an_outage_teaches_nothing() -> None:
    target = DelayTarget(packet_ms=PACKET_MS, min_ms=20, max_ms=360)
    for i in range(500):
        target.arrived(20.0 * i, 20.0 * i)
    settled = target.ms
    for i in range(500, 550):
        target.arrived(20.0 * i, 11_000.0)
    assert target.ms <= settled


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 1500)), max_size=80),
    st.sampled_from([0.0, 20.0, 100.0]),
)
@settings(deadline=None)
def test_whatever_comes_everything_is_accounted_for(
    packets: list[tuple[int, int]], min_ms: float
) -> None:
    """received = played + late + duplicate + skipped + buffered; nothing is played twice,
    backwards, or older than the bound.
    """
    playout, waiting, played = adaptive(min_ms), sorted((at, n) for n, at in packets), []
    now = 0.0
    while now < 3_000:
        while waiting and waiting[0][0] <= now:
            at, number = waiting.pop(0)
            receive(playout, number, at)
        event = playout.poll(now)
        if isinstance(event, Play):
            assert 0 <= event.waited_ms <= 400
            assert 0.8 <= event.speed <= 1.4
            played.append(event.sequence)
        now += PACKET_MS if event is not None else 10
        assert playout.statistics().buffer_ms <= 400
    assert played == sorted(set(played))
    counts = playout.statistics()
    buffered = round(counts.buffer_ms / PACKET_MS)
    assert (
        counts.received
        == counts.played + counts.late + counts.duplicate + counts.skipped + buffered
    )


@pytest.mark.parametrize("hours", [0.5, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ppm", DRIFTS_PPM)
def test_clocks_that_drift_are_followed(ppm: float, hours: float) -> None:
    """The day is two minutes of computing and 3 GB for each drift: `pytest -m slow`."""
    scenario = Scenario("drift", 3_600 * hours, BY_NAME["clean"].delay_ms, drift_ppm=ppm)
    played = [
        h for h in listen(adaptive(), scenario) if 30_000 < h.at_ms < 3_600_000 * hours - 30_000
    ]
    assert len(played) > 170_000 * hours
    assert all(h.delay_ms is not None for h in played)
    delays = [h.delay_ms for h in played if h.delay_ms is not None]
    assert max(delays) - min(delays) <= 5
    assert max(abs(h.speed - 1) for h in played) <= 0.002


def test_a_sink_whose_clock_drifts_is_followed() -> None:
    scenario = Scenario("sink", 600, BY_NAME["clean"].delay_ms, sink_ppm=-300)
    played = [h for h in listen(adaptive(), scenario) if 30_000 < h.at_ms < 595_000]
    delays = [h.delay_ms for h in played if h.delay_ms is not None]
    assert len(delays) == len(played)
    assert max(delays) - min(delays) <= 5


def test_jitter_of_30_ms_costs_a_percent_at_most() -> None:
    scenario, log = heard("jitter N(0, 30 ms)")
    result = summarise(log, scenario)
    assert result.concealed <= 1
    assert result.mean_buffer <= 100


def test_wifi_stalls_are_bridged_and_forgotten() -> None:
    scenario, log = heard("the same, over after 40 s")
    assert summarise(log, scenario).concealed <= 1
    before = dataclasses.replace(scenario, delay_ms=BY_NAME["clean"].delay_ms)
    undisturbed = summarise(listen(adaptive(), before), before)
    assert summarise(log, scenario).excess <= undisturbed.excess + 20


@pytest.mark.parametrize(
    "name",
    ["drift 25 ms/s and freeze 5 s", "drift -25 ms/s and freeze 5 s", "freeze 5 s", "freeze 10 s"],
)
def test_after_a_freeze_speech_is_back_soon_and_live(name: str) -> None:
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


def test_what_comes_twice_is_heard_once() -> None:
    twice = next(s for s in SCENARIOS if s.duplicated)
    playout = adaptive()
    played = [h.number for h in listen(playout, twice) if h.waited_ms is not None]
    assert len(played) == len(set(played))
    assert playout.statistics().duplicate > 200


def test_a_route_that_changes_costs_three_packets_and_no_delay() -> None:
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
def test_a_network_that_stays_slower_is_followed(step_ms: float) -> None:
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
def test_a_backlog_is_no_slower_network(speed: float) -> None:
    """Ten seconds of speech that come at last, however slowly: nothing is played that is older than
    the bound.
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


def test_losses_do_not_make_the_decoder_begin_anew() -> None:
    """Whatever the phase of arrivals: what it made up stands for what was lost."""
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
    """Everything that a buffer keeps, counted as the bytes that it takes to write it down."""
    playout = adaptive()
    listen(playout, scenario)
    assert playout.statistics().buffer_ms <= 400
    assert len(pickle.dumps(playout)) < 16_000


def test_what_was_said_before_an_outage_is_not_played_after_it() -> None:
    """TCP delivers what was sent into a dead network when that is back, one packet first and then
    the rest.
    """
    buffer = AdaptivePlayout(packet_ms=PACKET_MS, samples_per_ms=SAMPLES_PER_MS)
    played = []

    def arrives(number: int, now: float) -> None:
        buffer.receive(number, round(number * PACKET_MS * SAMPLES_PER_MS), b"", Flags(0), now)

    def polls(now: float) -> None:
        event = buffer.poll(now)
        if isinstance(event, Play):
            played.append((event.sequence, now))

    for number in range(200):
        arrives(number, number * PACKET_MS + 40)
        polls(number * PACKET_MS + 40)
    now = 200 * PACKET_MS + 2_000  # two seconds of silence, and then packet 200
    for turn in range(100):
        polls((200 + turn) * PACKET_MS + 40)
    arrives(200, now)
    polls(now)
    polls(now + PACKET_MS)
    for number in range(201, 300):
        arrives(number, now + 30)
    for number in range(300, 400):
        polls(now + 30 + (number - 300) * PACKET_MS)
        arrives(number, now + 40 + (number - 300) * PACKET_MS)
    after = [(sequence, at) for sequence, at in played if at >= now]
    assert after
    assert max(at - sequence * PACKET_MS for sequence, at in after) <= 40 + 400 + PACKET_MS
    assert max(at - sequence * PACKET_MS for sequence, at in after[-20:]) < 200
