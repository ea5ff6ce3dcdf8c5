"""The states of a connection to a relay, on plain numbers."""

from __future__ import annotations

import math

import pytest

from reconnect_timeline import BROKE, REFUSED, T, Timeline, times
from streamcodec.live.reconnect import State
from streamcodec.live.reconnect_events import (
    Abandon,
    Attempt,
    CloseAsked,
    Closed,
    Drop,
    End,
    Heard,
    HelloSent,
    NotifyDisconnected,
    NotifyRetrying,
    Opened,
    Probe,
    ProbeAnswered,
    SayGoodbye,
    SayHello,
    Tick,
    Welcomed,
)
from streamcodec.wire.session import CloseCode


def test_a_first_session_sends_once_it_is_welcomed() -> None:
    line = Timeline()
    line.on(Tick())
    line.on(Opened())
    line.on(HelloSent())
    assert (line.state, line.reconnect.connection) == (State.GREETING, None)
    line.on(Welcomed())
    assert (line.state, line.reconnect.connection) == (State.CONNECTED, 1)


def test_a_session_that_goes_on_sends_behind_its_hello() -> None:
    line = Timeline()
    line.connect()
    assert line.on(Closed(), 10) == [Drop(), NotifyDisconnected(BROKE)]
    assert line.reconnect.connection is None
    line.wait()
    line.on(Opened())
    assert line.reconnect.connection is None
    line.on(HelloSent())
    assert (line.state, line.reconnect.connection) == (State.RESUMING, 2)
    line.on(Welcomed())
    assert (line.state, line.reconnect.connection) == (State.CONNECTED, 2)


def test_a_connection_that_is_not_welcomed_in_time_is_dropped() -> None:
    line = Timeline()
    line.on(Tick())
    line.on(Opened())
    line.on(HelloSent())
    said = "the relay accepted the connection and said nothing"
    assert line.wait() == (T.welcome_s, [Drop(), NotifyRetrying(said)])
    assert line.state is State.BACKING_OFF


def test_a_relay_that_knows_us_has_less_time_for_its_welcome() -> None:
    line = Timeline()
    line.connect()
    line.on(Closed(), 10)
    line.wait()
    line.on(Opened())
    line.on(HelloSent())
    said = "the relay accepted the connection and said nothing"
    assert line.wait() == (T.welcome_again_s, [Drop(), NotifyRetrying(said)])
    assert line.state is State.BACKING_OFF


@pytest.mark.parametrize(("held_s", "waits_s"), [(T.steady_s, (0.1, 0.2)), (1.0, (0.6, 0.6))])
def test_a_connection_that_held_makes_up_for_failures_before(
    held_s: float, waits_s: tuple[float, float]
) -> None:
    line = Timeline()
    line.on(Tick())
    for _ in range(3):
        line.on(REFUSED)
        line.wait()
    line.on(Opened())
    line.on(HelloSent())
    line.on(Welcomed())
    line.on(Closed(), held_s)
    assert line.wait() == (waits_s[0], [Attempt()])
    line.on(REFUSED)
    assert line.wait() == (waits_s[1], [Attempt()])


def test_a_silent_connection_is_suspected_and_others_are_tried() -> None:
    line = Timeline()
    line.connect()
    line.on(Heard(), 0.5)
    assert line.wait() == (T.suspect_s, [Attempt()])
    assert (line.state, line.reconnect.connection) == (State.SUSPECT, 1)
    assert line.wait() == (T.silent_attempt_s, [Attempt()])


def test_a_first_pong_may_take_as_long_as_the_welcome() -> None:
    line = Timeline()
    line.on(Tick())
    line.on(Opened())
    line.on(HelloSent())
    line.on(Welcomed(), 0.9)  # a satellite
    assert line.ticks_until(0.95) == []
    line.on(Heard())
    assert line.wait() == (T.suspect_s, [Attempt()])


def test_another_connection_takes_the_place_of_a_suspect_one() -> None:
    line = Timeline()
    line.connect()
    line.wait()
    assert line.on(Opened(), 0.04) == [Abandon(), Drop(), NotifyDisconnected(BROKE), SayHello()]
    line.on(HelloSent())
    assert (line.state, line.reconnect.connection) == (State.RESUMING, 2)


def test_a_listener_keeps_a_connection_that_speaks_again() -> None:
    line = Timeline(talks=False)
    line.connect()
    line.wait()
    assert line.on(Heard(), 0.2) == [Abandon()]
    assert (line.state, line.reconnect.connection) == (State.CONNECTED, 1)
    assert line.wait() == (T.suspect_s, [Attempt()])


def test_a_talker_keeps_only_a_connection_that_answers() -> None:
    """What we send may hang for a second longer than what we hear."""
    line = Timeline(talks=True)
    line.connect()
    assert line.wait() == (T.suspect_s, [Probe(), Attempt()])
    assert line.on(Heard(), 0.2) == []
    assert line.state is State.SUSPECT
    assert line.on(ProbeAnswered(), 0.2) == [Abandon()]
    assert (line.state, line.reconnect.connection) == (State.CONNECTED, 1)


def test_a_connection_that_stays_silent_is_given_up() -> None:
    line = Timeline()
    line.connect()
    follows = line.ticks_until(T.dead_s)
    assert times(follows, NotifyDisconnected(BROKE)) == [T.dead_s]
    assert [decision for _, decision in follows][-3:] == [
        Abandon(),
        Drop(),
        NotifyDisconnected(BROKE),
    ]
    assert line.state is State.BACKING_OFF


def test_a_talker_that_hears_and_gets_no_answer_is_given_no_deadline() -> None:
    line = Timeline(talks=True)
    line.connect()
    line.wait()
    for _ in range(100):
        line.on(Heard(), 0.1)
        line.ticks_until(0.0)
    assert line.state is State.SUSPECT


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 4400, 4404, 4426, 4429])
def test_a_final_close_code_is_not_tried_again(code: int) -> None:
    line = Timeline()
    line.connect()
    [dropped, told, end] = line.on(Closed(code, "no"))
    assert (dropped, told) == (Drop(), NotifyDisconnected("the relay broke off"))
    assert isinstance(end, End)
    assert end.refusal is not None
    assert (str(end.refusal), end.refusal.close_code) == (f"the relay refused: no ({code})", code)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, CloseCode.TOO_SLOW])
def test_other_close_codes_are_worth_another_try(code: int) -> None:
    line = Timeline()
    line.connect()
    assert line.on(Closed(code)) == [Drop(), NotifyDisconnected(f"the relay closed with {code:d}")]
    assert line.state is State.BACKING_OFF


def test_a_relay_that_ends_the_session_ends_it() -> None:
    line = Timeline()
    line.connect()
    ended = [Drop(), NotifyDisconnected("the relay ended the session"), End()]
    assert line.on(Closed(CloseCode.NORMAL)) == ended


def test_leaving_a_search_or_a_back_off_ends_at_once() -> None:
    line = Timeline()
    line.on(Tick())
    assert line.on(CloseAsked()) == [Abandon(), End()]
    line = Timeline()
    line.on(Tick())
    line.on(REFUSED)
    assert line.on(CloseAsked()) == [End()]


def test_leaving_says_goodbye_and_waits_for_the_end_of_the_connection() -> None:
    line = Timeline()
    line.connect()
    assert line.on(CloseAsked()) == [SayGoodbye()]
    assert (line.state, line.reconnect.connection) == (State.CLOSING, None)
    assert line.on(CloseAsked()) == []
    assert line.on(Closed(1000)) == [Drop(), NotifyDisconnected("we said goodbye"), End()]


def test_a_goodbye_that_nobody_answers_ends_all_the_same() -> None:
    line = Timeline()
    line.connect()
    line.ticks_until(T.suspect_s)
    assert line.on(CloseAsked()) == [Abandon(), SayGoodbye()]
    assert line.wait() == (2 * T.close_s, [Drop(), NotifyDisconnected("we said goodbye"), End()])
    assert line.reconnect.wake_s == math.inf
