"""What was measured of a model after each run, as a picture over hours of training."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.backend_bases import FigureCanvasBase

from streamcodec.errors import ConfigError

COLUMNS = ("run", "minutes", "asked_kbps", "kbps", "pesq", "visqol", "source")
METRICS = {"pesq": "PESQ-WB", "visqol": "ViSQOL"}
COLOURS = ("#93c5fd", "#1d6fb8", "#0b2e52", "#6b7280")
MUTED = "#6b7280"


@dataclasses.dataclass(frozen=True)
class Point:
    """One run's weights at one rate. minutes: of this run and of all that its weights descend from.
    kbps: what `asked_kbps` came to. figures: metric -> mean over the clips. NaN: not recorded.
    source: where the figures are written.
    """

    run: str
    minutes: float
    asked_kbps: float
    kbps: float
    figures: dict[str, float]
    source: str


def read_points(table: Path) -> list[Point]:
    """A CSV with COLUMNS; an empty cell of kbps or a metric was not recorded. Raises ConfigError
    for other columns, for what is no number, for a point without a source, and where there are
    none.
    """
    try:
        with table.open(newline="", encoding="utf-8") as opened:
            lines = csv.DictReader(opened)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise ConfigError(f"{table} has other columns than {','.join(COLUMNS)}")
            points = [_point(table, lines.line_num, line) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{table} cannot be read as CSV: {error}") from None
    if not points:
        raise ConfigError(f"{table} has no points")
    return points


def check_picture(target: Path) -> None:
    """Raises ConfigError for a picture of a kind that is unknown."""
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if target.suffix.lower().lstrip(".") not in kinds:
        raise ConfigError(f"{target} ends in none of {', '.join(f'.{kind}' for kind in kinds)}")


def draw_points(points: Sequence[Point], target: Path) -> None:
    """Each metric over hours, a line for each rate that was asked for. Lines leave out what was not
    measured. Raises ConfigError for a picture of a kind that is unknown.
    """
    check_picture(target)
    figure, axes = plt.subplots(1, len(METRICS), figsize=(10, 4.4), layout="constrained")
    rates = sorted({point.asked_kbps for point in points})
    runs = {point.minutes: point.run for point in points}
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for rate, colour in zip(rates, COLOURS * len(rates), strict=False):
            line = sorted(
                (point.minutes / 60, point.figures[metric])
                for point in points
                if point.asked_kbps == rate and not math.isnan(point.figures[metric])
            )
            if line:
                hours, values = zip(*line, strict=True)
                axis.plot(hours, values, color=colour, marker="o", markersize=4, linewidth=1.6)
                axis.annotate(
                    f"{rate:g} kbit/s",
                    line[-1],
                    (6, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    color=colour,
                )
        for minutes, run in runs.items():
            axis.axvline(minutes / 60, color=MUTED, alpha=0.15, linewidth=0.8)
            axis.annotate(
                run,
                (minutes / 60, 0),
                (0, 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                ha="right",
                fontsize=7,
                color=MUTED,
            )
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("hours of training, of all runs that the weights descend from", fontsize=8)
        axis.set_xlim(0, 1.16 * max(runs) / 60)
        axis.tick_params(labelsize=8, colors=MUTED)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _point(table: Path, number: int, line: dict[str, str | None]) -> Point:
    try:
        figures = {metric: float(line[metric] or "nan") for metric in METRICS}
        minutes, asked = float(line["minutes"] or ""), float(line["asked_kbps"] or "")
        kbps = float(line["kbps"] or "nan")
    except ValueError as error:
        raise ConfigError(f"{table}, line {number}: {error}") from None
    run, source = line["run"] or "", line["source"] or ""
    if not source:
        raise ConfigError(f"{table}, line {number}: no source")
    return Point(run, minutes, asked, kbps, figures, source)
