"""When a talker's packets carry copies of earlier ones: always where that was asked for, and
otherwise while listeners report losses. Knows no clock: times are arguments.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from streamcodec.units import NS
from streamcodec.wire.redundancy import USUAL_COPY_DISTANCE
from streamcodec.wire.session import Report

from .listener_reports import MAX_REPORTS

WINDOW_S = 10.0  # over which a listener's losses are judged
LOSSY = 0.01  # share of lost packets from which on copies are sent
LEAST_LOST = 5  # packets in the window: fewer are chance
CALM = 0.005  # share below which a listener loses nothing worth a copy
CALM_S = 30.0  # for which all listeners must be calm before copies end


class CopyPolicy:
    """How many packets back the copies lie that a talker sends."""

    def __init__(self, redundancy: int | None) -> None:
        """redundancy: the distance of copies that are always sent, 0 for never; None: they are
        sent, USUAL_COPY_DISTANCE back, while listeners lose packets.
        """
        self.offered = USUAL_COPY_DISTANCE if redundancy is None else redundancy
        self._sending = redundancy is not None
        self._watch = LossWatch() if redundancy is None else None
        self._taken = 0

    def take(self, farthest: int) -> None:
        """How far back a copy may lie that any listener takes; 0 where none does, or where that is
        not known any more.
        """
        self._taken = farthest

    def add(self, report: Report, now_ns: int) -> None:
        """A listener's report came."""
        if self._watch is not None:
            self._sending = self._watch.lossy(report, now_ns)

    @property
    def distance(self) -> int:
        """0: none is to be sent."""
        return min(self._taken, self.offered) if self._sending else 0


class _Counts(NamedTuple):
    at_ns: int
    received: float
    lost: float


class LossWatch:
    """Whether any listener loses packets."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], deque[_Counts]] = {}  # the latest listener last
        self._lossy = False
        self._restless_ns = 0  # when a listener was last not calm

    def lossy(self, report: Report, now_ns: int) -> bool:
        """Takes a report. -> whether there are losses, as far as all reports say."""
        share, lost = self._latest_losses(report, now_ns)
        if share >= CALM and lost > 0:
            self._restless_ns = now_ns
        if share >= LOSSY and lost >= LEAST_LOST:
            self._lossy = True
        elif now_ns - self._restless_ns >= CALM_S * NS:
            self._lossy = False
        return self._lossy

    def _latest_losses(self, report: Report, now_ns: int) -> tuple[float, float]:
        """-> share and number of the packets that a listener has lost within WINDOW_S."""
        received, lost = (report.statistics.get(name) for name in ("received", "lost"))
        if received is None or lost is None:
            return 0.0, 0.0
        now = _Counts(now_ns, received, lost)
        listener = report.listener, report.name
        counts = self._counts.pop(listener, deque[_Counts]())
        self._counts[listener] = counts
        if len(self._counts) > MAX_REPORTS:
            del self._counts[next(iter(self._counts))]
        if counts and (received < counts[-1].received or lost < counts[-1].lost):
            counts.clear()  # it counts anew
        counts.append(now)
        while len(counts) > 2 and counts[1].at_ns <= now_ns - WINDOW_S * NS:
            counts.popleft()
        came, missed = received - counts[0].received, lost - counts[0].lost
        return missed / max(1.0, came + missed), missed
