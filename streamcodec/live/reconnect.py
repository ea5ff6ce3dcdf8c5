"""When to connect to a relay, when to doubt a connection, when to give up. Sans-I/O: events come in
with the time at which they happened, decisions go out, and somebody else holds the sockets.

TCP makes this necessary: it repeats a lost SYN after 1, 3, 7 s and lost data at doubling intervals,
so after an outage a new connection works long before the old one does again.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

from ..errors import ConnectionRefused
from ..wire.session import CloseCode
from .reconnect_events import (
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
    NotifyRetrying,
    Opened,
    Probe,
    ProbeAnswered,
    Reached,
    SayGoodbye,
    SayHello,
    Tick,
    Welcomed,
)
from .reconnect_timing import Backoff, Search, Timing

# After these another attempt would end in the same way; after any other it may succeed.
FATAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, *range(4400, 4500)}) - {
    CloseCode.TOO_SLOW
}
BROKE = "the connection broke"
CLOSED_UNWELCOMED = "the relay accepted the connection and closed it without a word"
UNWELCOMED = "the relay accepted the connection and said nothing"


class State(enum.Enum):
    """What the transport is doing."""

    SEARCHING = "searching"  # attempts are under way
    GREETING = "greeting"  # open; the hello is under way, or a first session waits for its welcome
    RESUMING = "resuming"  # a session goes on behind its hello, before the welcome
    CONNECTED = "connected"
    SUSPECT = "suspect"  # connected and silent: attempts at another connection are under way
    BACKING_OFF = "backing off"
    CLOSING = "closing"  # we said goodbye
    ENDED = "ended"


class Reconnect:
    """The state machine: `on` takes an event, says what to do. docs/architecture.md: the table."""

    def __init__(
        self,
        now_s: float,
        *,
        relay: str,
        talks: bool,
        first_connection_s: float,
        jitter: Callable[[], float],
        timing: Timing,
    ) -> None:
        """`relay`: its name in error texts. `talks`: a silent connection must prove that what we
        send arrives, too. `first_connection_s`: when to give up a relay that never let us in; the
        first attempt is carried to its end in any case. `jitter`: 0..1, spreads back-offs over
        their upper half. The caller begins with a Tick.
        """
        self._relay, self._talks, self._timing = relay, talks, timing
        self._first_connection_s, self._began_s = first_connection_s, now_s
        self.state = State.SEARCHING
        self._search, self._backoff = Search(now_s, timing), Backoff(now_s, timing, jitter)
        self._search_began_s = now_s  # when the search for the connection in use began
        self._heard_s = self._hello_s = now_s
        self._patience_s = timing.suspect_s  # of silence until attempts at another connection
        self._deadline_s = math.inf  # of a welcome, or of a goodbye
        self._welcomed = False  # on the connection in use: listeners know of it
        self._ever_welcomed = False
        self._number = 0  # of the last connection that took media
        self._failure = ""  # why the last attempt or connection ended, "no relay at X: reason"
        self._told = ""  # the last reason that the user was told since the last welcome

    @property
    def connection(self) -> int | None:
        """Number of the connection that takes media, from 1; None while there is none."""
        takes = self.state in (State.RESUMING, State.CONNECTED, State.SUSPECT)
        return self._number if takes else None

    @property
    def wake_s(self) -> float:
        """When a Tick is due, unless something happens before; infinity for never."""
        return min(self._due_s, self._give_up_s)

    @property
    def _give_up_s(self) -> float:
        """When a relay is given up that never let us in; infinity for never."""
        over = self._ever_welcomed or self.state in (State.CLOSING, State.ENDED)
        if over or not self._failure:
            return math.inf
        return self._began_s + self._first_connection_s

    @property
    def _due_s(self) -> float:
        match self.state:
            case State.SEARCHING | State.BACKING_OFF:
                return self._search.due_s
            case State.CONNECTED:
                return self._heard_s + self._patience_s
            case State.SUSPECT:
                return min(self._search.due_s, self._heard_s + self._timing.dead_s)
            case State.GREETING | State.RESUMING | State.CLOSING:
                return self._deadline_s
            case State.ENDED:
                return math.inf

    def on(self, event: Event, now_s: float) -> list[Decision]:
        """-> what to do, in this order. Events without a meaning in this state are ignored."""
        if isinstance(event, Heard | ProbeAnswered | Welcomed):
            self._heard_s = now_s
        if isinstance(event, Tick) and now_s >= self._give_up_s:
            return self._give_up()
        match self.state:
            case State.SEARCHING:
                return self._searching(event, now_s)
            case State.GREETING | State.RESUMING:
                return self._greeting(event, now_s)
            case State.CONNECTED:
                return self._connected(event, now_s)
            case State.SUSPECT:
                return self._suspect(event, now_s)
            case State.BACKING_OFF:
                return self._backing_off(event, now_s)
            case State.CLOSING:
                return self._closing(event, now_s)
            case State.ENDED:
                return []

    def _searching(self, event: Event, now_s: float) -> list[Decision]:
        match event:
            case Tick():
                return self._attempts(now_s)
            case Reached():
                self._search.reached()
            case Opened():
                return [Abandon(), *self._greet(now_s)]
            case Failed(_, ConnectionRefused() as refusal) if not self._ever_welcomed:
                return [Abandon(), *self._end(refusal)]
            case Failed(reason, _, silent):
                # Other attempts under way would fail in the same way, or wait as long in vain.
                return [Abandon(), *self._retry(now_s, reason, silent=silent)]
            case CloseAsked():
                return [Abandon(), *self._end()]
        return []

    def _greeting(self, event: Event, now_s: float) -> list[Decision]:
        timing = self._timing
        match event:
            case HelloSent():
                self._hello_s = now_s
                if self._ever_welcomed:
                    self.state = State.RESUMING
                    self._number += 1
            case Welcomed():
                self._number += self.state is State.GREETING
                self.state = State.CONNECTED
                self._welcomed = self._ever_welcomed = True
                self._told = ""
                # Nothing may come until the first pong, which takes as long as the welcome did.
                welcome_s = now_s - self._hello_s
                self._patience_s = max(timing.suspect_s, timing.ping_s + welcome_s)
            case Tick() if now_s >= self._deadline_s:
                return [Drop(), *self._retry(now_s, UNWELCOMED, silent=True)]
            case Closed():
                return self._closed(event, now_s)
            case CloseAsked():
                return self._goodbye(now_s)
        return []

    def _connected(self, event: Event, now_s: float) -> list[Decision]:
        match event:
            case Heard():
                self._patience_s = self._timing.suspect_s
            case Tick() if now_s >= self._heard_s + self._patience_s:
                self.state = State.SUSPECT
                self._backoff.relay_was_there(now_s)
                self._schedule(now_s, now_s, silent=True)
                ask: list[Decision] = [Probe()] if self._talks else []
                return [*ask, *self._attempts(now_s)]
            case Closed():
                return self._closed(event, now_s)
            case CloseAsked():
                return self._goodbye(now_s)
        return []

    def _suspect(self, event: Event, now_s: float) -> list[Decision]:
        match event:
            case ProbeAnswered():
                self.state = State.CONNECTED
                return [Abandon()]
            case Heard() if not self._talks:
                # After an outage each end of TCP retransmits by its own timer: what we send may be
                # stuck for a second longer than what we receive, which matters to talkers only.
                self.state = State.CONNECTED
                return [Abandon()]
            case Reached():
                self._search.reached()
            case Opened():
                self._search_began_s = now_s
                self._backoff.relay_was_there(now_s)
                self._backoff.forget_failures()
                return [Abandon(), Drop(), *self._tell(BROKE), *self._greet(now_s)]
            case Failed(_, _, silent):
                # Not the end, even if it was refused: the old connection may work again.
                self._schedule(now_s, now_s + self._backoff.failed(now_s, 0.0), silent)
                return [Abandon()]
            case Tick() if now_s >= self._heard_s + self._timing.dead_s:
                silent = self._search.silent  # nobody has refused meanwhile
                return [Abandon(), Drop(), *self._retry(now_s, BROKE, silent=silent)]
            case Tick():
                return self._attempts(now_s)
            case Closed():
                return [Abandon(), *self._closed(event, now_s)]
            case CloseAsked():
                return [Abandon(), *self._goodbye(now_s)]
        return []

    def _backing_off(self, event: Event, now_s: float) -> list[Decision]:
        match event:
            case Tick() if now_s >= self._search.due_s:
                self.state, self._search_began_s = State.SEARCHING, now_s
                return self._attempts(now_s)
            case CloseAsked():
                return self._end()
        return []

    def _closing(self, event: Event, now_s: float) -> list[Decision]:
        match event:
            case Closed():  # perhaps for a reason of the relay's own
                refusal = _refusal(event)
            case Tick() if now_s >= self._deadline_s:
                refusal = None
            case _:
                return []
        return [Drop(), *self._tell("we said goodbye"), *self._end(refusal)]

    # --- what several states have in common ---------------------------------------------------

    def _greet(self, now_s: float) -> list[Decision]:
        self.state = State.GREETING
        timing = self._timing
        patience_s = timing.welcome_again_s if self._ever_welcomed else timing.welcome_s
        self._deadline_s = now_s + patience_s
        return [SayHello()]

    def _goodbye(self, now_s: float) -> list[Decision]:
        self.state, self._deadline_s = State.CLOSING, now_s + 2 * self._timing.close_s
        return [SayGoodbye()]

    def _closed(self, event: Closed, now_s: float) -> list[Decision]:
        """The relay ended the connection, or it broke."""
        code, said = event.code, event.said
        if refusal := _refusal(event):
            return [Drop(), *self._tell("the relay broke off"), *self._end(refusal)]
        if code == CloseCode.NORMAL:
            return [Drop(), *self._tell("the relay ended the session"), *self._end()]
        if code is None:
            return [Drop(), *self._retry(now_s, BROKE if self._welcomed else CLOSED_UNWELCOMED)]
        reason = f"the relay closed with {code}" + (f": {said}" if said else "")
        return [Drop(), *self._retry(now_s, reason, "not let in" if said else "no relay")]

    def _retry(
        self, now_s: float, reason: str, what: str = "no relay", silent: bool = False
    ) -> list[Decision]:
        """A search or a connection has come to nothing: back off, or give up a relay that never
        let us in.
        """
        self._failure = f"{what} at {self._relay}: {reason}"
        if now_s >= self._give_up_s:
            return self._end(self._given_up())
        if self._welcomed:
            self._backoff.relay_was_there(now_s)
        lasted_s = now_s - self._search_began_s
        steady = self._welcomed and lasted_s >= self._timing.steady_s
        self.state = State.BACKING_OFF
        self._schedule(now_s, now_s + self._backoff.failed(now_s, lasted_s, steady), silent)
        return self._tell(reason) or self._tell_retrying(reason)

    def _schedule(self, now_s: float, at_s: float, silent: bool) -> None:
        # Many attempts beside each other shorten the silence of a session that was lost a moment
        # ago, and are a nuisance ever after: a firewall that drops what we send looks the same.
        lately = self._ever_welcomed and self._backoff.eager(now_s)
        self._search.schedule(at_s, silent and lately)

    def _give_up(self) -> list[Decision]:
        """A relay that never let us in, in the midst of another try."""
        match self.state:
            case State.SEARCHING:
                before: list[Decision] = [Abandon()]
            case State.BACKING_OFF:
                before = []
            case _:
                before = [Drop()]
        return [*before, *self._end(self._given_up())]

    def _given_up(self) -> ConnectionRefused:
        return ConnectionRefused(f"{self._failure} (tried for {self._first_connection_s:g} s)")

    def _attempts(self, now_s: float) -> list[Decision]:
        return [Attempt()] if self._search.begin_if_due(now_s) else []

    def _tell(self, reason: str) -> list[Decision]:
        told, self._welcomed = self._welcomed, False
        if not told:
            return []
        self._told = reason
        return [NotifyDisconnected(reason)]

    def _tell_retrying(self, reason: str) -> list[Decision]:
        told, self._told = self._told, reason
        return [] if reason == told else [NotifyRetrying(reason)]

    def _end(self, refusal: ConnectionRefused | None = None) -> list[Decision]:
        self.state = State.ENDED
        return [End(refusal)]


def _refusal(event: Closed) -> ConnectionRefused | None:
    """What to raise if the relay would say the same again; None if a new try is worth it."""
    if event.code not in FATAL_CLOSE_CODES:
        return None
    said = event.said or "no reason given"
    return ConnectionRefused(f"the relay refused: {said} ({event.code})", event.code)
