"""The adaptive playout buffer by itself. Each test is a timeline of simulated time: which packet
arrives when, and what is played when.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import AdaptivePlayout, DelayBounds
from streamcodec.live.playout import Arrival, Conceal, Play
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags

PACKET_MS = 20.0
FIRST_MS = 40.0  # what the first packet waits, while nothing is known of the network
PACKET_SAMPLES = 320
NONE = Flags(0)


def adaptive(min_ms: float = 20.0, max_ms: float = 400.0) -> AdaptivePlayout:
    return AdaptivePlayout(
        packet_ms=PACKET_MS, samples_per_ms=16, bounds=DelayBounds(min_ms, max_ms)
    )


def receive(playout: AdaptivePlayout, number: int, now_ms: float, flags: Flags = NONE) -> Arrival:
    return playout.receive(
        number % SEQUENCE_MODULUS,
        number * PACKET_SAMPLES % SEQUENCE_MODULUS,
        b"%d" % number,
        flags,
        now_ms,
    )


def test_the_first_packet_waits_for_the_first_target() -> None:
    playout = adaptive()
    receive(playout, 0, 1000)
    assert playout.poll(1030) is None
    event = playout.poll(1000 + FIRST_MS)
    assert isinstance(event, Play)
    assert (event.payload, event.waited_ms, event.speed) == (b"0", FIRST_MS, 1.0)


def test_a_packet_that_comes_late_after_a_stall_is_still_played() -> None:
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


def test_a_packet_that_was_lost_in_a_stall_is_not_concealed_twice() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    playout.poll(60)
    assert playout.poll(80) == Conceal(1)
    receive(playout, 2, 90)
    event = playout.poll(100)
    assert isinstance(event, Play)
    assert event.payload == b"2"
    assert event.follows  # packet 1 has been concealed


def test_a_packet_missing_between_others_is_concealed_and_its_turn_is_over() -> None:
    playout = adaptive()
    for number in (0, 2):
        receive(playout, number, 20.0 * number)
    assert isinstance(playout.poll(FIRST_MS), Play)
    assert playout.poll(FIRST_MS + 20) == Conceal(1)
    assert isinstance(playout.poll(FIRST_MS + 40), Play)
    assert receive(playout, 1, FIRST_MS + 50) is Arrival.LATE


def test_after_120_ms_without_packets_nothing_is_concealed() -> None:
    playout = adaptive()
    receive(playout, 0, 0)
    playout.poll(60)
    events = [playout.poll(80 + PACKET_MS * i) for i in range(10)]
    assert [isinstance(event, Conceal) for event in events] == [True] * 6 + [False] * 4


def test_a_restarted_stream_is_played() -> None:
    playout = adaptive()
    receive(playout, 5_000, 0)
    playout.poll(60)
    receive(playout, 3, 100, Flags.RESET)
    assert isinstance(playout.poll(160), Play)
    assert playout.statistics().restarts == 1


def test_a_pause_in_capture_does_not_count_as_lateness() -> None:
    """During a mute capture time goes on and sequence numbers do not: the packets after it are no
    later than those before.
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
    assert playout.statistics().target_ms <= FIRST_MS
    assert playout.statistics().late == 0


@pytest.mark.parametrize("first_sequence", [0, SEQUENCE_MODULUS - 50])
@pytest.mark.parametrize(
    "first_capture", [0, SEQUENCE_MODULUS - 50 * PACKET_SAMPLES, SEQUENCE_MODULUS - 7]
)
def test_it_plays_on_where_sequence_numbers_and_capture_times_wrap(
    first_sequence: int, first_capture: int
) -> None:
    """Capture times wrap every 74.6 h at 16 kHz: delay and target stay what they were."""
    playout = adaptive()
    played, concealed, numbers = [], 0, range(200)
    for number in numbers:
        now_ms = PACKET_MS * number
        playout.receive(
            (first_sequence + number) % SEQUENCE_MODULUS,
            (first_capture + PACKET_SAMPLES * number) % SEQUENCE_MODULUS,
            b"x",
            NONE,
            now_ms,
        )
        event = playout.poll(now_ms)
        concealed += isinstance(event, Conceal)
        if isinstance(event, Play):
            assert event.waited_ms == FIRST_MS
            assert event.flags == NONE
            played.append(event.sequence)
    assert played == [
        (first_sequence + n) % SEQUENCE_MODULUS for n in numbers[: -round(FIRST_MS / PACKET_MS)]
    ]
    statistics = playout.statistics()
    assert (concealed, statistics.restarts, statistics.skipped, statistics.late) == (0, 0, 0, 0)
    assert statistics.target_ms <= FIRST_MS


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
        AdaptivePlayout(packet_ms=packet_ms, samples_per_ms=16)


def test_memory_is_bounded_where_nobody_polls() -> None:
    playout = adaptive(max_ms=200)
    for number in range(1_000):
        receive(playout, number, 20.0 * number)
        assert playout.statistics().buffer_ms <= 200
    assert playout.statistics().skipped == 990


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 1500)), max_size=80),
    st.sampled_from([0.0, 20.0, 100.0]),
)
@settings(deadline=None)
def test_every_packet_is_counted_once_and_none_is_played_twice_or_too_old(
    packets: list[tuple[int, int]], min_ms: float
) -> None:
    """For random arrivals: received = played + late + duplicate + skipped + buffered; nothing is
    played twice, out of order, or after a wait above the bound.
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


def test_packets_from_before_an_outage_are_not_played_after_it() -> None:
    """When the network is back, TCP first delivers one of the packets that were sent into the
    outage, and then all the others.
    """
    buffer = AdaptivePlayout(packet_ms=PACKET_MS, samples_per_ms=16)
    played = []

    def arrives(number: int, now: float) -> None:
        buffer.receive(number, number * PACKET_SAMPLES, b"", Flags(0), now)

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
