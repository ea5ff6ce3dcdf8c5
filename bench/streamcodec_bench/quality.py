"""`bench quality`: every codec at every rate on every clip in one run, and means over the clips."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.signal import correlate

from streamcodec.units import Pcm

from .bdrate import bd_rate
from .coded import PeerCodec
from .content import Clip
from .formats import SAMPLE_RATE
from .metrics import METRICS, figures, finite_mean

MAX_DELAY_S = 0.1
OURS, ANCHORS = "streamcodec", ("opus", "opus-audio")


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


def aligned(reference: Pcm, output: Pcm, sample_rate: int = SAMPLE_RATE) -> tuple[Pcm, Pcm]:
    """Both, [T] or [T, C], cut to the same length after the delay at which they correlate best, the
    same for all channels.
    """
    limit = round(MAX_DELAY_S * sample_rate)
    channels = zip(np.atleast_2d(output.T), np.atleast_2d(reference.T), strict=True)
    products = sum(correlate(heard, wanted, "full") for heard, wanted in channels)
    delay = int(np.argmax(products[len(reference) - 1 :][: limit + 1]))
    moved = output[delay : delay + len(reference)]
    return reference[: len(moved)], moved


def score(clip: Clip, codec: PeerCodec, target_bps: float, metrics: list[str]) -> Score:
    seconds, rate = clip.seconds, clip.sample_rate
    coded = codec.code(clip.pcm, target_bps)
    reference, output = aligned(clip.pcm, coded.pcm, rate)
    return Score(
        codec.name,
        target_bps,
        clip.content,
        clip.name,
        coded.payload_bytes * 8 / seconds,
        figures(metrics, reference, output, rate),
        coded.encode_s / seconds,
        coded.decode_s / seconds,
        clip.speaker,
    )


def measure(
    clips: list[Clip],
    rates_bps: list[float],
    *,
    codecs: list[PeerCodec],
    metrics: list[str],
    jobs: int,
    on_row: Callable[[Row], None],
) -> tuple[list[Row], list[Score]]:
    """Rows in the order in which they are done, each also given to `on_row`, and the scores that
    they are means of. A clip is left out at rates that a codec does not have for its channels.
    """
    rows, scores = [], []
    with ProcessPoolExecutor(jobs, initializer=_one_thread) as pool:
        for codec in codecs:
            played = [(clip, codec.rates(rates_bps, clip.channels)) for clip in clips]
            for rate in dict.fromkeys(rate for _, rates in played for rate in rates):
                some = [clip for clip, rates in played if rate in rates]
                pending = [pool.submit(score, clip, codec, rate, metrics) for clip in some]
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
        worst = {name: _worst(some, name) for name, some in ranked.items() if some}
        rows.append(
            Row(
                group[0].codec,
                group[0].target_bps,
                content,
                len(group),
                float(np.mean([s.bitrate_bps for s in group])) / 1000,
                {name: finite_mean(column) for name, column in columns.items()},
                {name: _half_width(column) for name, column in columns.items()},
                {name: (s.clip, s.values[name]) for name, s in worst.items()},
                float(np.mean([s.encode_rtf for s in group])),
                float(np.mean([s.decode_rtf for s in group])),
                len({_speaker(s) for s in group}),
                {name: _worst_tenth(group, name) for name in names},
            )
        )
    return rows


def anchor_of(codecs: Sequence[str]) -> str:
    """The peer that ours is set beside: the first of ANCHORS among these."""
    return next((name for name in codecs if name in ANCHORS), ANCHORS[0])


def bd_rates(
    rows: list[Row], metrics: Iterable[str], anchor: str = ANCHORS[0]
) -> dict[str, float | None]:
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
        metric: bd_rate(curve(anchor, metric), curve(OURS, metric))
        for metric in metrics
        if not METRICS[metric].lower_is_better
    }


def pairs(rows: list[Row], scores: list[Score], anchor: str = ANCHORS[0]) -> list[Pair]:
    """By our rate, then by class in order of first appearance. A rate to which the other codec has
    none that is nearest both ways (by ratio) has no pair, say below the anchor's lowest.
    """
    made = []
    for content in dict.fromkeys(row.content for row in rows):
        ours, theirs = (
            [r for r in rows if r.codec == codec and r.content == content and r.bitrate_kbps > 0]
            for codec in (OURS, anchor)
        )
        for row in ours:
            nearest = _nearest(row, theirs)
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
    values = [
        {s.clip: s.values for s in scores if (s.codec, s.target_bps, s.content) == key}
        for key in ((r.codec, r.target_bps, r.content) for r in (ours, anchor))
    ]
    differences = {
        metric: [values[0][clip][metric] - values[1][clip][metric] for clip in values[0]]
        for metric in ours.means
    }
    return Pair(
        ours.content,
        ours.clips,
        ours.bitrate_kbps,
        anchor.bitrate_kbps,
        ours.means,
        anchor.means,
        {metric: finite_mean(some) for metric, some in differences.items()},
        {metric: _half_width(some) for metric, some in differences.items()},
    )


def _speaker(score: Score) -> str:
    """Of a clip whose speaker is not known: the clip, under a name that no speaker has."""
    return score.speaker or f"clip/{score.clip}"


def _worst(scores: list[Score], metric: str) -> Score:
    last = max if METRICS[metric].lower_is_better else min
    return last(scores, key=lambda s: s.values[metric])


def _worst_tenth(group: list[Score], metric: str) -> float:
    by_speaker: dict[str, list[float]] = {}
    for s in group:
        if math.isfinite(s.values[metric]):
            by_speaker.setdefault(_speaker(s), []).append(s.values[metric])
    means = sorted(finite_mean(values) for values in by_speaker.values())
    if METRICS[metric].lower_is_better:
        means.reverse()
    return finite_mean(means[: math.ceil(len(means) / 10)])


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
