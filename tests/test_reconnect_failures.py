"""Attempts to connect that fail: how many are made, what the user is told, when it ends."""

from __future__ import annotations

import math

import pytest

from reconnect_timeline import BROKE, REFUSED, RETRYING, TIMED_OUT, URL, T, Timeline, times
from streamcodec.errors import ConnectionRefused
from streamcodec.live.reconnect import State
from streamcodec.live.reconnect_events import (
    Abandon,
    Attempt,
    Closed,
    Decision,
    Drop,
    End,
    Failed,
    Heard,
    HelloSent,
    NotifyDisconnected,
    NotifyRetrying,
    Opened,
    Reached,
    Tick,
    Welcomed,
)
from streamcodec.wire.session import CloseCode


def test_a_first_relay_is_asked_once_a_second() -> None:
    line = Timeline()
    assert times(line.ticks_until(4.9), Attempt()) == [0, 1, 2, 3, 4]


def test_a_session_looks_at_a_silent_network_with_attempts_beside_each_other_up_to_a_limit() -> (
    None
):
    line = Timeline()
    line.connect()
    line.on(Heard())
    began = times(line.ticks_until(4.4), Attempt())
    assert began == pytest.approx(
        [T.suspect_s + n * T.silent_attempt_s for n in range(T.most_attempts)]
    )
    line.ticks_until(0.2)  # the old connection is given up
    assert line.state is State.BACKING_OFF
    began = times(line.ticks_until(5.0), Attempt())
    assert len(began) == T.most_attempts
    assert began[1] - began[0] == pytest.approx(T.silent_attempt_s)
    assert line.reconnect.wake_s == math.inf  # nothing to do until one of them ends


def test_a_relay_that_is_reached_and_slow_is_not_crowded() -> None:
    line = Timeline()
    line.connect()
    line.wait()  # silent: an attempt
    line.on(Reached(), 0.02)
    began = times(line.ticks_until(2.1), Attempt())
    assert began == pytest.approx([T.attempt_s - 0.02, 2 * T.attempt_s - 0.02])


@pytest.mark.parametrize("failed", [REFUSED, Failed("HTTP 404", ConnectionRefused("HTTP 404"))])
def test_where_somebody_refuses_a_lost_session_attempts_are_made_one_by_one(failed: Failed) -> None:
    """A refusal may take as long as many attempts: the network is there, the relay is not."""
    line = Timeline()
    line.connect()
    line.ticks_until(T.suspect_s + 0.5)  # silent: eleven attempts
    assert line.on(failed) == [Abandon()]
    for _ in range(20):
        began = times(line.ticks_until(0.9), Attempt())
        assert len(began) <= 1
        line.on(failed)


def test_a_minute_after_the_loss_attempts_are_made_one_by_one_on_a_silent_network_too() -> None:
    """A firewall may have come in between, for ever."""
    line = Timeline()
    line.connect()
    line.ticks_until(T.dead_s)
    rounds = list[tuple[float, int]]()
    while line.now_s < 100 + 2 * T.eager_s:
        assert line.wait()[1] == [Attempt()]
        began_s = line.now_s
        began = 1 + len(times(line.ticks_until(T.open_s), Attempt()))
        rounds.append((began_s - 100, began))
        line.on(TIMED_OUT)
    assert max(began for at_s, began in rounds if at_s < T.eager_s) == T.most_attempts
    late = T.eager_s + 2 * T.open_s
    assert max(began for at_s, began in rounds if at_s > late) <= T.open_s / T.attempt_s + 1


def test_a_refusal_stops_the_attempts_beside_it_and_backs_off() -> None:
    line = Timeline()
    line.ticks_until(2.5)  # three attempts, none has ended
    assert line.on(REFUSED) == [Abandon(), RETRYING]
    assert line.state is State.BACKING_OFF
    assert line.wait() == (0.2, [Attempt()])


def test_the_user_is_told_why_there_is_no_connection_once_and_at_each_change() -> None:
    line = Timeline()
    line.on(Tick())
    told = list[Decision]()
    for failed in (REFUSED, REFUSED, Failed("HTTP 502"), Failed("HTTP 502"), REFUSED):
        told += line.on(failed)
        line.wait()
    assert [decision for decision in told if decision != Abandon()] == [
        RETRYING,
        NotifyRetrying("HTTP 502"),
        RETRYING,
    ]
    line.on(Opened())
    line.on(HelloSent())
    line.on(Welcomed())
    assert line.on(Closed(), 10) == [Drop(), NotifyDisconnected(BROKE)]
    line.wait()
    assert line.on(REFUSED) == [Abandon(), RETRYING]


def test_refusals_double_the_back_off_up_to_its_eager_limit_and_after_a_minute_to_its_longest() -> (
    None
):
    line = Timeline(first_connection_s=math.inf)
    line.on(Tick())
    waits = []
    while line.now_s < 300:
        line.on(REFUSED, 0.05)
        waits.append(line.reconnect.wake_s - line.now_s)
        line.wait()
    assert waits[:5] == pytest.approx([0.2, 0.4, 0.6, 0.6, 0.6])
    assert waits[-1] == pytest.approx(T.longest_backoff_s)
    eager = [wait for wait in waits if wait < 1]
    assert sum(eager) + 0.05 * len(eager) == pytest.approx(T.eager_s, abs=0.7)


def test_attempts_that_waited_in_vain_are_repeated_soon() -> None:
    line = Timeline()
    line.ticks_until(T.open_s)
    assert line.on(TIMED_OUT) == [Abandon(), NotifyRetrying("no answer")]
    assert line.wait() == (T.first_backoff_s, [Attempt()])


@pytest.mark.parametrize("takes_s", [0.0, 0.05, 0.3, 2.0])
def test_a_relay_that_never_let_us_in_is_given_up(takes_s: float) -> None:
    line = Timeline(first_connection_s=10.0)
    line.on(Tick())
    began_s, decided = line.now_s, list[Decision]()
    while not any(isinstance(decision, End) for decision in decided):
        assert line.now_s < began_s + 20
        decided = [decision for _, decision in line.ticks_until(takes_s)] + line.on(REFUSED)
        if line.state is State.BACKING_OFF:
            decided += line.wait()[1]
    assert 10 <= line.now_s - began_s <= 10 + takes_s
    assert line.state is State.ENDED
    refusal = next(decision for decision in decided if isinstance(decision, End)).refusal
    assert str(refusal) == f"no relay at {URL}: connection refused (tried for 10 s)"


def test_the_first_connection_is_given_up_in_the_midst_of_another_try() -> None:
    line = Timeline(first_connection_s=7.0)
    line.ticks_until(T.open_s)
    line.on(TIMED_OUT)
    line.wait()
    line.on(Opened(), 0.5)  # and no welcome
    [dropped, end] = line.wait()[1]
    assert (dropped, line.now_s) == (Drop(), 107.0)
    assert isinstance(end, End)
    assert str(end.refusal) == f"no relay at {URL}: no answer (tried for 7 s)"


def test_the_first_attempt_is_carried_to_its_end() -> None:
    line = Timeline(first_connection_s=0.0)
    line.ticks_until(4.9)
    assert line.state is State.SEARCHING
    [abandoned, end] = line.on(TIMED_OUT)
    assert abandoned == Abandon()
    assert isinstance(end, End)


def test_a_relay_that_is_full_for_too_long_is_quoted() -> None:
    line = Timeline(first_connection_s=0.0)
    line.on(Tick())
    line.on(Opened())
    [dropped, end] = line.on(Closed(CloseCode.TRY_AGAIN_LATER, "full"))
    assert dropped == Drop()
    assert isinstance(end, End)
    said = f"not let in at {URL}: the relay closed with 1013: full (tried for 0 s)"
    assert str(end.refusal) == said


def test_a_relay_that_let_us_in_once_is_looked_for_without_end() -> None:
    line = Timeline(first_connection_s=10.0)
    line.connect()
    line.on(Closed(CloseCode.SERVICE_RESTART), 3600)
    line.wait()
    assert line.on(REFUSED) == [Abandon(), RETRYING]
    for _ in range(1000):
        line.wait()
        assert line.on(REFUSED) == [Abandon()]


def test_an_answer_that_is_final_at_first_does_not_end_a_session() -> None:
    """A proxy may answer 404 while the relay behind it restarts."""
    line = Timeline()
    line.connect()
    line.on(Closed(CloseCode.SERVICE_RESTART), 3600)
    line.wait()
    failed = Failed("HTTP 404", ConnectionRefused("HTTP 404"))
    assert line.on(failed) == [Abandon(), NotifyRetrying("HTTP 404")]
    assert line.wait() == (0.2, [Attempt()])


def test_an_attempt_that_would_always_fail_ends_it_all() -> None:
    line = Timeline()
    line.ticks_until(2.5)
    refusal = ConnectionRefused("HTTP 404")
    assert line.on(Failed("HTTP 404", refusal)) == [Abandon(), End(refusal)]


def test_refusals_beside_a_suspect_connection_back_off_and_end_nothing() -> None:
    line = Timeline()
    line.connect()
    line.ticks_until(T.suspect_s + 0.06)
    assert line.on(Failed("HTTP 404", ConnectionRefused("HTTP 404"))) == [Abandon()]
    assert line.state is State.SUSPECT
    assert line.wait() == (0.2, [Attempt()])
    assert line.on(REFUSED) == [Abandon()]
    assert line.wait() == (0.4, [Attempt()])
    assert line.on(Heard()) == [Abandon()]
    assert line.state is State.CONNECTED
