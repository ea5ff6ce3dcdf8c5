"""A Reconnect on plain numbers, for its tests: no loop, no sockets, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streamcodec.live.reconnect import Reconnect, State
from streamcodec.live.reconnect_events import (
    Abandon,
    Attempt,
    Decision,
    Event,
    Failed,
    HelloSent,
    NotifyRetrying,
    Opened,
    SayHello,
    Tick,
    Welcomed,
)
from streamcodec.live.reconnect_timing import Timing

URL = "ws://relay:1"
T = Timing()
REFUSED = Failed("connection refused")
TIMED_OUT = Failed("no answer", silent=True)
RETRYING = NotifyRetrying("connection refused")
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
