"""Why sound stutters, as far as this computer and its loudspeaker are to blame. Time is an
argument.
"""

from __future__ import annotations

from collections import deque

from ..audio.blocks import BLOCK_MS

MANY_UNDERRUNS, OVER_S = 3, 5.0  # so many within that: it is heard
WAKES_LATE_S = 0.025  # 3 to 10 ms while nothing else runs, 140 with two busy programs on each core
COMPUTER = "this computer does not keep up: sound stutters (close what else is busy)"


class Stutter:
    """Underruns of a sink, and how late the screen wakes: sound's threads wake no earlier."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._underruns: deque[tuple[float, int]] = deque()
        self._late: deque[tuple[float, float]] = deque()

    def woke(self, now_s: float, due_s: float) -> None:
        """The screen is drawn now, and ought to have been then."""
        self._late.append((now_s, now_s - due_s))
        while now_s - self._late[0][0] > OVER_S:
            self._late.popleft()

    def reason(
        self, now_s: float, underruns: int, slowest_ms: float, loudspeaker: str | None
    ) -> str:
        """For the user; empty where sound runs. underruns: since the beginning. slowest_ms: as of
        Receiver. loudspeaker: its name; None where what is heard goes somewhere else.
        """
        many = change_a_second(self._underruns, now_s, underruns, OVER_S) * OVER_S
        if many < MANY_UNDERRUNS or now_s - self._began_s < OVER_S:
            return ""
        late_s = max((late for _, late in self._late), default=0.0)
        if slowest_ms > BLOCK_MS or late_s > WAKES_LATE_S:
            return COMPUTER
        if loudspeaker is None:
            return "what is heard is not taken in time: it has gaps"
        return f"the loudspeaker {loudspeaker} takes sound unevenly and stutters: try another (d)"


def change_a_second(
    history: deque[tuple[float, int]], now_s: float, value: int, over_s: float
) -> float:
    """By how much a count grew, a second, lately; adds it to its history."""
    history.append((now_s, value))
    while len(history) > 1 and now_s - history[0][0] > over_s:
        history.popleft()
    then_s, before = history[0]
    seconds = now_s - then_s
    return (value - before) / seconds if seconds > 0 else 0.0
