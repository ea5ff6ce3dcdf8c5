"""The playout buffer with a fixed delay. Each test is a timeline: which packet arrives when, and
what is played when.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.errors import ConfigError
from streamcodec.live.fixed import CONCEAL_LIMIT_MS, FixedPlayout
from streamcodec.live.playout import Arrival, Conceal, Play
from streamcodec.wire.packet import Flags

PACKET_MS = 20
NONE = Flags(0)


def fixed(target_ms: float = 60, max_ms: float = 400) -> FixedPlayout:
    return FixedPlayout(packet_ms=PACKET_MS, target_ms=target_ms, max_ms=max_ms)


def receive(playout: FixedPlayout, sequence: int, now_ms: float, flags: Flags = NONE) -> Arrival:
    return playout.receive(
        sequence % (1 << 32), sequence * 320 % (1 << 32), b"%d" % sequence, flags, now_ms
    )


def listen(
    playout: FixedPlayout,
    arrivals: Sequence[tuple[float, int]],
    until_ms: float,
    from_ms: float = 0,
) -> list[str]:
    """A sink that takes blocks of 10 ms -> "60 play 0", "80 conceal 1", ... for every packet that
    it needed.
    """
    log, waiting, busy_until_ms = [], sorted(arrivals), from_ms
    now_ms = from_ms
    while now_ms < until_ms:
        while waiting and waiting[0][0] <= now_ms:
            at_ms, sequence = waiting.pop(0)
            receive(playout, sequence, at_ms)
        if now_ms >= busy_until_ms and (event := playout.poll(now_ms)) is not None:
            busy_until_ms = now_ms + PACKET_MS
            log.append(
                f"{now_ms:g} {'play' if isinstance(event, Play) else 'conceal'} {event.sequence}"
            )
        now_ms += 10
    return log


def steady(first: int, last: int, delay_ms: float = 0) -> list[tuple[float, int]]:
    return [(PACKET_MS * n + delay_ms, n) for n in range(first, last + 1)]


def test_packets_are_heard_one_target_after_they_came() -> None:
    playout = fixed()
    assert listen(playout, steady(0, 3), 140) == [
        "60 play 0",
        "80 play 1",
        "100 play 2",
        "120 play 3",
    ]
    assert playout.statistics().delay_ms == 60


def test_lateness_within_the_target_is_not_heard() -> None:
    arrivals = [(0, 0), (75, 1), (75, 2), (115, 3), (80, 4)]
    assert listen(fixed(), arrivals, 160) == [
        "60 play 0",
        "80 play 1",
        "100 play 2",
        "120 play 3",
        "140 play 4",
    ]


def test_a_missing_packet_is_concealed_and_dropped_when_it_comes_late() -> None:
    playout = fixed()
    arrivals = [(0, 0), (95, 1), (40, 2), (60, 3)]
    assert listen(playout, arrivals, 140) == [
        "60 play 0",
        "80 conceal 1",
        "100 play 2",
        "120 play 3",
    ]
    statistics = playout.statistics()
    assert (statistics.late, statistics.lost, statistics.concealed, statistics.underruns) == (
        1,
        0,
        1,
        0,
    )


def test_a_lost_packet_is_counted_as_lost() -> None:
    playout = fixed()
    listen(playout, [(0, 0), (40, 2)], 110)
    assert (playout.statistics().lost, playout.statistics().concealed) == (1, 1)


def test_packet_after_a_concealed_one_follows_it() -> None:
    playout = fixed()
    for sequence in (0, 2):
        receive(playout, sequence, PACKET_MS * sequence)
    first, lost, second = (playout.poll(60 + PACKET_MS * n) for n in range(3))
    assert isinstance(first, Play)
    assert not first.follows
    assert lost == Conceal(1)
    assert isinstance(second, Play)
    assert second.follows


def test_payload_and_flags_come_through() -> None:
    playout = fixed(target_ms=0)
    playout.receive(7, 0, b"voice", Flags.RESET | Flags.VOICE, 100)
    assert playout.poll(105) == Play(
        b"voice", 7, Flags.RESET | Flags.VOICE, waited_ms=5, follows=False
    )


def test_duplicates_are_played_once() -> None:
    playout = fixed()
    assert [receive(playout, n, PACKET_MS * n) for n in (0, 0, 1)] == [
        Arrival.BUFFERED,
        Arrival.DUPLICATE,
        Arrival.BUFFERED,
    ]
    assert listen(playout, [(61, 0)], 100) == ["60 play 0", "80 play 1"]
    assert playout.statistics().duplicate == 2


def test_sequence_numbers_wrap() -> None:
    top = (1 << 32) - 2
    arrivals = [(PACKET_MS * n, top + n) for n in range(4)]
    assert listen(fixed(), arrivals, 140) == [
        f"60 play {top}",
        f"80 play {top + 1}",
        "100 play 0",
        "120 play 1",
    ]


def test_a_listener_can_join_in_the_middle_of_a_stream() -> None:
    assert listen(fixed(), steady(1000, 1001, delay_ms=-20_000), 90) == [
        "60 play 1000",
        "80 play 1001",
    ]


def test_a_burst_at_the_beginning_adds_no_delay() -> None:
    """Ten packets at once after a stall: the newest took the shortest time and sets the timeline;
    packets whose turn is over by then are skipped.
    """
    playout = fixed()
    arrivals = [(0, n) for n in range(10)] + [(PACKET_MS * (n - 9), n) for n in range(10, 12)]
    assert listen(playout, arrivals, 110) == [
        "0 play 6",
        "20 play 7",
        "40 play 8",
        "60 play 9",
        "80 play 10",
        "100 play 11",
    ]
    assert playout.statistics().skipped == 6


def test_an_underrun_is_concealed_then_silent_until_packets_are_buffered_again() -> None:
    playout = fixed()
    late = 200
    log = listen(playout, steady(0, 1) + steady(2, 6, delay_ms=late), 420)
    assert log[:5] == ["60 play 0", "80 play 1", "100 conceal 2", "120 conceal 3", "140 conceal 4"]
    # Silence until packet 2, sent at 40, has come at 240 and has waited its 60 ms.
    assert log[5:] == [
        "300 play 2",
        "320 play 3",
        "340 play 4",
        "360 play 5",
        "380 play 6",
        "400 conceal 7",
    ]
    assert playout.statistics().underruns == 2


def test_the_stretch_after_silence_does_not_follow() -> None:
    playout = fixed(target_ms=0)
    receive(playout, 0, 0)
    assert isinstance(playout.poll(0), Play)
    polls = round(CONCEAL_LIMIT_MS / PACKET_MS)
    assert all(isinstance(playout.poll(PACKET_MS * (n + 1)), Conceal) for n in range(polls))
    assert playout.poll(500) is None
    receive(playout, 1, 600)
    event = playout.poll(600)
    assert isinstance(event, Play)
    assert (event.sequence, event.follows) == (1, False)


def test_delay_after_a_stall_is_what_it_was_before() -> None:
    """A retransmission holds everything up for 140 ms and then delivers it at once: afterwards the
    delay is what it was.
    """
    playout = fixed()
    stalled = [(max(at, 240), n) if at > 100 else (at, n) for at, n in steady(0, 30)]
    log = listen(playout, stalled, 640)
    assert log[-1] == "620 play 28"
    assert playout.statistics().delay_ms == pytest.approx(60, abs=10)


def test_a_restart_with_reset_begins_at_once() -> None:
    playout = fixed(target_ms=0)
    receive(playout, 5_000, 0)
    playout.poll(0)
    assert receive(playout, 0, 20, Flags.RESET) is Arrival.BUFFERED
    event = playout.poll(20)
    assert isinstance(event, Play)
    assert (event.sequence, event.follows) == (0, False)
    assert playout.statistics().restarts == 1


def test_two_old_packets_in_a_row_are_a_restart_and_one_is_not() -> None:
    playout = fixed(target_ms=0)
    receive(playout, 5_000, 0)
    assert receive(playout, 100, 10) is Arrival.LATE
    assert receive(playout, 5_001, 20) is Arrival.BUFFERED
    assert receive(playout, 200, 30) is Arrival.LATE
    assert receive(playout, 201, 40) is Arrival.BUFFERED
    assert playout.statistics().restarts == 1


def test_a_far_jump_ahead_is_not_waited_for() -> None:
    playout = fixed()
    log = listen(playout, steady(0, 2) + [(100 + PACKET_MS * n, 9_000 + n) for n in range(3)], 210)
    assert log == ["60 play 0", "80 play 1", "160 play 9000", "180 play 9001", "200 play 9002"]
    assert (playout.statistics().lost, playout.statistics().restarts) == (8_997, 0)


@pytest.mark.parametrize("missing", [1, 19, 20, 21, 50, 3_000])
def test_packets_lost_in_an_outage_are_counted(missing: int) -> None:
    playout = fixed()
    for sequence in (0, 1, 2 + missing, 3 + missing):
        receive(playout, sequence, PACKET_MS * sequence)
    assert (playout.statistics().lost, playout.statistics().restarts) == (missing, 0)


def test_a_far_jump_ahead_is_a_restart_with_reset_or_beyond_65536_packets() -> None:
    playout = fixed()
    receive(playout, 0, 0)
    receive(playout, 9_000, 20, Flags.RESET)
    receive(playout, 9_000 + (1 << 20), 40)
    assert (playout.statistics().lost, playout.statistics().restarts) == (0, 2)


def test_nothing_is_played_that_waited_too_long() -> None:
    playout = fixed(max_ms=200)
    for at_ms, sequence in steady(0, 4):
        receive(playout, sequence, at_ms)
    assert isinstance(playout.poll(60), Play)
    assert playout.poll(5_000) is None
    assert playout.statistics().skipped == 4


def test_memory_is_bounded_where_nobody_polls() -> None:
    playout = fixed(max_ms=200)
    for at_ms, sequence in steady(0, 999):
        receive(playout, sequence, at_ms)
    assert playout.statistics().buffer_ms == 200
    event = playout.poll(999 * PACKET_MS)
    assert isinstance(event, Play)
    assert event.sequence == 996


def delays(log: list[str]) -> list[float]:
    """From sending to playing, for each packet that was played."""
    lines = [line.split() for line in log]
    return [float(at) - PACKET_MS * int(number) for at, what, number in lines if what == "play"]


def test_delay_that_no_packet_needed_for_two_seconds_is_cut_out() -> None:
    """The network becomes 100 ms quicker after the stretch has begun: when a window of two seconds
    has shown that nothing needs the delay, five packets are skipped at once.
    """
    playout = fixed()
    log = listen(playout, steady(0, 9, delay_ms=100) + steady(10, 300), 5_000)
    assert not any("conceal" in line for line in log)
    assert delays(log) == [160] * 200 + [60] * (len(log) - 200)
    assert (playout.statistics().skipped, playout.statistics().lost) == (5, 0)


def test_a_surplus_of_one_packet_is_not_worth_a_splice() -> None:
    playout = fixed()
    log = listen(playout, steady(0, 9, delay_ms=20) + steady(10, 300), 5_000)
    assert set(delays(log)) == {80}
    assert playout.statistics().skipped == 0


def test_delay_that_one_packet_in_two_seconds_needs_is_kept() -> None:
    playout = fixed()
    late = [(at + 100 if n < 10 or n % 90 == 0 else at, n) for at, n in steady(0, 300)]
    assert set(delays(listen(playout, late, 5_000))) == {160}
    assert playout.statistics().skipped == 0


def test_after_the_end_nothing_is_concealed() -> None:
    playout = fixed()
    receive(playout, 0, 0)
    playout.end()
    assert not playout.drained
    assert listen(playout, [], 200) == ["60 play 0"]
    assert playout.drained
    assert playout.statistics().concealed == 0


@pytest.mark.parametrize(
    ("packet_ms", "target_ms", "named"),
    [(0, 60, "0 ms"), (20, -1, "-1"), (20, 361, "0 to 360 ms, got 361")],
)
def test_settings_outside_their_range_are_refused(
    packet_ms: float, target_ms: float, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        FixedPlayout(packet_ms=packet_ms, target_ms=target_ms)


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 120), st.booleans()), max_size=150),
    st.integers(0, 200),
    st.lists(st.integers(1, 400), max_size=5),
)
def test_every_packet_is_counted_once_and_none_is_played_twice_or_too_old(
    arrivals: list[tuple[int, int, bool]], target_ms: int, pauses_ms: list[int]
) -> None:
    """For random arrivals: nothing is played twice, out of order or after a wait above the bound;
    memory is bounded; every packet is counted once.
    """
    playout = FixedPlayout(packet_ms=PACKET_MS, target_ms=target_ms, max_ms=400)
    waiting = sorted(arrivals)
    now_ms, last, restarts = 0, -1, 0
    while now_ms < 3_600:
        while waiting and waiting[0][0] <= now_ms:
            at_ms, sequence, reset = waiting.pop(0)
            receive(playout, sequence, at_ms, Flags.RESET if reset else NONE)
        statistics = playout.statistics()
        assert statistics.buffer_ms <= 400
        if statistics.restarts > restarts:
            last, restarts = -1, statistics.restarts
        event = playout.poll(now_ms)
        if isinstance(event, Play):
            assert event.sequence > last
            assert event.payload == b"%d" % event.sequence
            assert 0 <= event.waited_ms <= 400
            last = event.sequence
        now_ms += PACKET_MS + (pauses_ms.pop() if pauses_ms and now_ms > 1_000 else 0)
    final = playout.statistics()
    accounted = (
        final.played + final.late + final.duplicate + final.skipped + final.buffer_ms / PACKET_MS
    )
    assert final.received == len(arrivals) == accounted
    assert final.lost >= 0
    playout.end()
    for _ in range(50):
        playout.poll(now_ms := now_ms + PACKET_MS)
    assert playout.drained
