"""Ages of packets at their listeners, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .loadtest import LoadReport

COLOURS = {"ours": "#1d6fb8", "bare": "#6b7280"}


def draw_load(target: Path, reports: Sequence[LoadReport]) -> None:
    """Over rooms or listeners, whichever differ; else over the order in which they were measured.
    Writes a PNG.
    """
    loads = [report.load for report in reports]
    if len({load.listeners for load in loads}) > 1:
        name, along = "listeners of a room", [load.listeners for load in loads]
    elif len({load.rooms for load in loads}) > 1:
        name, along = "rooms", [load.rooms for load in loads]
    else:
        name, along = f"windows of {loads[0].seconds:g} s", list(range(1, len(loads) + 1))
    figure, (ages, work) = plt.subplots(
        2, 1, figsize=(9, 7), sharex=True, height_ratios=[3, 2], layout="constrained"
    )
    for relay, colour in COLOURS.items():
        mine = [(x, r) for x, r in zip(along, reports, strict=True) if r.relay == relay]
        if not mine:
            continue
        xs = [x for x, _ in mine]
        for label, style, values in (
            ("p99", "-", [r.age_p99_ms for _, r in mine]),
            ("p50", ":", [r.age_p50_ms for _, r in mine]),
        ):
            ages.plot(xs, values, style, color=colour, marker="o", label=f"{relay}, {label}")
        cpu = [float("nan") if r.cpu_percent is None else r.cpu_percent for _, r in mine]
        work.plot(xs, cpu, color=colour, marker="o", label=f"{relay}, % of a core")
        rss = [float("nan") if r.rss_mib is None else r.rss_mib for _, r in mine]
        work.plot(xs, rss, "--", color=colour, marker=".", label=f"{relay}, MiB")
    ages.set_yscale("log")
    ages.set_ylabel("age at the listener, ms")
    work.set_xlabel(name)
    work.set_ylim(bottom=0)
    for axis in (ages, work):
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)
