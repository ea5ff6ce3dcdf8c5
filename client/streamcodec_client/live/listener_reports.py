"""What listeners report of a call, as long as it is fresh. Knows no clock: times are arguments."""

from __future__ import annotations

from streamcodec.units import NS
from streamcodec.wire.session import Report

from ..report.statistics import ListenerReport

FRESH_S = 3.0  # listeners report each second
MAX_REPORTS = 64  # kept at most, of as many listeners; there is no limit to what a relay sends


class ListenerReports:
    """The latest report of each listener."""

    def __init__(self) -> None:
        # (number, name) of a listener -> when its latest report came (ns), and its figures; an old
        # relay gives every listener the same number
        self._latest: dict[tuple[int, str], tuple[int, dict[str, float]]] = {}

    def add(self, report: Report, now_ns: int) -> None:
        listener = report.listener, report.name
        self._latest.pop(listener, None)
        self._latest[listener] = now_ns, report.statistics
        if len(self._latest) > MAX_REPORTS:
            del self._latest[next(iter(self._latest))]  # whose latest report is the oldest

    def fresh(self, now_ns: int) -> tuple[ListenerReport, ...]:
        """Those of the last FRESH_S, worst first."""
        reports = [
            ListenerReport(
                name,
                figures.get("concealed_percent"),
                figures.get("mouth_to_ear_ms"),
                figures.get("mos"),
            )
            for (_, name), (came_ns, figures) in self._latest.items()
            if came_ns >= now_ns - round(FRESH_S * NS)
        ]
        return tuple(sorted(reports, key=lambda r: (-(r.concealed_percent or 0.0), r.mos or 5.0)))
