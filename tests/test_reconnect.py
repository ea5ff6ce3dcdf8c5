"""The states of a connection to a relay, on plain numbers: no loop, no sockets, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from streamcodec.errors import ConnectionRefused
from streamcodec.live.reconnect import Reconnect, State
from streamcodec.live.reconnect_events import (
    Abandon,
    Attempt,
    CloseAsked,
    Closed,
    Decision,
    Drop,
    End,
    Event,
    Failed,
    Heard,
    HelloSent,
    NotifyDisconnected,
    Opened,
    Probe,
    ProbeAnswered,
    Reached,
    SayGoodbye,
    SayHello,
    Tick,
    Welcomed,
)
from streamcodec.live.reconnect_timing import Timing
from streamcodec.wire.session import CloseCode

URL = "ws://relay:1"
T = Timing()
REFUSED = Failed("connection refused")
TIMED_OUT = Failed("no answer")
BROKE = "the connection broke"


class Timeline:
    """A Reconnect and the time at which it is."""

    def __init__(self, *, talks: bool = False, first_connection_s: float = 10.0) -> None:
        self.now_s = 100.0
        self.reconnect = Reconnect(
            self.now_s,
            relay=URL,
            talks=talks,
            first_connection_s=first_connection_s,
            jitter=lambda: 1.0,
            timing=T,
        )

    @property
    def state(self) -> State:
        return self.reconnect.state

    def on(self, event: Event, after_s: float = 0.0) -> list[Decision]:
        self.now_s += after_s
        return self.reconnect.on(event, self.now_s)

    def wait(self) -> tuple[Any, list[Decision]]:
        """Nothing happens until the next Tick is due -> seconds waited, what follows then."""
        waited_s = self.reconnect.wake_s - self.now_s
        self.now_s = self.reconnect.wake_s
        return pytest.approx(waited_s), self.reconnect.on(Tick(), self.now_s)

    def ticks_until(self, seconds: float) -> list[tuple[float, Decision]]:
        """Nothing happens for so long -> what follows, and how many seconds from now."""
        began_s, follows = self.now_s, []
        while self.reconnect.wake_s <= began_s + seconds:
            self.now_s = max(self.now_s, self.reconnect.wake_s)
            decided = self.reconnect.on(Tick(), self.now_s)
            assert decided, "a Tick that was due and changed nothing would be due for ever"
            follows += [(round(self.now_s - began_s, 6), decision) for decision in decided]
        self.now_s = began_s + seconds
        return follows

    def connect(self) -> None:
        assert self.on(Tick()) == [Attempt()]
        assert self.on(Opened()) == [Abandon(), SayHello()]
        assert self.on(HelloSent()) == []
        assert self.on(Welcomed()) == []
        assert self.state is State.CONNECTED


def times(follows: Sequence[tuple[float, Decision]], what: Decision) -> list[float]:
    return [at_s for at_s, decision in follows if decision == what]


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


def test_on_a_silent_network_attempts_begin_beside_each_other_up_to_a_limit() -> None:
    line = Timeline()
    began = times(line.ticks_until(4.9), Attempt())
    assert began == pytest.approx([n * T.stagger_s for n in range(T.most_attempts)])
    assert line.reconnect.wake_s == math.inf  # nothing to do until one of them ends


def test_a_relay_that_is_reached_and_slow_is_not_crowded() -> None:
    line = Timeline()
    line.on(Tick())
    line.on(Reached(), 0.02)
    began = times(line.ticks_until(1.1), Attempt())
    assert began[:2] == pytest.approx([T.reached_s - 0.02, T.reached_s - 0.02 + T.stagger_s])


def test_a_refusal_stops_the_attempts_beside_it_and_backs_off() -> None:
    line = Timeline()
    line.ticks_until(0.12)  # three attempts, none has ended
    assert line.on(REFUSED) == [Abandon()]
    assert line.state is State.BACKING_OFF
    assert line.wait() == (0.2, [Attempt()])


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
    assert line.on(TIMED_OUT) == [Abandon()]
    assert line.wait() == (T.first_backoff_s, [Attempt()])


@pytest.mark.parametrize("takes_s", [0.0, 0.05, 0.3, 2.0])
def test_a_relay_that_never_let_us_in_is_given_up(takes_s: float) -> None:
    line = Timeline(first_connection_s=10.0)
    line.on(Tick())
    began_s, decided = line.now_s, list[Decision]()
    while not any(isinstance(decision, End) for decision in decided):
        assert line.now_s < began_s + 20
        line.ticks_until(takes_s)
        decided = line.on(REFUSED)
        if line.state is State.BACKING_OFF:
            line.wait()
    assert 10 <= line.now_s - began_s <= 10 + T.eager_backoff_s + takes_s
    assert line.state is State.ENDED
    refusal = next(decision for decision in decided if isinstance(decision, End)).refusal
    assert str(refusal) == f"no relay at {URL}: connection refused (tried for 10 s)"


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
    for _ in range(1000):
        line.wait()
        assert line.on(REFUSED) == [Abandon()]


def test_an_attempt_that_would_always_fail_ends_it_all() -> None:
    line = Timeline()
    line.ticks_until(0.12)
    refusal = ConnectionRefused("HTTP 404")
    assert line.on(Failed("HTTP 404", refusal)) == [Abandon(), End(refusal)]


def test_a_connection_that_is_not_welcomed_in_time_is_dropped() -> None:
    line = Timeline()
    line.on(Tick())
    line.on(Opened())
    line.on(HelloSent())
    assert line.wait() == (T.welcome_s, [Drop()])
    assert line.state is State.BACKING_OFF


def test_a_relay_that_knows_us_has_less_time_for_its_welcome() -> None:
    line = Timeline()
    line.connect()
    line.on(Closed(), 10)
    line.wait()
    line.on(Opened())
    line.on(HelloSent())
    assert line.wait() == (
        T.welcome_again_s,
        [Drop()],
    )  # listeners did not know of it
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
    assert line.wait() == (T.stagger_s, [Attempt()])


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
