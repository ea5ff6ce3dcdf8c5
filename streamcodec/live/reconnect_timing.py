"""When a Reconnect acts: its durations, the back-off, the pace of attempts. Sans-I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """All durations, in seconds."""

    # Between attempts. More would make a relay slower that is slow to answer.
    attempt_s: float = 1.0
    # The same on a network that has fallen silent: a lost SYN is repeated after 1 s only, so
    # attempts beside each other find a network that is back sooner.
    silent_attempt_s: float = 0.05
    most_attempts: int = 40  # at once
    open_s: float = 5.0  # for TCP, TLS and HTTP of an attempt
    welcome_s: float = 5.0
    # A relay that has let us in before does so at once, or the path has broken again.
    welcome_again_s: float = 1.5
    ping_s: float = 0.4  # between pings
    suspect_s: float = 0.9  # of silence until attempts at another connection begin
    dead_s: float = 4.5  # of silence until a connection is given up in any case
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 5.0
    # The longest back-off in the first minute without a relay, in which attempts at a silent
    # network are many, too: somebody waits in mid-sentence.
    eager_backoff_s: float = 0.6
    eager_s: float = 60.0
    steady_s: float = 5.0  # a connection that held for so long earns the shortest back-off
    close_s: float = 1.0  # for the goodbye


class Backoff:
    """How long to wait after a failure: exponential back-off with jitter, short in the first minute
    without a relay.
    """

    def __init__(self, now_s: float, timing: Timing, jitter: Callable[[], float]) -> None:
        self._timing, self._jitter = timing, jitter
        self._failures = 0  # in a row
        self._relay_seen_s = now_s

    def relay_was_there(self, now_s: float) -> None:
        """The relay was connected until now."""
        self._relay_seen_s = now_s

    def eager(self, now_s: float) -> bool:
        """Whether it is the first minute without a relay."""
        return now_s - self._relay_seen_s < self._timing.eager_s

    def forget_failures(self) -> None:
        """The next failure is the first one."""
        self._failures = 0

    def failed(self, now_s: float, lasted_s: float, steady: bool = False) -> float:
        """-> seconds to wait. `lasted_s`: what the failure took. `steady`: it is the end of a
        connection that held.
        """
        timing = self._timing
        self._failures = 0 if steady else self._failures + 1
        most_s = timing.longest_backoff_s
        if self.eager(now_s):
            # An attempt that timed out has taken long enough; one that was refused took no time.
            slow = lasted_s >= timing.open_s
            most_s = timing.first_backoff_s if slow else timing.eager_backoff_s
        longest_s = min(most_s, timing.first_backoff_s * 2.0 ** min(self._failures, 10))
        return longest_s * (0.5 + 0.5 * self._jitter())


class Search:
    """When connection attempts begin: one each `attempt_s`, and on a network that has fallen silent
    one each `silent_attempt_s`, beside each other, until one of them reaches somebody.
    """

    def __init__(self, now_s: float, timing: Timing) -> None:
        self._timing = timing
        self.silent = False
        self._under_way = 0
        self._last_s = self._next_s = now_s

    def schedule(self, at_s: float, silent: bool = False) -> None:
        """No attempt is under way; the first is due at `at_s`. `silent`: nothing comes back."""
        self.silent = silent
        self._under_way, self._next_s = 0, at_s

    def reached(self) -> None:
        """An attempt has reached somebody: the network is not silent."""
        self.silent = False
        self._next_s = self._last_s + self._timing.attempt_s

    @property
    def due_s(self) -> float:
        """When the next attempt begins; infinity while as many as may be are under way."""
        return self._next_s if self._under_way < self._timing.most_attempts else math.inf

    def begin_if_due(self, now_s: float) -> bool:
        """Whether an attempt begins now."""
        if now_s < self.due_s:
            return False
        self._under_way += 1
        timing = self._timing
        interval_s = timing.silent_attempt_s if self.silent else timing.attempt_s
        self._last_s, self._next_s = now_s, now_s + interval_s
        return True
