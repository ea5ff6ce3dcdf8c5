"""Rows of `bench quality` as a Markdown table, as JSON, and as rate-distortion curves in a PNG."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path

from .metrics import METRICS
from .quality import ANCHORS, OURS, Pair, Row, Score

COLOURS = ("#1d6fb8", "#c2410c", "#15803d", "#7e22ce", "#6b7280", "#9ca3af")


def table_head(metrics: Iterable[str]) -> str:
    judged = [title for m in metrics for title in (METRICS[m].title, "worst 10 %")]
    titles = ["codec", "content", "clips", "speakers", "kbit/s", *judged, "RTF enc + dec"]
    return _head(titles)


def table_row(row: Row) -> str:
    cells = [
        row.codec,
        row.content,
        str(row.clips),
        str(row.speakers),
        _rate(row),
    ]
    for name, mean in row.means.items():
        cells += [_cell(mean, row.intervals[name]), _cell(row.worst_tenth[name])]
    return _line([*cells, f"{row.encode_rtf:.3f} + {row.decode_rtf:.3f}"])


def set_tables(rows: list[Row], metrics: list[str]) -> str:
    """A table for each class in `rows`, in order of first appearance."""
    tables = []
    for content in dict.fromkeys(row.content for row in rows):
        lines = [table_row(row) for row in rows if row.content == content]
        tables.append("\n".join([f"{content}:", "", table_head(metrics), *lines]))
    return "\n\n".join(tables)


def pair_table(pairs: list[Pair], metrics: Iterable[str], anchor: str = ANCHORS[0]) -> str:
    """A row for each class at each rate: ours, the anchor at the nearest rate, the difference."""
    metrics = list(metrics)
    judged = [t for m in metrics for t in (f"{METRICS[m].title} {OURS}", anchor, "difference")]
    titles = ["content", "clips", f"kbit/s {OURS}", anchor, *judged]
    lines = []
    for pair in pairs:
        cells = [
            pair.content,
            str(pair.clips),
            f"{pair.ours_kbps:.2f}",
            f"{pair.anchor_kbps:.2f}",
        ]
        for m in metrics:
            difference = _cell(pair.differences[m], pair.intervals[m], signed=True)
            cells += [_cell(pair.ours[m]), _cell(pair.anchor[m]), difference]
        lines.append(_line(cells))
    return "\n".join([_head(titles), *lines])


def side_by_side(rows: list[Row], metrics: Iterable[str]) -> str:
    """A row for each codec at each rate that was asked for, and the classes beside each other."""
    metrics = list(metrics)
    classes = list(dict.fromkeys(row.content for row in rows))
    found = {(row.codec, row.target_bps, row.content): row for row in rows}
    judged = ["kbit/s", *(METRICS[m].title for m in metrics)]
    titles = ["codec", "kbit/s asked", *(f"{t}, {c}" for c in classes for t in judged)]
    lines = []
    for codec, target in dict.fromkeys(key[:2] for key in found):
        cells = [codec, f"{target / 1000:g}" if target else "-"]
        for content in classes:
            row = found.get((codec, target, content))
            if row is None:
                cells += ["-"] * (1 + len(metrics))
            else:
                cells.append(_rate(row))
                cells += [_cell(row.means[m], row.intervals[m]) for m in metrics]
        lines.append(_line(cells))
    return "\n".join([_head(titles), *lines])


def bd_text(rates: dict[str, float | None], anchor: str = ANCHORS[0]) -> str:
    """One line: how many percent more bits ours needs for the anchor's quality."""
    figures = [
        f"{METRICS[m].title} {value:+.0f} %" for m, value in rates.items() if value is not None
    ]
    reason = "the curves do not overlap, or have fewer than three points"
    return f"BD-rate against {anchor}: {', '.join(figures) or reason}"


def worst_text(rows: list[Row], metric: str) -> str:
    """The clip with the worst figure for each row, a line each."""
    lines = [f"worst {METRICS[metric].title}:"]
    for row in rows:
        if metric in row.worst:
            clip, value = row.worst[metric]
            lines.append(
                f"  {row.codec} {row.bitrate_kbps:.2f} kbit/s, {row.content}: {value:.2f} ({clip})"
            )
    return "\n".join(lines)


def write_json(
    target: Path,
    rows: list[Row],
    scores: list[Score],
    bd: dict[str, float | None],
    pairs: list[Pair],
    conditions: dict[str, str],
) -> None:
    report = {
        "conditions": conditions,
        "bd_rate_percent": bd,
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
        "rows": [dataclasses.asdict(row) for row in rows],
        "scores": [dataclasses.asdict(score) for score in scores],
    }
    target.write_text(json.dumps(_without_nan(report), indent=1) + "\n")


def draw(target: Path, rows: list[Row], metrics: list[str]) -> None:
    """A panel a metric on the first class of content; codecs without a rate are horizontal
    lines.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    content = rows[0].content
    shown = [row for row in rows if row.content == content]
    columns = min(3, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 3.2 * lines), squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for colour, codec in zip(COLOURS, dict.fromkeys(row.codec for row in shown), strict=False):
            points = sorted(
                (r.bitrate_kbps, r.means[metric], r.intervals[metric])
                for r in shown
                if r.codec == codec
            )
            if points[0][0] == 0:
                axis.axhline(points[0][1], color=colour, linestyle=":", linewidth=1, label=codec)
            else:
                rates, means, spreads = zip(*points, strict=True)
                axis.errorbar(
                    rates,
                    means,
                    spreads,
                    color=colour,
                    marker="o",
                    markersize=3,
                    linewidth=1.4,
                    capsize=2,
                    label=codec,
                )
        axis.set_title(f"{METRICS[metric].title} ({content})", fontsize=9, loc="left")
        axis.set_xlabel("payload kbit/s", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(metrics) :]:
        axis.remove()
    axes[0][0].legend(fontsize=7, frameon=False)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _head(titles: list[str]) -> str:
    return f"{_line(titles)}\n|{'---|' * len(titles)}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rate(row: Row) -> str:
    return f"{row.bitrate_kbps:.2f}" if row.bitrate_kbps else "-"


def _cell(mean: float, spread: float = math.nan, signed: bool = False) -> str:
    if not math.isfinite(mean):
        return "-"
    digits = 3 if abs(mean) < 1 else 2
    figure = f"{mean:{'+' if signed else ''}.{digits}f}"
    return f"{figure} ± {spread:.{digits}f}" if math.isfinite(spread) else figure


def _without_nan(value: object) -> object:
    """With None in place of NaN, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return value
