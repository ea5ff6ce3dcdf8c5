"""`bench link`: a live session over a link with delay, loss and outages, as a listener hears it."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .latency import Spread, read_mono, read_trace
from .link import Link
from .live_session import SessionPlan, run_session

BEFORE_S, AFTER_S = 8.0, 12.0
SETTLED_S = 4.0  # from the first packet on: then the playout delay has adapted


@dataclasses.dataclass(frozen=True)
class LinkReport:
    """One session. Times in ms, from capture to playing unless it says otherwise; those after an
    outage are None without one.

    back_ms: from the network's return to the first sound captured after it broke. stale_ms: the
    oldest sound played after its return. after: delay once speech is back for half a second.
    """

    delay_ms: float
    loss: float
    outage_s: float
    packets: int
    concealed_percent: float
    arrival: Spread  # from sending to arrival, TCP's retransmissions included
    before: Spread
    back_ms: float | None
    stale_ms: float | None
    after: Spread | None


def measure(
    source: Path,
    delay_ms: float,
    loss: float,
    outage_s: float,
    model: str | None,
    bitrate_bps: float,
) -> LinkReport:
    """Both talker and listener sit on the near side, the relay on the far. Raises ConfigError,
    SessionFailed.
    """
    pcm, rate = read_mono(source)
    seconds = BEFORE_S + outage_s + AFTER_S
    cuts: list[int] = []  # ns: when the link broke, and when it was back

    with tempfile.TemporaryDirectory() as folder, Link(delay_ms, loss) as link:
        spoken = Path(folder) / "spoken.wav"
        soundfile.write(spoken, np.resize(pcm, round(seconds * rate)), rate)
        plan = SessionPlan(
            spoken, Path(folder), bitrate_bps, model=model, relay_host=link.far_address
        )
        plan = dataclasses.replace(
            plan, relay_prefix=tuple(link.far), client_prefix=tuple(link.near)
        )

        def cut() -> None:
            link.down = True
            cuts.append(time.monotonic_ns())
            time.sleep(outage_s)
            link.down = False
            cuts.append(time.monotonic_ns())

        timer = threading.Timer(BEFORE_S, cut)
        timer.daemon = True

        def on_progress(line: dict[str, Any]) -> None:
            if outage_s and line["receive"]["packets"] and not timer.is_alive() and not cuts:
                timer.start()

        summaries = run_session(plan, on_progress)
        sender, listener = (
            read_trace(path)[1] for path in (plan.sender_trace, plan.listener_trace)
        )
    return report(sender, listener, cuts, delay_ms, loss, outage_s, summaries.listener["receive"])


def report(
    sender: list[dict[str, Any]],
    listener: list[dict[str, Any]],
    cuts: list[int],
    delay_ms: float,
    loss: float,
    outage_s: float,
    heard: dict[str, Any],
) -> LinkReport:
    """From the packets' traces. `cuts`: when the link broke, and when it was back (ns); empty where
    it held.
    """
    sent = {line["sequence"]: line for line in sender}
    merged = [
        sent[line["sequence"]] | line
        for line in listener
        if line["sequence"] in sent and line.get("played_ns")
    ]
    played = [m for m in merged if m.get("received_ns") and not m["concealed"]]
    settled_ns = played[0]["played_ns"] + round(SETTLED_S * 1e9) if played else 0
    broke_ns, back_ns = cuts if len(cuts) == 2 else (1 << 62, 1 << 62)

    def delays(begin_ns: int, end_ns: int) -> list[float]:
        return [
            (m["played_ns"] - m["captured_ns"]) / 1e6
            for m in played
            if begin_ns <= m["played_ns"] < end_ns
        ]

    arrivals = [
        (m["received_ns"] - m["sent_ns"]) / 1e6 for m in played if m["received_ns"] < broke_ns
    ]
    fresh = [
        m["played_ns"] for m in played if m["captured_ns"] > broke_ns and m["played_ns"] > back_ns
    ]
    after = delays(min(fresh) + 500_000_000, 1 << 62) if fresh else []
    stale = delays(back_ns, 1 << 62)
    total = heard["played"] + heard["concealed"]
    return LinkReport(
        delay_ms,
        loss,
        outage_s,
        len(sent),
        100 * heard["concealed"] / total if total else 100.0,
        Spread.of(arrivals),
        Spread.of(delays(settled_ns, broke_ns)),
        (min(fresh) - back_ns) / 1e6 if fresh else None,
        max(stale) if stale else None,
        Spread.of(after) if after else None,
    )


HEAD = (
    "one way ms",
    "loss %",
    "outage s",
    "concealed %",
    "link + relay p50 / p99",
    "capture to play p50 / p99",
    "back after",
    "oldest after",
    "then p50 / p99",
)
TABLE_HEAD = f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|"


def table_row(r: LinkReport) -> str:
    cells = [
        f"{r.delay_ms:g}",
        f"{100 * r.loss:g}",
        f"{r.outage_s:g}",
        f"{r.concealed_percent:.1f}",
        _pair(r.arrival),
        _pair(r.before),
    ]
    cells += ["-" if v is None else f"{v:.0f}" for v in (r.back_ms, r.stale_ms)]
    return f"| {' | '.join([*cells, '-' if r.after is None else _pair(r.after)])} |"


def _pair(spread: Spread) -> str:
    return f"{spread.p50:.0f} / {spread.p99:.0f}"
