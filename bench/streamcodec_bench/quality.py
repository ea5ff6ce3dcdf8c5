"""`bench quality`: every codec at every rate on every clip in one run, and means over the clips."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.signal import correlate

from streamcodec.units import Pcm

from .bdrate import bd_rate
from .codecs import SAMPLE_RATE, PeerCodec, all_codecs
from .content import Clip
from .metrics import LOWER_IS_BETTER, METRICS

MAX_DELAY_S = 0.1
OURS, ANCHOR = "streamcodec", "opus"


@dataclasses.dataclass(frozen=True)
class Score:
    """One clip through one codec at one rate. values: metric -> figure; NaN where the metric has
    none for this clip.
    """

    codec: str
    target_bps: float
    content: str
    clip: str
    bitrate_bps: float
    values: dict[str, float]
    encode_rtf: float
    decode_rtf: float
    speaker: str = ""  # empty: the clip counts as a speaker of its own


@dataclasses.dataclass(frozen=True)
class Row:
    """Means over the clips of one class. intervals: half widths of the 95 % intervals of the means
    (normal). worst: metric -> the clip that did worst, and its figure. worst_tenth: metric -> mean
    over the tenth of the speakers that did worst by it, at least one; a speaker's figure is the
    mean over its clips.
    """

    codec: str
    target_bps: float
    content: str
    clips: int
    bitrate_kbps: float
    means: dict[str, float]
    intervals: dict[str, float]
    worst: dict[str, tuple[str, float]]
    encode_rtf: float
    decode_rtf: float
    speakers: int
    worst_tenth: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Ours beside the anchor on one class, at rates that are each other's nearest. differences:
    metric -> mean of ours less the anchor's on the same clip; intervals: half widths at 95 %.
    """

    content: str
    clips: int
    ours_kbps: float
    anchor_kbps: float
    ours: dict[str, float]
    anchor: dict[str, float]
    differences: dict[str, float]
    intervals: dict[str, float]


def aligned(reference: Pcm, output: Pcm) -> tuple[Pcm, Pcm]:
    """Both cut to the same length after the delay at which they correlate best."""
    limit = round(MAX_DELAY_S * SAMPLE_RATE)
    scores = correlate(output, reference, "full")[len(reference) - 1 :][: limit + 1]
    delay = int(np.argmax(scores))
    moved = output[delay : delay + len(reference)]
    return reference[: len(moved)], moved


def score(clip: Clip, codec: PeerCodec, target_bps: float, metrics: list[str]) -> Score:
    seconds = len(clip.pcm) / SAMPLE_RATE
    coded = codec.code(clip.pcm, target_bps)
    reference, output = aligned(clip.pcm, coded.pcm)
    return Score(
        codec.name,
        target_bps,
        clip.content,
        clip.name,
        coded.payload_bytes * 8 / seconds,
        {name: METRICS[name](reference, output) for name in metrics},
        coded.encode_s / seconds,
        coded.decode_s / seconds,
        clip.speaker,
    )


def measure(
    clips: list[Clip],
    rates_bps: list[float],
    *,
    codecs: list[str],
    metrics: list[str],
    model: str | None,
    jobs: int,
    on_row: Callable[[Row], None],
) -> tuple[list[Row], list[Score]]:
    """Rows in the order in which they are done, each also given to `on_row`, and the scores that
    they are means of.
    """
    known = all_codecs(model)
    rows, scores = [], []
    with ProcessPoolExecutor(jobs, initializer=_one_thread) as pool:
        for name in codecs:
            for rate in known[name].rates(rates_bps):
                pending = [pool.submit(score, clip, known[name], rate, metrics) for clip in clips]
                done = [job.result() for job in pending]
                scores += done
                for row in summarise(done):
                    rows.append(row)
                    on_row(row)
    return rows, scores


def summarise(scores: list[Score]) -> list[Row]:
    """A row for each class of content, in order of first appearance."""
    rows = []
    for content in dict.fromkeys(s.content for s in scores):
        group = [s for s in scores if s.content == content]
        names = list(group[0].values)
        columns = {name: [s.values[name] for s in group] for name in names}
        ranked = {name: [s for s in group if math.isfinite(s.values[name])] for name in names}
        worst = {
            name: (max if name in LOWER_IS_BETTER else min)(some, key=lambda s: s.values[name])
            for name, some in ranked.items()
            if some
        }
        rows.append(
            Row(
                group[0].codec,
                group[0].target_bps,
                content,
                len(group),
                float(np.mean([s.bitrate_bps for s in group])) / 1000,
                {name: _mean(column) for name, column in columns.items()},
                {name: _half_width(column) for name, column in columns.items()},
                {name: (s.clip, s.values[name]) for name, s in worst.items()},
                float(np.mean([s.encode_rtf for s in group])),
                float(np.mean([s.decode_rtf for s in group])),
                len({_speaker(s) for s in group}),
                {name: _worst_tenth(group, name) for name in names},
            )
        )
    return rows


def bd_rates(rows: list[Row], metrics: Iterable[str]) -> dict[str, float | None]:
    """BD-rate in percent of ours against the anchor, for each metric that rises with quality, on
    the first class of content.
    """
    content = rows[0].content if rows else ""

    def curve(codec: str, metric: str) -> list[tuple[float, float]]:
        return [
            (r.bitrate_kbps, r.means[metric])
            for r in rows
            if r.codec == codec and r.content == content
        ]

    return {
        metric: bd_rate(curve(ANCHOR, metric), curve(OURS, metric))
        for metric in metrics
        if metric not in LOWER_IS_BETTER
    }


def pairs(rows: list[Row], scores: list[Score]) -> list[Pair]:
    """By our rate, then by class in order of first appearance. A rate to which the other codec has
    none that is nearest both ways (by ratio) has no pair, say below the anchor's lowest.
    """
    made = []
    for content in dict.fromkeys(row.content for row in rows):
        ours, anchor = (
            [r for r in rows if r.codec == codec and r.content == content and r.bitrate_kbps > 0]
            for codec in (OURS, ANCHOR)
        )
        for row in ours:
            nearest = _nearest(row, anchor)
            if nearest is not None and _nearest(nearest, ours) is row:
                made.append((row.target_bps, _pair(row, nearest, scores)))
    return [pair for _, pair in sorted(made, key=lambda item: item[0])]


def default_jobs() -> int:
    return max(1, (os.cpu_count() or 2) // 2)


def _nearest(row: Row, others: list[Row]) -> Row | None:
    return min(
        others,
        key=lambda other: abs(math.log(other.bitrate_kbps / row.bitrate_kbps)),
        default=None,
    )


def _pair(ours: Row, anchor: Row, scores: list[Score]) -> Pair:
    figures = [
        {s.clip: s.values for s in scores if (s.codec, s.target_bps, s.content) == key}
        for key in ((r.codec, r.target_bps, r.content) for r in (ours, anchor))
    ]
    differences = {
        metric: [figures[0][clip][metric] - figures[1][clip][metric] for clip in figures[0]]
        for metric in ours.means
    }
    return Pair(
        ours.content,
        ours.clips,
        ours.bitrate_kbps,
        anchor.bitrate_kbps,
        ours.means,
        anchor.means,
        {metric: _mean(values) for metric, values in differences.items()},
        {metric: _half_width(values) for metric, values in differences.items()},
    )


def _speaker(score: Score) -> str:
    """Of a clip whose speaker is not known: the clip, under a name that no speaker has."""
    return score.speaker or f"clip/{score.clip}"


def _worst_tenth(group: list[Score], metric: str) -> float:
    by_speaker: dict[str, list[float]] = {}
    for s in group:
        if math.isfinite(s.values[metric]):
            by_speaker.setdefault(_speaker(s), []).append(s.values[metric])
    means = sorted(_mean(values) for values in by_speaker.values())
    if metric in LOWER_IS_BETTER:
        means.reverse()
    return _mean(means[: math.ceil(len(means) / 10)])


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _half_width(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return (
        float(1.96 * np.std(finite, ddof=1) / math.sqrt(len(finite)))
        if len(finite) > 1
        else float("nan")
    )


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
