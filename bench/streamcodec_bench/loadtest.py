"""`streamcodec loadtest`: how many listeners a relay carries, and what abuse of it costs others.

The relay is a process of its own on one core, the clients another one on another; ages are from a
talker's write to a listener's read, in one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from streamcodec.errors import ConfigError

from .abuse import Abuser
from .live_session import PROGRAM, cpu_seconds, line_with, started
from .load_clients import STALL, Load, Talker, Tally, joined

SETTLE_S = 1.0
HEALTH_S = 2.0
STALL_S = 5.0
TAIL_S = 1.0  # after the last packet was sent: what has not come by then is lost
MOST_AGES = 200_000


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What came of it. joined_s: until all were in. cpu_percent: of one core, of the relay;
    rss_mib: its memory at the end, idle_kib: what each member took of it. None: it runs elsewhere.
    relay: "ours", or "bare", its peer. loop_ms: the longest that the relay's event loop was late in
    its last ten seconds, by its own word; None where it has none.
    """

    load: Load
    joined_s: float
    expected: int
    delivered: int
    age_p50_ms: float
    age_p99_ms: float
    age_max_ms: float
    closed: dict[int, int]
    cpu_percent: float | None
    rss_mib: float | None
    idle_kib: float | None
    relay: str = "ours"
    loop_ms: float | None = None

    @property
    def lost_percent(self) -> float:
        return 100 * (1 - self.delivered / max(1, self.expected))

    def to_json(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "lost_percent": self.lost_percent})

    def line(self) -> str:
        """A row of a table of Markdown; see HEAD."""
        load = self.load

        def or_dash(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        return (
            f"| {self.relay} | {load.rooms} | {load.talkers} | {load.listeners} "
            f"| {load.abuse or '-'} "
            f"| {self.age_p50_ms:.1f} | {self.age_p99_ms:.1f} | {self.age_max_ms:.0f} "
            f"| {self.lost_percent:.2f} | {or_dash(self.cpu_percent, '.0f')} "
            f"| {or_dash(self.rss_mib, '.0f')} | {or_dash(self.idle_kib, '.1f')} "
            f"| {or_dash(self.loop_ms, '.1f')} | {self.joined_s:.2f} |"
        )


HEAD = (
    "| relay | rooms | talkers | listeners | abuse | p50 ms | p99 ms | max ms | lost % | CPU % "
    "| RSS MiB | KiB a member | loop ms | joined in s |\n" + "|---" * 14 + "|"
)


@dataclasses.dataclass(frozen=True)
class RelayProcess:
    """A relay of ours, and what it uses."""

    url: str
    pid: int

    @property
    def cpu_s(self) -> float:
        """Time that it has used."""
        return cpu_seconds(self.pid)

    async def stall(self, seconds: float) -> None:
        """It does nothing for so long, as on a computer that sleeps, then goes on."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @property
    def rss_mib(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def relay_process(*, bare: bool = False) -> Iterator[RelayProcess]:
    """On the first core, this process on the second, where there are two; without limits by
    address, since all clients have one. bare: the peer of bare_relay. Raises SessionFailed where it
    does not start.
    """
    before = os.sched_getaffinity(0)
    ours = [*PROGRAM, "serve", "--port", "0", "--no-address-limits"]
    peer = [sys.executable, "-m", "streamcodec_bench.bare_relay"]
    with started(peer if bare else ours) as process:
        url = line_with(process, "listening on ").split("listening on ")[1].split()[0]
        # What it says of everybody who joins would cost time to read.
        assert process.stdout is not None
        process.stdout.close()
        if len(before) > 1:
            first, second, *_ = sorted(before)
            os.sched_setaffinity(process.pid, {first})
            os.sched_setaffinity(0, {second})
        try:
            yield RelayProcess(url, process.pid)
        finally:
            os.sched_setaffinity(0, before)


async def run_load(
    url: str,
    load: Load,
    process: RelayProcess | None = None,
    windows: int = 1,
    show: Callable[[LoadReport], None] = lambda report: None,
) -> LoadReport:
    """Measures so many times `load.seconds` while the same clients stay; each is shown when it is
    over -> the last one. Raises ConfigError where not everybody can join, and for a stall of a
    relay that is no process of ours.
    """
    if load.abuse == STALL and process is None:
        raise ConfigError("only a relay that this command has started can be stalled")
    deliveries = load.rooms * load.talkers * load.listeners * load.seconds * 1000 / load.packet_ms
    tally = Tally(one_in=max(1, round(deliveries / MOST_AGES)))
    idle_mib = process.rss_mib if process else 0.0
    async with joined(url, load, tally) as (talkers, joined_s):
        members = load.rooms * (load.talkers + load.listeners)
        idle_kib = 1024 * (process.rss_mib - idle_mib) / members if process else None
        abuser = Abuser(url, load.abuse) if load.abuse not in ("", STALL) else None
        loop = asyncio.get_running_loop()
        begin = loop.time() + 0.05
        step = load.packet_ms / 1000 / len(talkers)
        sending = [
            Talker(client, load.payload_bytes, load.packet_ms, begin + step * n)
            for n, client in enumerate(talkers)
        ]
        await asyncio.sleep(SETTLE_S)
        for _ in range(windows):
            measured = await _window(url, load, process, tally, sending)
            report = dataclasses.replace(measured, joined_s=joined_s, idle_kib=idle_kib)
            show(report)
        for talker in sending:
            talker.stop()
        if abuser is not None:
            abuser.stop()
    return report


async def _window(
    url: str, load: Load, process: RelayProcess | None, tally: Tally, sending: Sequence[Talker]
) -> LoadReport:
    """What is sent within `load.seconds`, and comes within TAIL_S after that."""
    sent = sum(talker.sent for talker in sending)
    tally.begin(time.monotonic_ns())
    cpu_s, began = process.cpu_s if process else 0.0, time.monotonic()
    if load.abuse == STALL and process is not None:
        await process.stall(STALL_S)
    await asyncio.sleep(max(0.0, began + load.seconds - time.monotonic()))
    tally.end(time.monotonic_ns())
    expected = (sum(talker.sent for talker in sending) - sent) * load.listeners
    seconds = time.monotonic() - began
    cpu = 100 * (process.cpu_s - cpu_s) / seconds if process else None
    loop_ms = await asyncio.to_thread(loop_lag, url)
    await asyncio.sleep(TAIL_S)
    p50, p99, oldest = np.percentile(tally.ages_ms or [math.nan], [50, 99, 100]).tolist()
    return LoadReport(
        load,
        0.0,
        expected,
        tally.delivered,
        p50,
        p99,
        oldest,
        dict(tally.closed),
        cpu,
        process.rss_mib if process else None,
        None,
        loop_ms=loop_ms,
    )


def loop_lag(url: str) -> float | None:
    """Of a relay, as its /healthz tells it; None where there is none."""
    where = url.replace("ws", "http", 1).rstrip("/") + "/healthz"
    try:
        with urllib.request.urlopen(where, timeout=HEALTH_S) as answer:  # noqa: S310
            return float(json.load(answer)["loop_lag_ms"])
    except (OSError, ValueError, KeyError):
        return None
